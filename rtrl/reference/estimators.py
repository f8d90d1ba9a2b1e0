"""Estimators of delta G, written once for all cells: they read records (W, D, E, h_hat) and nothing else.

For the stages l = 1 .. L of a time step, in order, with one influence block per stage:

    every block  G~ <- H_l G~ ,  then block l only  G~ <- reduce(G~ + F_l)                           (1)
    gradient of stage l = delta G~ [rn, m]                                                           (2)
    fresh: delta' = delta H_L .. H_1 of this step ;  gradient = exact immediate part + delta' G~_{t-1}   (3)

A fresh estimator is credited before it observes the step; the last step is then free of noise. All state starts
at 0 and returns to 0 when the lane is reset. `balance(a, b)` = sqrt(a/b) makes the two terms of a noise equal.

Cost per stage and lane, flops / numbers kept: RTRL 2 k n^2 rnm / k n rnm; UORO 2 r n^2 + 4 rnm / rnm, and a tape of
horizon - 1 records; Immediate 2 rnm / 0. (This file forms what reads best.)
Sources: RTRL Williams & Zipser 1989, doi:10.1162/neco.1989.1.2.270; UORO Tallec & Ollivier 2017, arXiv:1702.05043;
TBPTT Williams & Peng 1990, doi:10.1162/neco.1990.2.4.490.
"""

from math import sqrt

import numpy as np
from numpy.linalg import norm

from .records import backward, immediate, immediate_gradient, jacobian, pull, push


def balance(a, b):
    """Scale rho = sqrt(a/b) and its inverse; (0, 0), which drops the product, unless both norms are positive."""
    if a > 0 and b > 0:
        # The quotient of the roots cannot overflow where that of the norms could.
        rho = sqrt(a) / sqrt(b)
        return rho, 1 / rho
    return 0.0, 0.0


class Estimator:
    """One estimator of one lane; the base class accumulates what its subclasses credit.

    Attributes
    ----------
    fresh : bool
        True: `feedback` comes before `observe` of the same step; False: after it.
    masks : list of ndarray of bool [rn, m], or None
        Which weights exist; None: all.
    metrics : list of Metric, or None
        Metrics of the weights that the optimizer keeps, one a stage.
    """

    fresh = True
    masks = None
    metrics = None

    def begin(self, shapes):
        """Set up for stages with the given shapes (k*n, r*n, m), with all state and the gradient 0."""
        self.shapes = shapes
        self.total = [np.zeros((rn, m)) for _, rn, m in shapes]
        self.reset()

    def reset(self):
        """Set the influence to 0; what was credited before is kept."""
        raise NotImplementedError

    def observe(self, records, signs):
        """Take in the records of one time step; `signs(stage, count)` gives its +-1 signs. Equation (1)."""
        raise NotImplementedError

    def credit(self, delta):
        """delta G~ for every stage, list of [rn, m]. Equation (2)."""
        raise NotImplementedError

    def influence(self):
        """Dense G~ for every stage, list of [kn, rn, m]; for small nets."""
        raise NotImplementedError

    def redirect(self, seed, error, delta):
        """The credit delta [n] of the hidden units for an error [outputs] of the readout; random feedback replaces it."""
        return delta

    def feedback(self, records, delta):
        """Add the gradient of the loss of this time step, whose derivative by the state is delta [kn].

        `records` are those of the step; None when a fresh estimator has observed them already: then G~ holds the step.
        """
        self.add(self.answer(records, delta))

    def answer(self, records, delta):
        """What `feedback` adds, list of [rn, m]."""
        if not self.fresh or records is None:
            return self.credit(delta)
        gradients, delta = backward(records, delta)
        return [now + earlier for now, earlier in zip(gradients, self.credit(delta))]

    def add(self, gradients):
        self.total = [total + gradient for total, gradient in zip(self.total, gradients)]

    def gradient(self):
        """Everything credited since the last call, list of [rn, m]; clears it."""
        total = self.total
        self.total = [np.zeros_like(gradient) for gradient in total]
        return total


