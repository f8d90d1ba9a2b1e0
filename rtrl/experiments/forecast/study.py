"""Runs of the study: one model on one series, one sample after the other."""

import csv
import dataclasses
import functools
import hashlib
import os
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rtrl import data
from rtrl.cells import Cell
from rtrl.commands import options as shared
from rtrl.estimators import Estimator
from rtrl.experiments.forecast import scaling
from rtrl.experiments.forecast.latency import Times
from rtrl.experiments.forecast.models import Baseline, Recurrent, models
from rtrl.experiments.recipe import Recipe
from rtrl.experiments.runs import Run, finite
from rtrl.experiments.settings import preset, setting
from rtrl.readouts import Linear
from rtrl.tasks import MackeyGlass

__all__ = ["Settings"]

_COMMON = ("estimator", "series", "column", "inputs", "ahead", "steps", "window")  # settings that every model needs
_TELL = 100  # samples between signs of life


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """As `Recipe`, with one lane, for one series.

    A baseline keeps the defaults of what it does not look at, so that a sweep over learning rates runs it once.

    Attributes
    ----------
    estimator : rtrl.estimators.Estimator or Baseline
        Where gradients come from, or what forecasts without a recurrent net.
    series, column, inputs : str or None
        Files, columns that are forecast, and columns that are only read, each separated by commas; no file: `MackeyGlass`.
    ahead, taps : int
        Samples between a forecast and its target, and samples that a model is shown at once.
    shows : {"changes", "values"}
        As what it is shown them, see `Stream`.
    lookback : int
        See `scaling`.
    forgetting, ridge : float
        See `models`.

    Raises
    ------
    OSError, ValueError
        As `rtrl.data.read_series`, or if there is nothing to score.
    """

    study = "forecast"
    named: ClassVar[tuple] = ("estimator", "ahead", "seed")
    batch_size: ClassVar[int] = 1  # type: ignore[misc]  # a series is one stream

    estimator: Estimator | Baseline = setting(  # type: ignore[assignment]
        None,
        models,
        "estimators of a recurrent net, RLS (a linear model) and LastValue, separated by commas: a run of each",
        flag="models",
        rows="RTRL, KFRTRL, UORO, SnAp, TBPTT(8, sliding=True), TBPTT(32, sliding=True), RLS, LastValue",
        metavar="NAMES",
    )
    series: str | None = setting(
        None,
        str,
        "CSV files with as many samples each, separated by commas (quote a name that has one); "
        "without it the Mackey-Glass series with noise, spacing 6",
        metavar="FILES",
    )
    column: str | None = setting(None, str, "columns of each file to forecast, by name or number; the last", metavar="NAMES")
    inputs: str | None = setting(None, str, "columns of each file that are read, not forecast; none", metavar="NAMES")
    ahead: int = setting(
        1, shared.sizes, "samples between forecast and target, separated by commas: a run of each", rows="1,5,20", metavar="N"
    )
    taps: int = setting(8, shared.whole(1, 1024), "last samples that a model is shown at once", metavar="N")
    shows: str = setting(
        "changes", str, "what of them: the newest and the changes between them, or their values", choices=("changes", "values")
    )
    lookback: int = setting(
        1000, shared.whole(0, 10**9), "samples that the running mean and scale look back on; 0: all", metavar="N"
    )
    forgetting: float = setting(0.999, shared.number(above=True), "forgetting factor of RLS, at most 1", metavar="X")
    ridge: float = setting(1.0, shared.number(above=True), "RLS begins as if it had seen so much of every input", metavar="X")
    cell: str | Cell = preset(Recipe, "cell", "gru")
    hidden: int = preset(Recipe, "hidden", 32)
    steps: int = setting(10_000, shared.whole(1, 10**9), "samples at most; a file may end before", metavar="N", extends=True)
    window: int = preset(Recipe, "window", 50)

    def __post_init__(self):
        super().__post_init__()
        if self.forgetting > 1:
            raise ValueError(f"forgetting must be at most 1; got {self.forgetting}")
        if self.series is None and (self.column or self.inputs):
            raise ValueError("column and inputs need series: files that have columns")
        if isinstance(self.estimator, Baseline):
            used = (*_COMMON, *self.estimator.uses, *(() if self.series else ("seed",)))
            for field in dataclasses.fields(self):
                if field.name not in used and "words" in field.metadata and field.metadata.get("shown", True):
                    object.__setattr__(self, field.name, field.default)
        if self.work <= self.ahead:
            raise ValueError(f"{self.work} samples have no target {self.ahead} samples ahead")

    @property
    def work(self):
        return len(self.samples()[0])

    def samples(self):
        """Values [N, columns] of all columns, and how many of them, the first ones, are forecast."""
        if self.series is None:
            return _synthetic(self.seed, self.steps), 1
        values, targets = self._files
        return values[: self.steps], targets

    @functools.cached_property
    def _files(self):
        """All samples as they were when these settings were made: others may write to the files while a run is at work."""
        return _read(self.series, self.column, self.inputs)

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_files"}  # another process reads them itself

    def digest(self, steps):
        """Fingerprint of the first samples."""
        values = _synthetic(self.seed, max(steps, self.steps)) if self.series is None else self._files[0]
        return hashlib.blake2b(values[:steps].tobytes(), digest_size=8).hexdigest()

    def check(self, state):
        if state.get("read", self.digest(state["step"])) != self.digest(state["step"]):
            words = self.series or "the Mackey-Glass series"
            raise ValueError(f"the first {state['step']} samples of {words} are not those that this run has read")

    def start(self):
        return _Forecast(self)


