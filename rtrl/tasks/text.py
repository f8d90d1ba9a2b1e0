"""A text as a stream: predict the next character."""

import numpy as np

from rtrl import data
from rtrl._arrays import complete
from rtrl._spec import integer
from rtrl.readouts import Softmax
from rtrl.tasks.streams import Stream

__all__ = ["Text", "staggered"]


class Text(Stream):
    """Lanes that read the same text from places of their own, over and over.

    Parameters
    ----------
    ids : ndarray [N] of int
        Characters, see `rtrl.data.encode`.
    classes : int
        Different characters.
    batch_size : int
        Lanes, B; lane b starts at b * N // B.
    reset_every : int
        Steps after which a lane starts anew, the lanes in turn; 0: never.
    """

    def __init__(self, ids, classes, batch_size=1, reset_every=0):
        self.batch_size = integer("batch_size", batch_size)
        self.reset_every = integer("reset_every", reset_every, least=0)
        self.ids, self.inputs, self.readout = complete("ids", ids, "iu", "integer ids"), int(classes), Softmax(int(classes))
        self._step = 0

    def take(self, steps):
        steps = integer("steps", steps)
        xs, ys = data.lanes(self.ids, self.batch_size, steps, self._step)
        resets = staggered(self.batch_size, self.reset_every, steps, self._step)
        self._step += steps
        return xs, ys, resets

    def state(self):
        return {"step": self._step}

    def restore(self, state):
        self._step = state["step"]


def staggered(lanes, every, steps, first=0):
    """Mask [steps, lanes] of resets of each lane every so many steps, spread evenly over the lanes; 0: never.

    The lanes take turns, so that the network never loses all of its memory at once.
    """
    if not every:
        return np.zeros((steps, lanes), bool)
    lag = np.arange(lanes) * every // lanes
    return (np.arange(first, first + steps)[:, None] + lag) % every == 0
