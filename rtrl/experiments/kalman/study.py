"""Runs of the study of dependency span against truncation: settings, and one net that learns one task."""

import argparse
from dataclasses import dataclass

import numpy as np

from rtrl import tasks
from rtrl.cells import Cell
from rtrl.commands import options as shared
from rtrl.experiments import strings
from rtrl.experiments.kalman.methods import DEFAULTS, Method, methods
from rtrl.experiments.kalman.scrambled import NEVER, Scrambled
from rtrl.experiments.recipe import Recipe, made_rate
from rtrl.experiments.runs import Learning, bits
from rtrl.experiments.settings import Settings as Base
from rtrl.experiments.settings import preset, setting
from rtrl.network import Network
from rtrl.session import Session

__all__ = ["SHARE", "SPANS", "TUNING", "Settings"]

TUNING = (0, 1)  # seeds that choose the learning rate, and are not reported
SHARE = 0.1  # of a run at its end, over which the answer is scored
SPANS = {"brackets": 2, "recall": 1}  # steps from the input of the cue to the loss of the answer, beyond the gap
# Learning rates that lr_scale is a factor of; the filter's is larger where losses are rare.
_RATES = {"Adam": 3e-4, "RMSprop": 3e-4, "SGD": 1e-3, "Kalman": 3e-4}
_RATES_RECALL = {**_RATES, "Kalman": 1e-3}


def _seeds(text):
    return tuple(dict.fromkeys(shared.whole(0, 2**63 - 1)(part) for part in text.split(",")))


def _scales(text):
    return tuple(dict.fromkeys(shared.number(above=True)(part) for part in text.split(",")))


def _gaps(text):
    try:
        return shared.sizes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    """What a run is told.

    Attributes
    ----------
    method : str
        Estimator and optimizer, see `Method`.
    task : {"brackets", "recall"}
        `rtrl.tasks.Brackets(1, gap, symbols)` or `rtrl.tasks.Recall(symbols, gap)`.
    gap : int
        Random symbols between the cue and the answer.
    lr_scale : float
        Learning rate in units of the optimizer's usual one.
    symbols : int
        Size of the alphabet; an answer by chance costs log2(symbols) bits.
    cell, hidden, batch_size, steps, window, decay, clip_norm, weight_std, dtype
        As for `Recipe`.
    """

    study = "kalman"
    named = ("method", "task", "gap", "lr_scale", "seed")

    method: str = setting(
        "KFRTRL + Adam",
        methods,
        "methods, ESTIMATOR + OPTIMIZER with options as in Python, separated by commas: a run of each; "
        "'scrambled' before one makes it a control",
        flag="methods",
        rows=", ".join(DEFAULTS),
        metavar="METHODS",
    )
    task: str = setting("brackets", str, "what is learned", choices=tuple(SPANS))
    gap: int = setting(
        4, _gaps, "random symbols between cue and answer, a run of each", flag="gaps", rows="2,4,6,8,10,14", metavar="D,D"
    )
    lr_scale: float = setting(
        1.0,
        _scales,
        "learning rates in units of the optimizer's usual one, a run of each; these are "
        + ", ".join(f"{name} {rate:g}" for name, rate in _RATES.items())
        + f", in recall Kalman {_RATES_RECALL['Kalman']:g}",
        rows="0.3,1,3",
        metavar="X,X",
    )
    seed: int = setting(
        0,
        _seeds,
        f"seeds of weights, data and random signs, a run of each; {' and '.join(map(str, TUNING))} choose the learning rate",
        flag="seeds",
        rows="0,1,2,3,4,5,6,7,8,9",
        metavar="N,N",
    )
    symbols: int = setting(5, shared.whole(2, 26), "size of the alphabet", metavar="N")
    cell: str | Cell = preset(Recipe, "cell", "gru")
    hidden: int = preset(Recipe, "hidden", 16)
    batch_size: int = preset(Recipe, "batch_size", 1)
    steps: int = preset(Recipe, "steps", 1_000_000)
    window: int = preset(Recipe, "window", 10_000)
    decay: float = preset(Recipe, "decay", 0.0)
    clip_norm: float = preset(Recipe, "clip_norm", 0.0)  # see `rtrl.experiments.strings`
    weight_std: float = preset(Recipe, "weight_std", 0.0)
    dtype: str = preset(Recipe, "dtype", "float32")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "method", str(Method.parse(self.method)))

    @property
    def lr(self):
        """The learning rate at the first step."""
        rates = _RATES_RECALL if self.task == "recall" else _RATES
        return float(f"{self.lr_scale * rates[Method.parse(self.method).family]:.9g}")

    def describe(self):
        return {**super().describe(), "lr": self.lr}

    def stream(self):
        if self.task == "recall":
            return tasks.Recall(self.symbols, self.gap, self.batch_size, self.seed)
        return tasks.Brackets(1, self.gap, self.symbols, self.batch_size, self.seed)

    def session(self, stream):
        """A fresh session on a fresh network."""
        method = Method.parse(self.method)
        cell = shared.made_cell(self.cell, self.hidden)
        return Session(
            Network(cell, stream.inputs, stream.readout, self.dtype, self.seed, self.weight_std or None),
            method.estimator,
            method.made_optimizer(made_rate(self.lr, self.decay), self.clip_norm or None),
            batch_size=self.batch_size,
            seed=self.seed,
            threads=self.threads,
            update_every=NEVER if method.scrambled else 1,
        )

    def start(self):
        return _ScrambledRun(self) if Method.parse(self.method).scrambled else _Run(self)


class _Run(Learning):
    """Rows: mean loss of all targets of a window, and of the answers alone, with their number."""

    def row(self, losses):
        answers = losses[~np.isnan(losses)]
        if self.settings.task == "brackets":
            answers = strings.answers(self.stream, self.step - len(losses), losses)
        found = {"bits": bits(losses), "answer_bits": bits(answers), "answers": len(answers)}
        self.note = "" if found["answer_bits"] is None else f"answer {found['answer_bits']:.2f} bits"
        return found


class _ScrambledRun(_Run, Scrambled):
    """The same of a control."""
