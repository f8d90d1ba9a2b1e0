"""What forecasts: a session that learns from targets that come late, and the linear models that it is measured against.

A forecaster is given one sample after the other, and answers each with the change that it expects over the next h samples.
Inputs and changes are standardised, see `scaling`; features are the last `taps` samples of all columns.  At time t it is given

past [features]           what it saw at t - h, whose target has come now, or None while there is none
target [columns]          the change from t - h to t
recent [h, features]      what it saw from t - h + 1 to t
"""

import argparse
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rtrl._spec import Spec
from rtrl.comparison.specs import parse, split
from rtrl.estimators import Estimator
from rtrl.session import Session

__all__ = ["RLS", "Baseline", "LastValue", "Recurrent", "models"]


class Baseline(Spec):
    """Base of the models that are not recurrent nets; what they are told is in the settings, so that sweeps reach it."""

    _family = "experiments.forecast.models"
    uses: ClassVar[tuple] = ()  # settings that tell it something


@dataclass(frozen=True)
class LastValue(Baseline):
    """Nothing changes."""

    def start(self, settings, features, columns):
        return _LastValue(columns)


@dataclass(frozen=True)
class RLS(Baseline):
    """A linear model of the features and 1, by recursive least squares with forgetting."""

    uses = ("taps", "shows", "lookback", "forgetting", "ridge")

    def start(self, settings, features, columns):
        return _RLS(settings.forgetting, settings.ridge, features, columns)


class Recurrent:
    """A session that runs h samples behind, and looks ahead for its forecast.

    It reads a sample when the target of that sample comes, so that loss, credit and influence belong to the same step, as if
    nothing had been late: no gradient is stale, and none is approximated.  The forecast takes the newest weights through the h
    samples that the session has not read yet, which does not move its state: h forward passes a sample.

    The readout begins with 0: the first forecast is that of no change.
    """

    def __init__(self, settings, stream):
        self._threads = settings.threads
        self.session = settings.session(stream)
        self.session.network.parameters()["readout.weight"][...] = 0

    def step(self, past, target, recent):
        """Learn from a target that has come, then forecast [columns]."""
        if past is not None:
            self.session.step(past, target)
        if len(recent) == 1:
            return self.session.predict(recent[0])[0]
        return self.session.predict_run(recent)[-1, 0]

    def save(self, path):
        self.session.save(path)

    def load(self, path):
        self.session = Session.load(path, optimizer=self.session.optimizer, threads=self._threads)


class _LastValue:
    def __init__(self, columns):
        self._nothing = np.zeros(columns)

    def step(self, past, target, recent):
        return self._nothing

    def save(self, path):
        np.savez(path)

    def load(self, path):
        pass


class _RLS:
    """Weights W [features + 1, columns] and the inverse P of the regressors' second moment (Haykin, Adaptive Filter Theory):

    g = P phi / (f + phi' P phi)      W <- W + g (y - W' phi)'      P <- (P - g phi' P) / f,      f the forgetting factor

    from W = 0 and P = I / ridge.  P is not divided by f where its trace would grow beyond that of its beginning: regressors that
    stay the same for a long time would let it grow without bound.
    """

    def __init__(self, forgetting, ridge, features, columns):
        self._forgetting, self._largest = forgetting, (features + 1) / ridge
        self._phi = np.ones(features + 1)
        self._weights, self._inverse = np.zeros((features + 1, columns)), np.eye(features + 1) / ridge

    def step(self, past, target, recent):
        if past is not None:
            self._learn(self._regressors(past), target)
        return self._regressors(recent[-1]) @ self._weights

    def _regressors(self, features):
        self._phi[:-1] = features
        return self._phi

    def _learn(self, phi, target):
        pulled = self._inverse @ phi
        size = self._forgetting + phi @ pulled
        self._weights += np.outer(pulled / size, target - phi @ self._weights)
        self._inverse -= np.outer(pulled, pulled) / size
        if np.trace(self._inverse) < self._forgetting * self._largest:
            self._inverse /= self._forgetting

    def save(self, path):
        np.savez(path, weights=self._weights, inverse=self._inverse)

    def load(self, path):
        with np.load(path) as kept:
            self._weights, self._inverse = kept["weights"], kept["inverse"]


def models(text):
    """Estimators of a recurrent net, and baselines by their names, separated by commas, each once."""
    baselines = {each.__name__ for each in Baseline.__subclasses__()}
    found = {}
    for part in split(text):
        base = Baseline if re.split(r"\W", part.strip())[0] in baselines else Estimator
        try:
            found[parse(part, base)] = None
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}; or {', '.join(sorted(baselines))}") from None
    return tuple(found)
