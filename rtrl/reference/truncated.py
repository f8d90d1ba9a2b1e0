"""Backpropagation through time: truncated (TBPTT) and over a whole sequence (BPTT), and the complex step.

    gradient of sum_t L_t = sum_t delta~_t F_t ,   delta~_t = d L_t / d s_t + delta~_{t+1} H_{t+1}       (1)

TBPTT(horizon) stops (1) at the start of a window. Block: windows are the steps [i horizon, (i+1) horizon) since the
session began, the same for all lanes, and one sweep serves all losses of a block. Sliding: each loss is swept back at
once through the last `horizon` steps, its own included. A reset cuts the window: no delta crosses it backwards.
The sweep uses the present W, which is W of the forward pass unless an update fell into the window.

Cost per step and lane: 4 rnm flops (block), 4 rnm horizon (sliding); memory `horizon` records (h_hat, D, E).
Sources: Williams & Peng 1990, doi:10.1162/neco.1990.2.4.490;
complex step Squire & Trapp 1998, doi:10.1137/S003614459631241X.
"""

import numpy as np

from .estimators import Estimator
from .records import backward


class TBPTT(Estimator):
    """Truncated backpropagation through time; a tape of records instead of an influence, so never fresh."""

    fresh = False

    def __init__(self, horizon, sliding=False):
        self.horizon = horizon
        self.sliding = sliding

    def begin(self, shapes):
        self.steps = 0
        self.tape, self.deltas, self.cuts = [], [], []
        super().begin(shapes)

    def reset(self):
        # Losses before the cut still have their own part of the window to be swept through.
        self.cut = True

    def observe(self, records, signs):
        if self.sliding:
            expired = max(0, len(self.tape) - self.horizon + 1)
        else:
            self.sweep()
            expired = len(self.tape) if self.steps % self.horizon == 0 else 0
        for column in (self.tape, self.deltas, self.cuts):
            del column[:expired]
        self.tape.append(records)
        self.deltas.append(np.zeros(self.shapes[0][0]))
        self.cuts.append(self.cut)
        self.cut = False
        self.steps += 1

    def feedback(self, records, delta):
        """Credit the step just observed; sliding sweeps at once, block at its end or when the gradient is asked for."""
        if self.cut:
            return
        self.deltas[-1] = self.deltas[-1] + delta
        if self.sliding:
            self.sweep()

    def credit(self, delta):
        """Gradient of one loss at the newest step, swept back through its window, list of [rn, m]."""
        if not self.tape:
            return [np.zeros((rn, m)) for _, rn, m in self.shapes]
        deltas = [np.zeros_like(delta) for _ in self.tape[1:]] + [delta]
        return bptt(self.tape, deltas, self.cuts)

    def sweep(self):
        if self.tape:
            self.add(bptt(self.tape, self.deltas, self.cuts))
            self.deltas = [np.zeros_like(delta) for delta in self.deltas]

    def gradient(self):
        self.sweep()
        return super().gradient()

    def influence(self):
        """The rows of G~ are the gradients of single state entries. Zero after a reset."""
        kn = self.shapes[0][0]
        if self.cut:
            return [np.zeros(shape) for shape in self.shapes]
        return [np.stack(rows) for rows in zip(*(self.credit(row) for row in np.eye(kn)))]


def bptt(tape, deltas, cuts=None):
    """Gradient of a whole sequence by one backward sweep, equation (1).

    Parameters
    ----------
    tape : list of list of Record
        The records of every time step.
    deltas : sequence of ndarray [kn]
        Derivative of L_t by the state s_t, for every time step.
    cuts : sequence of bool, optional
        True where the lane was reset before the step.

    Returns
    -------
    list of ndarray [rn, m]
        Gradient of sum_t L_t for every stage.
    """
    cuts = [False] * len(tape) if cuts is None else cuts
    totals = [np.zeros_like(record.W) for record in tape[0]]
    carried = np.zeros_like(deltas[0])
    for records, delta, cut in zip(reversed(tape), reversed(deltas), reversed(cuts)):
        gradients, carried = backward(records, delta + carried)
        totals = [total + gradient for total, gradient in zip(totals, gradients)]
        if cut:
            carried = np.zeros_like(carried)
    return totals


def complex_step_gradient(loss, weights, step=1e-30):
    """Gradient of a scalar function by the complex step: exact to rounding, and blind to every formula above.

    Parameters
    ----------
    loss : callable
        From a list of complex weights to a complex number; analytic in them.
    weights : list of ndarray
        Where the gradient is taken.
    step : float
        Size of the imaginary step; there is no cancellation, so it can be tiny.

    Returns
    -------
    list of ndarray
        One gradient per weight array.
    """
    gradients = [np.zeros(W.shape) for W in weights]
    perturbed = [W.astype(complex) for W in weights]
    for W, gradient in zip(perturbed, gradients):
        for index in np.ndindex(W.shape):
            W[index] += step * 1j
            gradient[index] = loss(perturbed).imag / step
            W[index] = W[index].real
    return gradients
