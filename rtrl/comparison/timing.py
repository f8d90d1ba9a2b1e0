"""Time of a step, with the estimators taking turns so that a busy moment of the machine meets all of them."""

import statistics
import time

__all__ = ["Timing", "step_times"]

_ROUNDS = 9
_TURN = 0.025  # seconds of an estimator's turn; at least one update
_LONGEST = 4.0  # seconds of all turns of one estimator, beyond which it gets fewer
_WINDOW = 2000  # steps of the stream that are gone through


class Timing:
    """One estimator's session on the stream, with its times.

    Attributes
    ----------
    seconds : list of float
        Time of a step, in each turn.
    """

    def __init__(self, settings, task, estimator):
        self._session = settings.session(task, estimator)
        self._xs, self._ys = task.batch(settings.batch_size, _WINDOW)
        self._resets = settings.resets(_WINDOW)
        self._at = 0
        self._every = self._session.update_every
        self.nbytes = self._session.nbytes
        self.seconds = []
        self._warm_up()

    def _warm_up(self):
        """A first turn, which also tells how many steps make one; it counts only if a step is very long."""
        first = self._go(1)
        if first > _LONGEST / 2:
            self.seconds, self._turns, self._steps = [first], 0, 1
            return
        self._go(self._every)
        each = self._go(self._every)
        self._steps = self._every * max(1, min(_WINDOW // self._every, round(_TURN / (each * self._every))))
        self._turns = max(1, min(_ROUNDS, int(_LONGEST / (each * self._steps))))

    def turn(self):
        """Take one turn, unless this estimator has had enough of them."""
        if self._turns:
            self._turns -= 1
            self.seconds.append(self._go(self._steps))

    def _go(self, steps):
        """Seconds per step of the next `steps` steps."""
        done, elapsed = 0, 0.0
        while done < steps:
            if self._at == _WINDOW:
                self._at = 0
            cut = slice(self._at, min(_WINDOW, self._at + steps - done))
            resets = None if self._resets is None else self._resets[cut]
            began = time.perf_counter()
            self._session.run(self._xs[cut], self._ys[cut], resets)
            elapsed += time.perf_counter() - began
            done += cut.stop - cut.start
            self._at = cut.stop
        return elapsed / steps


def step_times(settings, task, progress):
    """Times and bytes of all estimators that fit into memory.

    Returns
    -------
    times : dict of Estimator to float
        Median time of a step, seconds.
    nbytes : dict of Estimator to dict
        As `Session.nbytes`.
    refused : dict of Estimator to str
        Why there is no session of the others.
    """
    timings, refused = {}, {}
    for estimator in settings.estimators:
        progress.show(f"timing: preparing {estimator}")
        try:
            timings[estimator] = Timing(settings, task, estimator)
        except MemoryError as error:
            refused[estimator] = str(error)
    for turn in range(_ROUNDS):
        for estimator, timing in timings.items():
            progress.show(f"timing: round {turn + 1} of {_ROUNDS}, {estimator}")
            timing.turn()
    times = {estimator: statistics.median(timing.seconds) for estimator, timing in timings.items()}
    return times, {estimator: timing.nbytes for estimator, timing in timings.items()}, refused
