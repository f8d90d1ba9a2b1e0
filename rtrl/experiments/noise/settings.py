"""What a run of the noise study is told: one estimator on nets of one size."""

import argparse
import dataclasses
import itertools
from dataclasses import dataclass

from rtrl.cells import Cell
from rtrl.commands import options as shared
from rtrl.comparison.specs import parse
from rtrl.estimators import RTRL, Estimator, SnAp
from rtrl.experiments.noise.cases import NETS
from rtrl.experiments.noise.study import Noise
from rtrl.experiments.recipe import Recipe, estimator_setting
from rtrl.experiments.settings import Settings as Base
from rtrl.experiments.settings import preset, setting

__all__ = ["LARGEST_EXACT", "STATES", "WISHES", "Settings", "default_estimators"]

LARGEST_EXACT = 32  # units up to which RTRL is measured unless it is asked for: its time grows like n^4
STATES = ("untrained", "trained")
WISHES = (
    "Immediate",
    "TBPTT(5, sliding=True)",
    "TBPTT(25, sliding=True)",
    "SnAp",
    "SnAp(2)",
    "RFLO",
    "KeRNL",
    "DNI",
    "UORO",
    "UORO(fresh=False)",
    "UORO(horizon=8)",
    "NoBackTrack",
    "NoBackTrack(fresh=False)",
    "ReversedKFRTRL",
    "KFRTRL",
    "KFRTRL(fresh=False)",
    "KFRTRL(average=4)",
    "OK(4)",
    "OK(4, fresh=False)",
    "BlockOK(4, 8)",
    "RTRL",
)


def default_estimators():
    """Those of `WISHES`."""
    return tuple(parse(wish, Estimator) for wish in WISHES)


def _states(text):
    """States of training from the value of --trained."""
    if text == "both":
        return STATES
    if text not in STATES:
        raise argparse.ArgumentTypeError(f"one of {', '.join(STATES)}, both is needed; got {text!r}")
    return (text,)


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    """Everything that a run can be told.

    Attributes
    ----------
    trained : {"untrained", "trained"}
        Whether the nets have learned the text first, see `rtrl.experiments.noise.cases`.
    cell, hidden
        The recurrent cell: "rhn", "rnn", "gru" or "lstm" with its units, n, or any cell, which has units of its own.
    estimator : rtrl.estimators.Estimator
        What is measured.
    steps : int
        The last t; the moments are 1, 2, 5, 10, 20, 50, ... and the last.
    samples : int
        Estimates of each gradient, rounded up to a multiple of the nets; one a net where nothing is random.
    gain : float
        Factor of the recurrent weights of the nets, once they have learned; 1: as they are.
    sparsity : float
        Share of the weights of the cell that do not exist.
    text : str or None
        File that the nets read; None: the help texts that come with Python.
    dtype : {"float32", "float64"}
        Of all numbers.
    """

    study = "noise"
    named = ("estimator", "cell", "hidden", "trained", "seed")

    # Estimators come last, so that those of the same nets follow each other and share them.
    trained: str = setting(
        "untrained",
        _states,
        "state of the nets: untrained, trained, or both, which is what the bare option means",
        nargs="?",
        const=STATES,
        metavar="STATE",
    )
    hidden: int = setting(
        None,
        shared.sizes,
        f"{shared.HIDDEN_HELP}, separated by commas: runs of each",
        rows="8,16,32,64,128,256",
        metavar="LIST",
        action=shared.Given,
    )
    cell: str | Cell = preset(Recipe, "cell", "rhn")
    steps: int = setting(
        100,
        shared.whole(1, 10**6),
        "last step; gradients are compared after 1, 2, 5, 10, 20, 50, ... steps and after the last",
        metavar="N",
    )
    samples: int = setting(64, shared.whole(1, 2**20), f"estimates of each gradient, spread over {NETS} nets", metavar="N")
    gain: float = setting(1.0, shared.number(), "factor of the recurrent weights of the nets that are measured", metavar="X")
    sparsity: float = setting(0.0, shared.number(), "share of the cell's weights that do not exist", metavar="X")
    text: str | None = setting(None, str, "text that is read, in place of Python's help texts (UTF-8)", metavar="FILE")
    dtype: str = preset(Recipe, "dtype", "float32")
    threads: int = preset(Base, "threads", 2)
    estimator: Estimator = estimator_setting(", ".join(WISHES))

    @classmethod
    def worth(cls, runs):
        """Of the default estimators, each where it can be had at a fair price: RTRL on small nets, SnAp(2) on sparse ones."""
        if {each.estimator for each in runs} != set(default_estimators()):
            return runs
        return [each for each in runs if each._fair]

    @property
    def _fair(self):
        if isinstance(self.estimator, SnAp) and self.estimator.order > 1:
            return self.sparsity > 0
        return not isinstance(self.estimator, RTRL) or self.hidden <= LARGEST_EXACT

    def start(self):
        return Noise(self)

    @property
    def work(self):
        return self.nets

    @property
    def moments(self):
        """Steps after which gradients are compared, rising."""
        round_numbers = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
        return (*itertools.takewhile(lambda t: t < self.steps, round_numbers), self.steps)

    @property
    def nets(self):
        """Pairs of a net and a place in the text."""
        return min(NETS, self.samples)

    @property
    def made_cell(self):
        """The cell with its size."""
        return shared.made_cell(self.cell, self.hidden)

    @property
    def of_case(self):
        """These settings without what makes no difference to the nets and their exact gradients."""
        return dataclasses.replace(self, estimator=None, samples=1)
