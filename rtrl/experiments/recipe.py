"""Settings of runs that learn: cell, estimator, optimizer."""

from dataclasses import dataclass

from rtrl.cells import Cell
from rtrl.commands import options as shared
from rtrl.estimators import Estimator
from rtrl.experiments.settings import Settings, setting
from rtrl.network import Network
from rtrl.optimizers import SGD, Adam, Kalman
from rtrl.session import Session

__all__ = ["Recipe", "estimator_setting", "made_rate"]


def estimator_setting(rows):
    """The field of the estimator, with the text of the list that the command runs by itself."""
    return setting(
        None,
        shared.estimators,
        "estimators, separated by commas, options as in Python: a run of each",
        flag="estimators",
        rows=rows,
        metavar="NAMES",
    )


def made_rate(lr, decay):
    """lr / (1 + decay sqrt t): a number, or a function of the step t."""
    return (lambda step: lr / (1 + decay * step**0.5)) if decay else lr


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Base of settings of runs that learn a stream; a study gives the defaults, and `stream`.

    Attributes
    ----------
    estimator : rtrl.estimators.Estimator
        Where gradients come from.
    cell, hidden
        The recurrent cell: "rhn", "rnn", "gru" or "lstm" with its units, or any cell, which has units of its own.
    batch_size, steps, window : int
        Lanes, time steps, and steps that a row sums up.
    optimizer, lr, decay, clip_norm
        "adam", "sgd" or "kalman"; its learning rate at step t is lr / (1 + decay sqrt t); largest norm of a gradient, 0: no
        limit.
    weight_std : float
        Of the initial weights; 0: as `rtrl.Network` does by itself.
    dtype : {"float32", "float64"}
        Of all numbers.
    """

    estimator: Estimator = estimator_setting("KFRTRL")
    cell: str | Cell = setting("rhn", shared.cell, shared.CELL_HELP, metavar="CELL")
    hidden: int = setting(64, shared.whole(1, 2**20), shared.HIDDEN_HELP, metavar="N", action=shared.Given)
    batch_size: int = setting(16, shared.whole(1, 2**20), "lanes: streams that are read at once", metavar="N", flag="batch")
    steps: int = setting(10000, shared.whole(1, 10**12), "time steps of learning", metavar="N", extends=True)
    window: int = setting(1000, shared.whole(1, 10**9), "steps that a row of the result sums up", metavar="N")
    optimizer: str = setting("adam", str, "optimizer", choices=("adam", "sgd", "kalman"))
    lr: float = setting(1e-3, shared.number(above=True), "learning rate", metavar="X")
    decay: float = setting(0.0, shared.number(), "learning rate at step t is lr / (1 + decay sqrt t)", metavar="X")
    clip_norm: float = setting(1.0, shared.number(), "largest norm of a gradient; 0: no limit", metavar="X", flag="clip")
    weight_std: float = setting(
        0.0, shared.number(), "standard deviation of the initial weights; 0: uniform in +-1/sqrt(hidden)", metavar="X"
    )
    dtype: str = setting("float32", str, "type of all numbers", choices=("float32", "float64"))

    named = ("estimator", "cell", "hidden", "seed")
    input_std = 0.0  # a setting of the studies that need it

    def stream(self):
        """What is learned, see `rtrl.tasks`."""
        raise NotImplementedError

    def network(self, stream):
        """A fresh network."""
        cell = shared.made_cell(self.cell, self.hidden)
        stds = {"weight_std": self.weight_std or None, "input_std": self.input_std or None}
        return Network(cell, stream.inputs, stream.readout, self.dtype, self.seed, **stds)

    def made_optimizer(self):
        """The optimizer; the filter where the estimator needs its metric."""
        lr, clip = self.rate, self.clip_norm or None
        if self.optimizer == "kalman" or getattr(self.estimator, "metric", "") == "kalman":
            return Kalman(lr, clip_norm=clip)
        return {"adam": Adam, "sgd": SGD}[self.optimizer](lr, clip_norm=clip)

    @property
    def rate(self):
        """Learning rate: a number, or a function of the step."""
        return made_rate(self.lr, self.decay)

    def session(self, stream):
        """A fresh session on a fresh network."""
        return Session(
            self.network(stream),
            self.estimator,
            self.made_optimizer(),
            batch_size=self.batch_size,
            seed=self.seed,
            threads=self.threads,
        )
