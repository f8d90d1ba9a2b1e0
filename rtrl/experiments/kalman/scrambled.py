"""The scrambled control: g = g_immediate + eps_t (g_estimate - g_immediate), eps_t = +-1 at random at every step t.

What the estimator carries from earlier steps keeps its size and loses its direction.  A task that is learned all the same
says nothing about the estimator: noise in proportion to the loss can do as well.
"""

import copy
import tempfile
from pathlib import Path

import numpy as np

from rtrl.estimators import Immediate
from rtrl.experiments.runs import Learning
from rtrl.session import Session

__all__ = ["NEVER", "Scrambled"]

_SIGNS = (0, 0)  # tells these random numbers from those of the lanes of a stream
NEVER = 2**31 - 1  # steps between updates, of a session whose updates come from outside


class Scrambled(Learning):
    """Learning with scrambled gradients; the session of the settings must leave its updates to the caller.

    The immediate gradient comes from a twin, a session of its own with the same weights at every step.  A shadow would say
    the same, but takes three times as long in a loop of single steps.
    """

    def __init__(self, settings):
        super().__init__(settings)
        twin = copy.deepcopy(self.session.network)
        self.twin = Session(twin, Immediate(), batch_size=self.session.batch_size, threads=settings.threads)
        self.signs = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=_SIGNS))

    def learn(self, xs, ys, resets):
        session, twin = self.session, self.twin
        weights = [(view, session.network.parameters()[name]) for name, view in twin.network.parameters().items()]
        losses, minus = np.empty(len(xs)), self.signs.random(len(xs)) < 0.5
        for t, (x, y) in enumerate(zip(xs, ys)):
            losses[t] = session.step(x, y)
            twin.step(x, y)
            gradient, immediate = session.gradient(), twin.gradient()
            if minus[t]:
                gradient = {name: 2 * immediate[name] - value for name, value in gradient.items()}
            session.apply(gradient)
            for view, learned in weights:
                view[...] = learned
        return losses

    def save(self, path):
        with tempfile.TemporaryDirectory() as folder:
            parts = {name: Path(folder) / name for name in ("session", "twin")}
            for name, file in parts.items():
                getattr(self, name).save(file)
            np.savez(path, **{name: np.fromfile(file, np.uint8) for name, file in parts.items()})
        return {"step": self.step, "stream": self.stream.state(), "signs": self.signs.bit_generator.state}

    def load(self, path, state):
        with tempfile.TemporaryDirectory() as folder, np.load(path) as parts:
            for name in ("session", "twin"):
                parts[name].tofile(file := Path(folder) / name)
                optimizer = getattr(self, name).optimizer
                setattr(self, name, Session.load(file, optimizer=optimizer, threads=self.settings.threads))
        self.step = state["step"]
        self.stream.restore(state["stream"])
        self.signs.bit_generator.state = state["signs"]
