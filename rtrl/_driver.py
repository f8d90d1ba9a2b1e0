"""What stands between a session's public methods and the compiled engine.

Arguments are checked here, before the engine runs.  Whatever changes a session is then one call of the engine, because an
exception of a signal handler (Ctrl-C) may come between any two lines of Python.
"""

import functools
import numbers
import os
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

__all__ = ["Driver", "available_threads"]


class Driver(Sealed):
    """Owner of the compiled engine of a session, and of NumPy views of its memory."""

    network: Network
    estimator: Estimator
    optimizer: Optimizer | None
    batch_size: int
    seed: int
    first_lane: int
    update_every: int
    influence_cap: float
    _shadows: list[Shadow]
    _hints = {"lr": "the learning rate is the optimizer's; give that a callable of the step to change it as the session learns"}

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
            first_lane=self.first_lane,
            threads=-available_threads() if threads is None else min(threads, 4 * (os.cpu_count() or 1)),
            update_every=self.update_every,
            cap=self.influence_cap,
            admit=self._admit,
        )
        self._seen = 0, {}
        cell = network.compiled_cell()
        named = len(cell.components) == cell.k
        self._components = cell.components if named else ("h", *(f"s{c}" for c in range(1, cell.k)))
        lr = None if self.optimizer is None else self.optimizer.lr
        where = [(name, *network._layout.places[name], *shape) for name, shape in network._layout.shapes.items()]
        state = self._arrays["session.s"].reshape(self.batch_size, -1, network.cell.hidden)
        self._engine.expect(network._lock, state, functools.partial(_rate_at, lr, dtype) if callable(lr) else lr or 0.0, where)
        self._seal()

    @property
    def _arrays(self):
        """NumPy views of everything that a checkpoint holds, by name."""
        arenas = self._engine.arenas()
        if len(arenas) != self._seen[0]:  # dense inputs and shadows bring more
            views = {
                name: np.frombuffer(arena, code, int(count), int(offset))
                for arena in arenas
                for name, kind, code, offset, count, _ in arena.blocks
                if kind != "workspace" and count
            }
            self._seen = len(arenas), views
        return self._seen[1]

    def _need_readout(self):
        if self._readout is None:
            raise RuntimeError("this network has no readout: use advance, feedback, gradient and apply")
        return self._readout

    def _inputs(self, x):
        """Ids or numbers of a step, checked."""
        return _arguments.inputs(self.network, self.batch_size, "x", x, True)

    def _step(self, x, y):
        """One step with its target as parts, as `_sequence` gives them."""
        readout, inputs = self._need_readout(), self._inputs(x)
        return [(*inputs, *_arguments.targets(self.network, readout, self.batch_size, "y", y, 1, True), None)], 1

    def _sequence(self, xs, ys, resets=None):
        """Parts of many steps with targets, checked, and the number of steps; nothing has changed if this raises."""
        return _arguments.sequence(self.network, self._need_readout(), self.batch_size, ("xs", "ys"), xs, ys, resets)

    def _learn(self, checked, *arguments):
        """Losses of some steps of learning; `checked` gives their parts."""
        parts, steps = checked(*arguments)
        losses = np.empty(steps)
        similarity = np.full((steps, len(self._shadows), 2), np.nan) if self._shadows else None
        before = self._engine.run(True, steps, parts, losses, None, similarity, None)
        if self._shadows:
            self._compare(similarity, self._due(before, steps))
        self._warn(4)
        return losses

    def _due(self, before, steps):
        """Indices of those steps after the first `before` that end with an update."""
        if self.optimizer is None:
            return np.empty(0, int)
        return np.arange(self.update_every - 1 - before % self.update_every, steps, self.update_every)

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


def _rate_at(lr, dtype, step):
    """What a schedule says at a time step, checked."""
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
