"""Series of numbers as streams: the Mackey-Glass equation (Mackey and Glass 1977, doi:10.1126/science.267326).

    dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)

is chaotic for tau = 17: neighbouring paths part by a factor of e in about 170 units of time.  Steps of Euler of 0.1, as is usual
in reservoir computing (Jaeger 2001, GMD report 148).
"""

import numpy as np

from rtrl._spec import integer, non_negative
from rtrl.readouts import Linear
from rtrl.tasks.streams import Stream, generators

__all__ = ["MackeyGlass"]

_PARTS = 10  # steps of Euler in a unit of time
_DELAY = 17 * _PARTS
_SETTLED = 1000  # units of time after which a path no longer shows where it began


class MackeyGlass(Stream):
    """Read the series, say its next value.

    A lane has a path of its own, from a random beginning; what it reads does not depend on how many steps are taken at once.

    Parameters
    ----------
    batch_size : int
        Lanes, B.
    seed : int
        Of the beginnings and of the noise.
    spacing : int
        Units of time between samples.
    noise : float
        Standard deviation of what is added to each sample that is read; the path itself, whose is 0.24, has none.
    """

    inputs = 1
    readout = Linear(1)

    def __init__(self, batch_size=1, seed=0, spacing=6, noise=0.01):
        self.batch_size = integer("batch_size", batch_size)
        self._generators = generators(seed, self.batch_size)
        self.spacing, self.noise = integer("spacing", spacing), non_negative("noise", noise)
        # The last values of each path, oldest first, and the sample that comes next.
        self._paths = [[1.2 + generator.uniform(-0.2, 0.2)] * (_DELAY + 1) for generator in self._generators]
        self._next = [0.0] * self.batch_size
        for lane in range(self.batch_size):
            self._move(lane, _SETTLED)
            self._next[lane] = self._sample(lane)

    def take(self, steps):
        """The next samples [T, B, 1], and the one after each of them."""
        steps = integer("steps", steps)
        samples = np.empty((steps + 1, self.batch_size, 1))
        for lane in range(self.batch_size):
            samples[0, lane, 0] = self._next[lane]
            for t in range(steps):
                samples[t + 1, lane, 0] = self._sample(lane)
            self._next[lane] = float(samples[-1, lane, 0])
        return samples[:-1], samples[1:], np.zeros((steps, self.batch_size), bool)

    def _sample(self, lane):
        self._move(lane, self.spacing)
        return self._paths[lane][-1] + float(self._generators[lane].normal(0, self.noise))

    def _move(self, lane, units):
        path = self._paths[lane]
        for _ in range(units * _PARTS):
            late, now = path[-1 - _DELAY], path[-1]
            path.append(now + (0.2 * late / (1 + late**10) - 0.1 * now) / _PARTS)
        del path[: -1 - _DELAY]

    def state(self):
        generators = [generator.bit_generator.state for generator in self._generators]
        return {"generators": generators, "paths": [list(path) for path in self._paths], "next": list(self._next)}

    def restore(self, state):
        for generator, kept in zip(self._generators, state["generators"]):
            generator.bit_generator.state = kept
        self._paths, self._next = [list(path) for path in state["paths"]], list(state["next"])
