"""Runs: work that advances in windows, between which it can be stopped, and resumed bit for bit."""

import time

import numpy as np

from rtrl.session import Session

__all__ = ["Learning", "Run", "bits", "finite"]

_PIECE = 0.2  # seconds between looks at the clock


class Run:
    """Base of all runs.

    All that a run knows between two windows is in what `save` keeps, and no window depends on the time that it takes: a
    resumed run gives the same rows as one that never stopped, to the last bit.

    Attributes
    ----------
    settings : rtrl.experiments.settings.Settings
        What it was told.
    step, steps : int
        Work that is done, and all of it.
    room : int
        Steps to the end of the window, for runs whose settings have `window`: a multiple of it, or the end of the run.
    note : str
        How it goes, for the line of progress.
    """

    unit = "steps"
    note = ""
    step = 0

    def __init__(self, settings):
        self.settings = settings

    @property
    def steps(self):
        return self.settings.work

    @property
    def room(self):
        # From multiple to multiple also where more steps were asked for after the end of a shorter run.
        window = self.settings.window
        return min(window - self.step % window, self.steps - self.step)

    def window(self, tell):
        """Do the work up to the next rows.

        Parameters
        ----------
        tell : callable
            Called as tell(step) now and then.

        Returns
        -------
        rows : list of dict
            Results, the same at every repetition; plain data without NaN.
        measured : dict
            What is not the same at every repetition, such as latencies; plain data.
        """
        raise NotImplementedError

    def save(self, path):
        """Write arrays to a file; the rest is returned as plain data."""
        raise NotImplementedError

    def load(self, path, state):
        """Go on from what `save` kept."""
        raise NotImplementedError


class Learning(Run):
    """A session that learns a stream; a window ends at a multiple of `settings.window` steps and gives one row.

    Settings have `session(stream)`, and `stream()` unless the stream is given; what a row says of the losses of a window is
    for the study.
    """

    def __init__(self, settings, stream=None):
        super().__init__(settings)
        self.stream = settings.stream() if stream is None else stream
        self.session = settings.session(self.stream)

    def row(self, losses):
        """What a window's row says besides its last step, from its losses [T] in nats.

        A loss is NaN where there is no target, and infinite where there is one and the session has lost its numbers.
        """
        raise NotImplementedError

    def learn(self, xs, ys, resets):
        """Losses [T] of learning some steps, for a study that does it in a way of its own."""
        return self.session.run(xs, ys, resets)

    def window(self, tell):
        steps = self.room
        losses = self._learn(steps, tell)
        self.step += steps
        return [{"step": self.step, **self.row(losses)}], {}

    def _learn(self, steps, tell):
        losses, piece, done = np.empty(steps), 1, 0
        while done < steps:
            began = time.perf_counter()
            xs, ys, resets = self.stream.take(min(piece, steps - done))
            part = self.learn(xs, ys, resets)
            part[np.isnan(part) & _wanted(ys)] = np.inf
            self.stream.learned(part)
            losses[done : done + len(part)] = part
            done += len(part)
            tell(self.step + done)
            if time.perf_counter() - began < _PIECE / 2:
                piece *= 2
        return losses

    def save(self, path):
        self.session.save(path)
        return {"step": self.step, "stream": self.stream.state()}

    def load(self, path, state):
        optimizer = self.session.optimizer
        del self.session  # there may be no room for two
        self.session = Session.load(path, optimizer=optimizer, threads=self.settings.threads)
        self.step = state["step"]
        self.stream.restore(state["stream"])


def _wanted(ys):
    """Where there is a target in any lane [T]."""
    ys = np.asarray(ys)
    known = ys >= 0 if ys.dtype.kind in "iu" else ~np.isnan(ys)
    return known.reshape(len(ys), -1).any(1)


def bits(losses):
    """Mean in bits of losses in nats; those without a target, NaN, do not count; None if it is no number or there is none."""
    known = losses[~np.isnan(losses)]
    return finite(known.mean() / np.log(2)) if len(known) else None


def finite(value):
    """A float, or None for what is no number: JSON has none."""
    return float(value) if np.isfinite(value) else None
