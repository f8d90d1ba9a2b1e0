"""What every side computes: one network, one stream, one algorithm, one update rule.

    z = W [h ; x ; 1]                     RNN  h' = tanh z                   RHN  h' = h + sig(z1) (tanh(z0) - h)
    loss = cross entropy of softmax(V [h' ; 1]) with the next id, mean over lanes, scored before the step is learned from

A rival is a callable made from a `Problem`: each call goes through the whole stream, learning, and returns the losses
[T]; it goes on from the state and the weights of the call before.  Random signs are given, so that every side makes the
same noise, and a rival draws none: it has them for nothing.
"""

from dataclasses import dataclass

import numpy as np

import rtrl
from bench.workloads import make, stream

__all__ = ["Problem", "pose"]

_SIGNS = {"KFRTRL": lambda n: 2, "UORO": lambda n: n}
SEED = 1  # of the signs, as in bench.workloads.make


@dataclass(frozen=True)
class Problem:
    """The task of one comparison.

    Attributes
    ----------
    cell : str
        "RNN", "GRU", "LSTM" or "RHN".
    estimator : rtrl.Estimator
        Whose `fresh` and `horizon` are those of the rivals.
    optimizer : rtrl.Optimizer
        SGD or Adam, at every step, for TBPTT at the end of every window.
    weight : ndarray [r*n, n + inputs + 1]
        Columns h | x | 1.
    readout : ndarray [outputs, n + 1]
        Columns h | 1.
    xs, ys : ndarray of int32 [T, B]
        Ids.
    leak : float
        Of an RNN.
    dtype : str
        Type of all numbers.
    threads : int
        For all sides.
    """

    cell: str
    estimator: rtrl.estimators.Estimator
    optimizer: rtrl.optimizers.Optimizer
    weight: np.ndarray
    readout: np.ndarray
    xs: np.ndarray
    ys: np.ndarray
    leak: float = 1.0
    dtype: str = "float32"
    threads: int = 1

    @property
    def name(self):
        """Of the algorithm."""
        return type(self.estimator).__name__

    @property
    def hidden(self):
        """Units, n."""
        return self.readout.shape[1] - 1

    @property
    def lanes(self):
        """Streams, B."""
        return self.xs.shape[1]

    @property
    def ids(self):
        """Symbols in and out."""
        return len(self.readout)

    def signs(self):
        """Signs of the whole stream [T, B, count] in the dtype; count is 0 where the algorithm uses none."""
        count = _SIGNS.get(self.name, lambda n: 0)(self.hidden)
        drawn = np.empty((*self.xs.shape, count), self.dtype)
        for step, lane in np.ndindex(*self.xs.shape if count else (0, 0)):
            drawn[step, lane] = rtrl.random_signs(SEED, step, lane, 0, count)
        return drawn

    def session(self, estimator=None):
        """Our side; `estimator` replaces the problem's own."""
        return make(
            self.cell,
            self.hidden,
            estimator or self.estimator,
            self.lanes,
            optimizer=self.optimizer,
            dtype=self.dtype,
            threads=self.threads,
            ids=self.ids,
            **({"leak": self.leak} if self.leak != 1 else {}),
        )


def pose(cell, hidden, estimator, lanes, steps, *, optimizer=rtrl.Adam(1e-4), ids=50, leak=1.0, dtype="float32", threads=1):
    """The `Problem` of a network from `bench.workloads` on its stream."""
    xs, ys = stream(steps, lanes, ids)
    options = {"leak": leak} if leak != 1 else {}
    weights = make(cell, hidden, rtrl.Immediate(), lanes, dtype=dtype, ids=ids, **options).network.parameters()
    weight, readout = (each.copy() for each in weights.values())
    return Problem(cell, estimator, optimizer, weight, readout, xs, ys, leak, dtype, threads)