@functools.lru_cache(maxsize=4)
def _synthetic(seed, steps):
    return MackeyGlass(seed=seed).take(steps)[0][:, 0]


def listed(names):
    """The names of a list that commas separate; a name with a comma is quoted, as in CSV files."""
    try:
        found = [name.strip() for row in csv.reader([names], skipinitialspace=True, strict=True) for name in row]
    except csv.Error as error:
        raise ValueError(f"{names!r} is not a list of names: {error}") from None
    if not all(found) or not found:
        raise ValueError(f"{names!r} is not a list of names: one is empty")
    return found


def _read(series, column, inputs):
    """Values of all columns, those that are forecast first, and how many these are."""
    return _read_once(tuple(_as_it_is(file) for file in listed(series)), column, inputs)


def _as_it_is(file):
    """A file, and what changes when somebody writes to it."""
    about = os.stat(os.path.expanduser(file))
    return file, about.st_mtime_ns, about.st_size, about.st_ino


@functools.lru_cache(maxsize=4)
def _read_once(files, column, inputs):
    files = [file for file, *_ in files]
    targets = [(file, name) for file in files for name in (listed(column) if column else [None])]
    others = [(file, name) for file in files for name in (listed(inputs) if inputs else [])]
    found = [data.read_series(file, name, standardise=False) for file, name in targets + others]
    if len({len(each) for each in found}) > 1:
        raise ValueError(f"the files have different numbers of samples: {', '.join(str(len(each)) for each in found)}")
    return np.stack(found, 1), len(targets)


class Stream:
    """What models are shown, and its targets.

    Attributes
    ----------
    values, scaled : ndarray [N, columns]
        What is forecast, and its changes over `ahead` samples in running units.
    scale : ndarray [N, columns]
        Those units.
    shown : ndarray [N, features]
        The last `taps` samples of all columns, each standardised when it came: their values, or the newest value and the changes
        from one to the next.  A linear model can say the same of both, but neighbours of a smooth series are nearly equal, and
        gradient descent is slow where inputs are.  0 before the first.
    inputs, readout
        What suits a network.
    """

    def __init__(self, settings):
        samples, columns = settings.samples()
        self.values = samples[:, :columns]
        self.scaled, self.scale = scaling.changes(self.values, settings.ahead, settings.lookback)
        values = scaling.standardised(samples, settings.lookback)
        older = values if settings.shows == "values" else scaling.changes(samples, 1, settings.lookback)[0]
        late = [_late(older, i) for i in range(settings.taps)]
        self.shown = np.concatenate([values, *(late[1:] if settings.shows == "values" else late[:-1])], 1)
        self.inputs, self.readout = self.shown.shape[1], Linear(columns)


