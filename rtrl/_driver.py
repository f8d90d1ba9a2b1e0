"""What stands between a session's public methods and the compiled engine.

Arguments are checked here, before the engine runs; long runs are cut into pieces; one thread at a time.
"""

import functools
import numbers
import os
import time
import warnings

import numpy as np

import rtrl_core
from rtrl import _arguments
from rtrl._sealed import Sealed
from rtrl._spec import representable
from rtrl.estimators import Estimator
from rtrl.network import Network
from rtrl.optimizers import Optimizer
from rtrl.shadow import Shadow

__all__ = ["Driver", "available_threads", "pieces"]

_PIECE_SECONDS = 0.1  # a long run is cut into pieces, so that Ctrl-C is heard


class Driver(Sealed):
    """Owner of the compiled engine of a session, and of NumPy views of its memory."""

    network: Network
    estimator: Estimator
    optimizer: Optimizer | None
    batch_size: int
    seed: int
    update_every: int
    influence_cap: float
    _shadows: list[Shadow]

    def _start(self, threads):
        """Build the engine from the session's specs."""
        network, dtype = self.network, self.network.dtype.name
        places = dict(network._layout.places)
        readout_at = places.pop("readout.weight", (network._layout.size, 0))
        self._shadows = []
        self._warned = False
        network.drop_missing()
        self._readout = network.compiled_readout()
        self._engine = rtrl_core.core(dtype).Engine(
            network.compiled_cell(),
            self._readout,
            self.estimator.suited(network, self.batch_size)._compiled(dtype),
            None if self.optimizer is None else self.optimizer._compiled(dtype),
            weights=network._flat,
            mask=network._holes,
            stages=[(network.inputs if i == 0 else 0, *place) for i, place in enumerate(places.values())],
            readout_at=readout_at,
            lanes=self.batch_size,
            seed=self.seed,
            threads=-available_threads() if threads is None else min(threads, 4 * (os.cpu_count() or 1)),
            update_every=self.update_every,
            cap=self.influence_cap,
        )
        self._turn = _Turn(network._lock)
        self._arrays = self._blocks()
        self._state = self._arrays["session.s"].reshape(self.batch_size, -1)[:, : network.cell.hidden]
        self._gradients = network._layout.views(self._arrays["estimator.gradient"])
        lr = None if self.optimizer is None else self.optimizer.lr
        self._rate = functools.partial(_rate_at, lr, dtype)
        where = [(name, *network._layout.places[name], *shape) for name, shape in network._layout.shapes.items()]
        self._engine.expect(network._lock, self._state, self._rate if callable(lr) else lr or 0.0, where)
        self._seal()

    def _alone(self):
        """Context in which no other thread uses the session or its network."""
        return self._turn

    def _blocks(self):
        """NumPy views of everything that a checkpoint holds, by name."""
        return {
            name: np.frombuffer(arena, code, int(count), int(offset))
            for arena in self._engine.arenas()
            for name, kind, code, offset, count in arena.blocks
            if kind != "workspace" and count
        }

    def _need_dense(self):
        if self._engine.need_dense():
            self._arrays = self._blocks()

    def _need_readout(self):
        if self._readout is None:
            raise RuntimeError("this network has no readout: use advance, feedback, gradient and apply")
        return self._readout

    def _inputs(self, x):
        """Ids or numbers of a step, checked."""
        return _arguments.inputs(self.network, self.batch_size, "x", x, True)

    def _step(self, x, y):
        """One step with its target as parts, as `_sequence` gives them."""
        readout = self._need_readout()
        targets = _arguments.targets(self.network, readout, self.batch_size, "y", y, 1, True)
        return [(*self._inputs(x), *targets, None)], 1

    def _sequence(self, xs, ys, resets=None):
        """Parts of many steps with targets, checked, and the number of steps; nothing has changed if this raises."""
        return _arguments.sequence(self.network, self._need_readout(), self.batch_size, ("xs", "ys"), xs, ys, resets)

    def _pieces(self, parts):
        """Where a piece of a run lies, and its arguments."""
        first = 0
        for part in parts:
            if part[1] is not None:
                self._need_dense()
            count = len(part[1] if part[0] is None else part[0])
            for piece in pieces(count):
                cuts = [None if array is None else array[piece] for array in part]
                yield slice(first + piece.start, first + piece.stop), cuts
            first += count

    def _learn(self, checked, *arguments):
        """Losses of some steps of learning; `checked` gives their parts."""
        with self._alone():
            parts, steps = checked(*arguments)
            due = self._due(steps)
            rates = self._rates(steps, due)
            losses = np.empty(steps)
            similarity = np.full((steps, len(self._shadows), 2), np.nan) if self._shadows else None
            for piece, cuts in self._pieces(parts):
                cuts += [None if array is None else array[piece] for array in (rates, losses)]
                self._engine.run(True, True, *cuts, None, None if similarity is None else similarity[piece], None)
            self._compare(similarity, due)
        self._warn(4)
        return losses

    def _due(self, steps):
        """Indices of the coming steps that end with an update."""
        if self.optimizer is None:
            return np.empty(0, int)
        return np.arange(self.update_every - 1 - self._engine.steps() % self.update_every, steps, self.update_every)

    def _rates(self, steps, due):
        """Learning rate of each of the coming steps (asked for only where an update comes)."""
        if self.optimizer is None:
            return None
        if not callable(self.optimizer.lr):
            return np.full(steps, self.optimizer.lr)
        rates = np.zeros(steps)
        for i in due:
            rates[i] = self._rate(self._engine.steps() + int(i))
        return rates

    def _compare(self, similarity, due):
        for i, shadow in enumerate(self._shadows):
            shadow.cosines, shadow.relative_errors = similarity[due, i, 0], similarity[due, i, 1]

    def _warn(self, depth=3):
        """Tell once that a guard had to act; `depth` frames above is the user's call."""
        if not self._warned and self._engine.troubles():
            self._warned = True
            warnings.warn(
                "the session met values that are not finite or an influence beyond its cap; see session.health()",
                RuntimeWarning,
                stacklevel=depth,
            )


class _Turn:
    """Holds a network's lock, or says that another thread does."""

    def __init__(self, lock):
        self._lock = lock

    def __enter__(self):
        if not self._lock.acquire(False):
            raise RuntimeError("this session or its network is in use by another thread; give each thread its own")

    def __exit__(self, *_):
        self._lock.release()


def _rate_at(lr, dtype, step):
    """Learning rate of a time step, checked."""
    if not callable(lr):
        return lr
    value = lr(step)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"the learning rate must be a number; the schedule gave {value!r} at step {step}")
    value = float(value)
    if not 0 <= value < float("inf"):
        raise ValueError(f"the learning rate must be finite and 0 or more; the schedule gave {value!r} at step {step}")
    return representable(f"the learning rate of step {step}", value, dtype)


def available_threads():
    """CPUs that this process may use, fewer if OMP_NUM_THREADS says so."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(count, int(wish))) if wish.isdigit() else count


def pieces(steps):
    """Slices of steps that take about a tenth of a second each."""
    first, size = 0, 256
    while first < steps:
        began = time.perf_counter()
        yield slice(first, min(steps, first + size))
        first += size
        if time.perf_counter() - began < _PIECE_SECONDS / 2:
            size *= 2
