"""What is measured of each estimator once its time is known: memory, gradient, learning; some estimators at once.

Each has a network and a session of its own, so that no number depends on what goes on beside it, apart from the time that its
learning takes.  The first worker begins with the cheapest estimators, so that rows come early; the others begin with the most
expensive, so that nobody waits for one of these at the end.
"""

import functools
import queue
import threading
from collections import deque
from dataclasses import dataclass

from rtrl._driver import available_threads
from rtrl.comparison import learning, memory
from rtrl.comparison.gradients import SmallNet

__all__ = ["Found", "measure"]

_LOOK = 0.2  # seconds between messages


@dataclass
class Found:
    """What was measured of one estimator.

    Attributes
    ----------
    quality : dict
        As `SmallNet.against_exact`.
    peak : dict or None
        As `memory.peak_memory`; None also where there is no session.
    learned : learning.Learned or None
        None where there is no session, or it would have taken too long.
    """

    quality: dict
    peak: dict | None = None
    learned: learning.Learned | None = None


class _Stopped(Exception):
    """Ends the work of a thread: nobody waits for it any more."""


def measure(settings, task, times, progress):
    """Measure all estimators.

    Parameters
    ----------
    settings, task
        What is compared, and what is learned.
    times : dict of Estimator to float
        Seconds of a step, of those that have a session.
    progress : Progress
        Where to tell how far it is.

    Yields
    ------
    estimator : rtrl.estimators.Estimator
    found : Found
        In the order in which they are done.
    """
    progress.show("gradient: training a small net")
    small = SmallNet(settings, task)
    left = deque(sorted(settings.estimators, key=lambda each: times.get(each, float("inf"))))
    workers = max(1, min(len(left), available_threads() // settings.threads))
    work = _Work(settings, task, times, small, left, workers)
    threads = [threading.Thread(target=work.go, args=(i > 0,), daemon=True) for i in range(workers)]
    for each in threads:
        each.start()
    try:
        for i in range(len(settings.estimators)):
            yield work.next(lambda i=i: progress.show(f"learning, {i} of {len(settings.estimators)} rows done; {work.doing()}"))
    finally:
        work.stopped.set()
        for each in threads:
            each.join()


class _Work:
    """What threads share."""

    def __init__(self, settings, task, times, small, left, workers):
        self.stopped = threading.Event()
        self._settings, self._task, self._times, self._small = settings, task, times, small
        self._left, self._workers = left, workers
        self._done, self._at = queue.SimpleQueue(), {}  # what is found, and the share that is done of what is under way

    def go(self, from_the_end):
        """Measure what is left, from one of its ends."""
        try:
            while not self.stopped.is_set():
                try:
                    estimator = self._left.pop() if from_the_end else self._left.popleft()
                except IndexError:
                    return
                self._at[estimator] = 0.0
                found = self._found(estimator)
                del self._at[estimator]
                self._done.put((estimator, found))
        except _Stopped:
            return
        except BaseException as error:
            self._done.put((None, error))

    def next(self, tell):
        """The next estimator that is done, and what was found; whatever went wrong in a thread is raised here."""
        while True:
            try:
                estimator, found = self._done.get(timeout=_LOOK)
            except queue.Empty:
                tell()
                continue
            if estimator is None:
                raise found
            return estimator, found

    def doing(self):
        """What is going on, in words."""
        at = self._at.copy()
        seconds = sum(map(self._seconds, self._left.copy())) + sum((1 - at[each]) * self._seconds(each) for each in at)
        words = ", ".join(f"{each} {share:.0%}" for each, share in at.items())
        return f"about {seconds / self._workers:.0f} s left; {words}"

    def _seconds(self, estimator):
        """What learning will take; 0 where there is none."""
        seconds = self._times.get(estimator, 0) * self._settings.steps
        return seconds if seconds <= self._settings.patience else 0

    def _found(self, estimator):
        found, seconds = Found(self._small.against_exact(estimator)), self._times.get(estimator)
        if seconds is not None:
            tell = functools.partial(self._tell, estimator)
            found.peak = memory.peak_memory(self._settings, self._task, estimator, seconds, tell)
            if self._seconds(estimator):
                found.learned = learning.learn(self._settings, self._task, estimator, seconds, tell)
        return found

    def _tell(self, estimator, done=0):
        """What work on an estimator calls now and then."""
        if self.stopped.is_set():
            raise _Stopped
        self._at[estimator] = done / self._settings.steps
