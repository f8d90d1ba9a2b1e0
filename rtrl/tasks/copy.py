"""String memorisation with a curriculum (Mujika et al. 2018, arXiv:1805.10842; Benzing et al. 2019, arXiv:1902.03993)."""

import math

import numpy as np

from rtrl._spec import integer
from rtrl.readouts import Softmax
from rtrl.tasks.streams import Sequences

__all__ = ["Copy"]

START, BLANK = 2, 3
_KEEP = 0.999  # of the running mean of the loss
_LEARNED, _AFTER = 0.15, 0.3  # bits: below the first a string is longer by 1, and the mean starts over at the second
_SPREAD = 4
_LOST = 1e300  # bits: a loss that is no number counts as one that is never forgotten


class Copy(Sequences):
    """Read T random bits, and say them after a signal.

    Inputs [start, b_1 .. b_T, blank x (T+1)], targets [blank x (T+1), start, b_1 .. b_T].  A lane that has ended its string
    starts anew with another, T uniform on {longest - 4 .. longest} and at least 1.  L <- 0.999 L + 0.001 loss in bits, from
    L = 1; when a lane draws a string and L < 0.15, the longest is longer by 1 and L = 0.3.

    Parameters
    ----------
    batch_size : int
        Lanes, B.
    seed : int
        Of the strings.

    Attributes
    ----------
    longest : int
        Length of the longest strings now, the score of this task.
    """

    inputs = 4
    readout = Softmax(4)
    restarts = True

    def __init__(self, batch_size=1, seed=0):
        super().__init__(batch_size, seed)
        self.longest, self.mean = 1, 1.0

    def draw(self, generator):
        bits = generator.integers(0, 2, generator.integers(max(1, self.longest - _SPREAD), self.longest + 1))
        blanks = np.full(len(bits) + 1, BLANK)
        return np.concatenate([[START], bits, blanks]), np.concatenate([blanks, [START], bits])

    def take(self, steps):
        steps = integer("steps", steps)
        for lane in range(self.batch_size):
            if not self.left(lane):
                if self.mean < _LEARNED:
                    self.longest, self.mean = self.longest + 1, _AFTER
                self.renew(lane)
        return super().take(min(steps, self._certain()))

    def _certain(self):
        """Steps from here on within which no lane can draw a longer string, whatever the losses are."""
        # The mean falls fastest where losses are 0; one step less, for rounding.
        fall = math.log(self.mean / _LEARNED) / -math.log(_KEEP) if self.mean > _LEARNED else 0
        return max(1, int(fall) - 1, min(map(self.left, range(self.batch_size))))

    def learned(self, losses):
        for loss in losses:
            missed = float(loss) / math.log(2)
            self.mean = _KEEP * self.mean + (1 - _KEEP) * (missed if missed < _LOST else _LOST)

    def state(self):
        return {**super().state(), "longest": self.longest, "mean": self.mean}

    def restore(self, state):
        super().restore(state)
        self.longest, self.mean = state["longest"], state["mean"]