class RTRL(Estimator):
    """Exact real-time recurrent learning: G <- H G + F."""

    def __init__(self, *, fresh=True):
        self.fresh = fresh

    def reset(self):
        self.G = [np.zeros(shape) for shape in self.shapes]

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.G = [np.tensordot(H, G, axes=1) for G in self.G]
            self.G[stage] += immediate(record)

    def credit(self, delta):
        return [np.tensordot(delta, G, axes=1) for G in self.G]

    def influence(self):
        return [G.copy() for G in self.G]


class UORO(Estimator):
    """Unbiased online recurrent optimization: G~ ~ v (x) w, a product of random vectors.

    v <- rho0 H v + rho1 nu ,           rho0 = balance(|w|, |Hv|)          nu [kn] signs, entry c*n + i
    w <- w / rho0 + (nu F) / rho1 ,     rho1 = balance(|nu F|, |nu|)       nu F = (nu D) (x) h_hat

    With memory `horizon` this comes at every horizon-th step only, H and F being those of the window since the last
    time: nu F is swept back through its records. In between v <- H v, and G~ = v (x) w + what the window adds exactly.
    """

    def __init__(self, horizon=1, *, fresh=True):
        self.horizon = horizon
        self.fresh = fresh

    def begin(self, shapes):
        self.steps = 0
        super().begin(shapes)

    def reset(self):
        # Windows end at the same steps for all lanes, whenever they were reset.
        self.window = []
        self.v = [np.zeros(kn) for kn, _, _ in self.shapes]
        self.w = [np.zeros((rn, m)) for _, rn, m in self.shapes]

    def observe(self, records, signs):
        self.steps += 1
        closes = self.steps % self.horizon == 0
        for stage, record in enumerate(records):
            self.v = [push(record, v) for v in self.v]
            if closes:
                self.reduce(stage, record, signs(stage, record.k * record.n).astype(float))
            self.window.append((stage, record))
        if closes:
            self.window = []

    def reduce(self, stage, record, nu):
        rho0, inverse0 = balance(norm(self.w[stage]), norm(self.v[stage]))
        column, matrix = self.new_product(stage, record, nu)
        self.v[stage] = rho0 * self.v[stage] + column
        self.w[stage] = inverse0 * self.w[stage] + matrix

    def new_product(self, stage, record, nu):
        """The product [kn], [rn, m] that stands for F of the window, of which `record` is the end."""
        nu_F = self.swept([*self.window, (stage, record)], nu)[stage]
        rho1, inverse1 = balance(norm(nu_F), norm(nu))
        return rho1 * nu, inverse1 * nu_F

    def swept(self, window, delta):
        """delta times the exact influence of some stages and their records, in their order: list of [rn, m]."""
        totals = [np.zeros((rn, m)) for _, rn, m in self.shapes]
        for stage, record in reversed(window):
            totals[stage] += immediate_gradient(record, delta)
            delta = pull(record, delta)
        return totals

    def credit(self, delta):
        return [(delta @ v) * w + exact for v, w, exact in zip(self.v, self.w, self.swept(self.window, delta))]

    def influence(self):
        return [np.stack(rows) for rows in zip(*(self.credit(row) for row in np.eye(self.shapes[0][0])))]


class Immediate(Estimator):
    """G = F: no credit beyond the present time step. The mandatory baseline; like TBPTT(1) it keeps the records."""

    fresh = False

    def reset(self):
        self.records = None

    def observe(self, records, signs):
        self.records = records

    def credit(self, delta):
        if self.records is None:
            return [np.zeros((rn, m)) for _, rn, m in self.shapes]
        return backward(self.records, delta)[0]

    def influence(self):
        return [np.stack(rows) for rows in zip(*(self.credit(row) for row in np.eye(self.shapes[0][0])))]
