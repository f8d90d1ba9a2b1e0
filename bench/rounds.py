"""Timing of several sides in alternating rounds.

Other programs share the machine and its clock rate wanders, so only ratios taken within one run mean
anything: in every round each side runs once, and a ratio is formed round by round.  Where they take turns with us on one CPU,
`use_cpu_time` counts only what this process (all its threads) had of it.
"""

import time
from dataclasses import dataclass

import numpy as np

__all__ = ["Spread", "interleave", "spread", "use_cpu_time"]

_clock = time.perf_counter


def use_cpu_time():
    """Measure CPU time from now on; for one thread only."""
    global _clock
    _clock = time.process_time


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float

    def text(self, form=".3g"):
        """As "median (low .. high)"."""
        return f"{self.median:{form}} ({self.low:{form}} .. {self.high:{form}})"


def spread(values):
    """The `Spread` of a sequence of numbers."""
    low, median, high = np.percentile(np.asarray(values, float), [25, 50, 75])
    return Spread(float(median), float(low), float(high))


def interleave(sides, rounds, seconds=0.02):
    """Seconds per call of every side, round by round.

    Parameters
    ----------
    sides : dict of str to callable
        What to run; a call may change state.
    rounds : int
        Measurements of each side.
    seconds : float
        Least time of one measurement; short calls are repeated within it.

    Returns
    -------
    dict of str to ndarray [rounds]
    """
    calls = {}
    for name, side in sides.items():
        side()
        began = _clock()
        side()
        calls[name] = max(1, int(np.ceil(seconds / max(_clock() - began, 1e-9))))
    taken = {name: np.empty(rounds) for name in sides}
    for i in range(rounds):
        for name, side in sides.items():
            began = _clock()
            for _ in range(calls[name]):
                side()
            taken[name][i] = (_clock() - began) / calls[name]
    return taken