def _late(values, steps):
    """Rows of `steps` before; 0 before the first."""
    return np.concatenate([np.zeros((min(steps, len(values)), values.shape[1])), values[: max(0, len(values) - steps)]])


class _Forecast(Run):
    """Rows: errors of the forecasts whose targets came in a window, and of all so far; means over targets and columns.

    step                     samples that were read
    scored                   targets of the window
    mse, mae                 mean squared and mean absolute error, in the units of the series
    last_mse, last_mae       the same of the forecast that nothing changes
    ratio                    mse / last_mse
    all_...                  the same from the beginning on
    """

    unit = "samples"

    def __init__(self, settings):
        super().__init__(settings)
        self._stream = stream = Stream(settings)
        if isinstance(settings.estimator, Baseline):
            self._model = settings.estimator.start(settings, stream.inputs, stream.values.shape[1])
        else:
            self._model = Recurrent(settings, stream)
        self._forecasts = np.zeros((self.steps + settings.ahead, stream.values.shape[1]))  # by their targets' times
        self._sums = np.zeros((2, 2))  # of squared and absolute errors, of the model and of the last value

    def window(self, tell):
        ahead, steps, times = self.settings.ahead, range(self.step, self.step + self.room), Times()
        for t in steps:
            self._sample(t, times)
            if t % _TELL == 0:
                tell(t)
        self.step = steps.stop
        targets = range(max(steps.start, ahead), max(steps.stop, ahead))
        errors = self._missed(targets)
        self._sums += errors
        every = {f"all_{name}": value for name, value in _errors(self._sums, max(0, self.step - ahead)).items()}
        self.note = "" if every["all_ratio"] is None else f"{every['all_ratio']:.3f} of the last value's squared error"
        row = {"step": self.step, "scored": len(targets), **_errors(errors, len(targets)), **every}
        return [row], {"latency": times.counts, "longest": times.longest}

    def _sample(self, t, times):
        """Learn from the target that came at time t, and forecast."""
        stream, ahead = self._stream, self.settings.ahead
        past, target = (stream.shown[t - ahead], stream.scaled[t]) if t >= ahead else (None, None)
        recent = stream.shown[max(0, t + 1 - ahead) : t + 1]
        began = time.perf_counter_ns()
        change = self._model.step(past, target, recent)
        times.add(time.perf_counter_ns() - began)
        self._forecasts[t + ahead] = stream.values[t] + stream.scale[t] * change

    def _missed(self, targets):
        """Sums [squared or absolute, model or last value] of the errors on some targets, means over columns."""
        truth = self._stream.values[targets.start : targets.stop]
        last = self._stream.values[targets.start - self.settings.ahead : targets.stop - self.settings.ahead]
        missed = np.stack([truth - self._forecasts[targets.start : targets.stop], truth - last])
        return np.stack([(missed**2).mean(2).sum(1), np.abs(missed).mean(2).sum(1)])

    def save(self, path):
        self._model.save(path)
        waiting = self._forecasts[self.step : self.step + self.settings.ahead]
        kept = {"step": self.step, "read": self.settings.digest(self.step)}
        return {**kept, **{name: _plain(value) for name, value in (("waiting", waiting), ("sums", self._sums))}}

    def load(self, path, state):
        self.settings.check(state)
        self._model.load(path)
        self.step, self._sums = state["step"], np.array(state["sums"], float)
        self._forecasts[self.step : self.step + self.settings.ahead] = np.array(state["waiting"], float)


def _plain(numbers):
    """An array [m, n] as lists, None for what is no number: JSON has none."""
    return [[finite(each) for each in row] for row in numbers]


def _errors(sums, count):
    """Sums [squared or absolute, model or last value] as part of a row; None where there is no number."""
    means = sums / count if count else np.full((2, 2), np.nan)
    names = ("mse", "last_mse", "mae", "last_mae")
    ratio = means[0, 0] / means[0, 1] if means[0, 1] else np.nan
    return {name: finite(value) for name, value in zip(names, means.ravel())} | {"ratio": finite(ratio)}
