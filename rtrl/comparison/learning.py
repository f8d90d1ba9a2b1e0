"""What an estimator learns in a given number of steps, scored before each step is learned."""

import time

import numpy as np

__all__ = ["Learned", "learn", "scored_from"]

_PIECE = 0.25  # seconds between looks at the clock


def scored_from(steps):
    """First step that is scored: the last fifth counts."""
    return steps - max(1, steps // 5)


class Learned:
    """Result of one run: `score`, `seconds`, and `health` as `Session.health` reports it."""

    def __init__(self, score, seconds, health):
        self.score, self.seconds, self.health = score, seconds, health


def learn(settings, task, estimator, seconds, tell):
    """Learn the stream once.

    Parameters
    ----------
    settings, task, estimator
        The session and its stream.
    seconds : float
        Expected time of a step.
    tell : callable
        Called as tell(steps done) now and then; what it raises ends the work.

    Returns
    -------
    Learned
    """
    session = settings.session(task, estimator)
    piece = max(1, int(_PIECE / seconds))
    losses, began = [], time.perf_counter()
    for first in range(0, settings.steps, piece):
        steps = min(piece, settings.steps - first)
        losses.append(session.run(*task.batch(settings.batch_size, steps, first), settings.resets(steps, first)))
        tell(first + steps)
    elapsed = time.perf_counter() - began
    losses = np.concatenate(losses)
    return Learned(task.score(losses[scored_from(settings.steps) :]), elapsed, session.health())
