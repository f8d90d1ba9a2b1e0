"""What every stream of a task can do, and streams whose lanes read one sequence after the other."""

import numpy as np

from rtrl._spec import integer

__all__ = ["Sequences", "Stream", "generators"]


class Stream:
    """An endless stream of `batch_size` lanes.

    Iterating gives (x, y, resets) of one step at a time, [B] each.

    Attributes
    ----------
    batch_size : int
        Lanes, B.
    inputs : int
        Width of the network's input.
    readout : rtrl.readouts.Readout
        What suits the targets.
    """

    batch_size: int
    inputs: int
    readout: object

    def take(self, steps):
        """The next steps, as `Session.run` takes them.

        Parameters
        ----------
        steps : int
            At most so many; fewer come where the stream must first be told of losses, see `learned`.

        Returns
        -------
        xs, ys, resets : ndarray [T, B]
            Inputs, targets, and where lanes start anew, time-major.
        """
        raise NotImplementedError

    def learned(self, losses):
        """Told the losses [T], in nats, of what `take` gave last; a curriculum needs them, other streams do not."""

    def state(self):
        """Where the stream is, as plain data for JSON."""
        raise NotImplementedError

    def restore(self, state):
        """Go on from what `state` said."""
        raise NotImplementedError

    def __iter__(self):
        while True:
            xs, ys, resets = self.take(1)
            yield xs[0], ys[0], resets[0]


def generators(seed, lanes):
    """A random generator for each lane; they share no numbers with one another, nor with a network of the same seed."""
    children = np.random.SeedSequence(integer("seed", seed, least=0, most=2**64 - 1)).spawn(lanes)
    return [np.random.default_rng(child) for child in children]


class Sequences(Stream):
    """A stream whose lanes read random sequences, one after the other.

    A lane has a random generator of its own, so what it reads does not depend on how many steps are taken at once.

    Parameters
    ----------
    batch_size : int
        Lanes, B.
    seed : int
        Of the sequences.
    """

    restarts = False  # whether a lane starts anew with every sequence

    def __init__(self, batch_size=1, seed=0):
        self.batch_size = integer("batch_size", batch_size)
        self._generators = generators(seed, self.batch_size)
        # The sequence that a lane is in, inputs and targets [2, length], and how much of it was read.
        self._sequences = [np.empty((2, 0), np.int32) for _ in range(self.batch_size)]
        self._read = [0] * self.batch_size

    def draw(self, generator):
        """A random sequence: inputs and targets [2, length]."""
        raise NotImplementedError

    def take(self, steps):
        steps = integer("steps", steps)
        xy = np.empty((2, steps, self.batch_size), np.int32)
        resets = np.zeros((steps, self.batch_size), bool)
        for lane in range(self.batch_size):
            self._fill(lane, xy[:, :, lane], resets[:, lane])
        return xy[0], xy[1], resets

    def _fill(self, lane, xy, resets):
        done, steps = 0, xy.shape[1]
        while done < steps:
            if not self.left(lane):
                self.renew(lane)
            first = self._read[lane]
            count = min(steps - done, self.left(lane))
            xy[:, done : done + count] = self._sequences[lane][:, first : first + count]
            resets[done] = self.restarts and first == 0
            self._read[lane] += count
            done += count

    def left(self, lane):
        """Steps that are left of a lane's sequence."""
        return self._sequences[lane].shape[1] - self._read[lane]

    def renew(self, lane):
        """Give a lane its next sequence."""
        self._sequences[lane] = np.asarray(self.draw(self._generators[lane]), np.int32)
        self._read[lane] = 0

    def state(self):
        return {
            "generators": [generator.bit_generator.state for generator in self._generators],
            "sequences": [sequence.tolist() for sequence in self._sequences],
            "read": list(self._read),
        }

    def restore(self, state):
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._sequences = [np.array(sequence, np.int32).reshape(2, -1) for sequence in state["sequences"]]
        kept = zip(state["read"], self._sequences, strict=True)
        self._read = [integer("read", read, least=0, most=sequence.shape[1]) for read, sequence in kept]
