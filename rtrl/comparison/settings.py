"""What is compared, and the recipe of learning that all estimators share.

Adam at one learning rate with a clipped gradient, or the Kalman filter, and lanes that are reset in turn: state and
influence of every lane are zeroed every `reset_every` steps, staggered, which keeps the noise of unbiased estimators
from growing (docs/choosing.md).  TBPTT(T) in block form updates once every T steps; it takes steps that are T times as
long, so that all estimators can move the weights equally far on the same stream.
"""

from dataclasses import dataclass

from rtrl.cells import RHN, Cell
from rtrl.estimators import (
    DNI,
    KFRTRL,
    OK,
    RFLO,
    RTRL,
    TBPTT,
    UORO,
    BlockOK,
    Immediate,
    KeRNL,
    NoBackTrack,
    ReversedKFRTRL,
    SnAp,
)
from rtrl.network import Network
from rtrl.optimizers import Adam, Kalman
from rtrl.session import Session
from rtrl.tasks.text import staggered

__all__ = ["ESTIMATORS", "FILTER_SHARE", "LONGEST_RATE", "REFERENCE", "Settings"]

REFERENCE = TBPTT(25)
ESTIMATORS = (
    TBPTT(1),
    TBPTT(5),
    REFERENCE,
    Immediate(),
    SnAp(),
    RFLO(),
    KeRNL(),
    DNI(),
    UORO(),
    UORO(horizon=8),
    NoBackTrack(),
    NoBackTrack("kalman"),
    ReversedKFRTRL(),
    KFRTRL(),
    KFRTRL(average=4),
    OK(4),
    BlockOK(4, 8),
    RTRL(),
)
FILTER_SHARE = 1 / 3  # of Adam's learning rate, where the filter learns best on the default text
LONGEST_RATE = 0.02  # beyond it Adam's steps are too long for a network of this kind, however rare they are


@dataclass(frozen=True)
class Settings:
    """Everything that `compare` can be told.

    Attributes
    ----------
    cell : rtrl.cells.Cell
        The cell, with its size.
    estimators : tuple of rtrl.estimators.Estimator
        Rows of the table.
    batch_size, steps : int
        Lanes, and time steps of learning.
    threads, seed, dtype
        As for `rtrl.Session` and `rtrl.Network`.
    lr, clip_norm : float
        Of Adam.
    filter : bool
        Kalman in place of Adam, for all.
    reset_every : int
        Steps between resets of a lane; 0: never.
    sparsity : float
        Share of the weights of the cell that do not exist.
    patience : float
        Seconds: an estimator that would take longer to learn is timed but not trained.
    """

    cell: Cell = RHN(64)
    estimators: tuple = ESTIMATORS
    batch_size: int = 16
    steps: int = 12_000
    threads: int = 1
    seed: int = 0
    dtype: str = "float32"
    lr: float = 3e-4
    clip_norm: float = 1.0
    filter: bool = False
    reset_every: int = 100
    sparsity: float = 0.0
    patience: float = 60.0

    @property
    def reference(self):
        """The estimator that times and bytes are compared with: TBPTT(25), or the first where that is not a row."""
        return REFERENCE if REFERENCE in self.estimators else self.estimators[0]

    def network(self, task):
        """A fresh network; the same at every call."""
        return Network(self.cell, task.inputs, task.readout, self.dtype, sparsity=self.sparsity or None, seed=self.seed)

    def filtered(self, estimator):
        """Whether the Kalman filter is the optimizer: if it was asked for, or the estimator needs its metric."""
        return self.filter or getattr(estimator, "metric", "") == "kalman"

    def optimizer(self, estimator, lr=None):
        """Adam, with longer steps where updates are rarer, or the filter, whose trust region takes the place of clipping."""
        rate = self.rate(estimator) if lr is None else lr
        return Kalman(rate) if self.filtered(estimator) else Adam(rate, clip_norm=self.clip_norm)

    def rate(self, estimator):
        """Learning rate: for the filter a share of Adam's; for block TBPTT `horizon` times as high, up to LONGEST_RATE."""
        rate = self.lr * FILTER_SHARE if self.filtered(estimator) else self.lr
        if isinstance(estimator, TBPTT) and not estimator.sliding:
            return max(rate, min(rate * estimator.horizon, LONGEST_RATE))
        return rate

    def session(self, task, estimator):
        """A fresh session on a fresh network."""
        return Session(
            self.network(task),
            estimator,
            self.optimizer(estimator),
            batch_size=self.batch_size,
            seed=self.seed,
            threads=self.threads,
        )

    def resets(self, steps, first=0):
        """Mask [steps, lanes] of the staggered resets from step `first` on, or None."""
        return staggered(self.batch_size, self.reset_every, steps, first) if self.reset_every else None

    def exact_influence_bytes(self, task):
        """Bytes of the influence of exact RTRL, d state / d weights, for all lanes."""
        network = self.network(task)
        weights = sum(view.size for name, view in network.parameters().items() if name != "readout.weight")
        return self.batch_size * network.compiled_cell().k * self.cell.hidden * weights * network.dtype.itemsize
