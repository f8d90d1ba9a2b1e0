"""A session: a network that learns online from a batch of endless streams."""

import contextlib
import os
import threading
import time
import warnings

import numpy as np

from rtrl import _arguments, _files
from rtrl._spec import integer, positive
from rtrl.estimators import TBPTT, Estimator
from rtrl.network import Network
from rtrl.optimizers import Optimizer
from rtrl.shadow import Shadow
import rtrl_core

__all__ = ["Session"]

_PIECE_SECONDS = 0.1  # a long run is cut into pieces, so that Ctrl-C is heard


class Session:
    """Online learning of one network from `batch_size` parallel streams (lanes).

    Parameters
    ----------
    network : Network
        Its weights are learned in place.
    estimator : rtrl.estimators.Estimator
        Where gradients come from.
    optimizer : rtrl.optimizers.Optimizer or None
        None leaves updates to the caller.
    batch_size : int
        Lanes, B.
    seed : int
        Seed of the random signs; every sign is a function of (seed, step, lane, stage, index).
    threads : int or None
        Threads; None uses the available CPUs where that pays.  Results do not depend on it.
    update_every : int or None
        Steps between updates; None: 1, or the horizon for block TBPTT.
    shadow : Estimator, sequence of Estimators, or None
        Passive estimators to attach from the start, see `shadow`.
    influence_cap : float
        Largest norm of a stage's influence; beyond it the influence is scaled down and counted (see `health`).

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind.
    MemoryError
        If the session does not fit; nothing is allocated then, and the message says how much is needed for what.
    """

    def __init__(self, network, estimator, optimizer=None, *, batch_size=1, seed=0, threads=None, update_every=None,
                 shadow=None, influence_cap=1e8):
        if not isinstance(network, Network):
            raise TypeError(f"network must be an rtrl.Network; got {network!r}")
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator must be an estimator such as rtrl.KFRTRL(); got {estimator!r}")
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be an optimizer such as rtrl.Adam(1e-3), or None; got {optimizer!r}")
        self.network, self.estimator, self.optimizer = network, estimator, optimizer
        self.batch_size = integer("batch_size", batch_size)
        self.seed = integer("seed", seed, least=0, most=2**64 - 1)
        threads = None if threads is None else integer("threads", threads, most=1024)
        if update_every is None:
            update_every = estimator.horizon if isinstance(estimator, TBPTT) and not estimator.sliding else 1
        self.update_every = integer("update_every", update_every)
        self.influence_cap = positive("influence_cap", influence_cap)
        shadows = [shadow] if isinstance(shadow, Estimator) else list(shadow or ())
        self.shadows = []
        self._busy = threading.Lock()
        self._warned = 0
        self._readout = network.compiled_readout()
        dtype = network.dtype.name
        places = network._places
        self._engine = rtrl_core.core(dtype).Engine(
            network.compiled_cell(), self._readout, estimator._compiled(dtype), None if optimizer is None else optimizer._compiled(dtype),
            weights=network._flat, mask=network._holes,
            stages=[(network.inputs if i == 0 else 0, *places[name]) for i, name in enumerate(n for n in places if n != "readout.weight")],
            readout_at=places.get("readout.weight", (network._flat.size, 0)),
            lanes=self.batch_size, seed=self.seed, threads=-_available_threads() if threads is None else threads,
            update_every=self.update_every, cap=self.influence_cap,
        )
        self._arrays = self._blocks()
        for each in shadows:
            self.shadow(each)

    # --- learning -------------------------------------------------------------------------------------------------

    def step(self, x, y):
        """Predict, score, then learn from one time step.

        Parameters
        ----------
        x : array_like
            Ids [B] or numbers [B, inputs]; with one lane the axis B may be left out.
        y : array_like
            Ids [B] or numbers [B, outputs]; -1 or NaN is no target.

        Returns
        -------
        float
            Mean loss over the lanes that have a target, in nats; NaN when none has.
        """
        return float(self._learn(x, y, None, single=True)[0])

    def run(self, xs, ys, resets=None):
        """Learn from many steps in one call, with the same arithmetic as repeated `step`.

        Parameters
        ----------
        xs : array_like
            Ids [T, B] or numbers [T, B, inputs]; with one lane the axis B may be left out.
        ys : array_like
            Ids [T, B] or numbers [T, B, outputs]; -1 or NaN is no target.
        resets : array_like or None
            Boolean mask [T, B]: lanes whose state and influence are zeroed before a step.

        Returns
        -------
        ndarray [T]
            Mean loss of each step over the lanes that have a target, in nats; NaN where none has.
        """
        return self._learn(xs, ys, resets, single=False)

    def _learn(self, xs, ys, resets, single):
        names = ("x", "y") if single else ("xs", "ys")
        with self._alone():
            ids, x = self._inputs(names[0], xs, single)
            steps = len(x if ids is None else ids)
            labels, targets = self._targets(names[1], ys, steps, single)
            resets = _arguments.resets(self.batch_size, resets, steps)
            due = self._due(steps)
            rates = self._rates(steps, due)
            losses = np.empty(steps)
            similarity = np.full((steps, len(self.shadows), 2), np.nan) if self.shadows else None
            for a, b in _pieces(steps):
                self._engine.run(True, _cut(ids, a, b), _cut(x, a, b), _cut(labels, a, b), _cut(targets, a, b), _cut(resets, a, b),
                                 _cut(rates, a, b), losses[a:b], None, _cut(similarity, a, b), None)
            self._compare(similarity, due)
        self._warn()
        return losses

    def _due(self, steps):
        """Indices of the coming steps that end with an update."""
        if self.optimizer is None:
            return np.empty(0, int)
        return np.arange(max(0, self.update_every - self._engine.pending() - 1), steps, self.update_every)

    def _rates(self, steps, due):
        """Learning rate of each of the coming steps (asked for only where an update comes)."""
        if self.optimizer is None:
            return None
        if not callable(self.optimizer.lr):
            return np.full(steps, self.optimizer.lr)
        rates = np.zeros(steps)
        for i in due:
            rates[i] = self._rate(self.steps + int(i))
        return rates

    def _rate(self, step):
        lr = self.optimizer.lr
        if not callable(lr):
            return lr
        value = float(lr(step))
        if not 0 <= value < float("inf"):
            raise ValueError(f"the learning rate must be finite and 0 or more; the schedule gave {value!r} at step {step}")
        return value

    def advance(self, x):
        """Move state and influence by one step, without a target.

        Parameters
        ----------
        x : array_like
            As for `step`.

        Returns
        -------
        ndarray [B, n]
            The new hidden units.
        """
        with self._alone():
            ids, x = self._inputs("x", x, True)
            self._engine.advance(ids, x)
            hidden = self.hidden
        self._warn()
        return hidden

    def feedback(self, dL_dh):
        """Credit the current step with d loss / d h [B, n]; may be called any number of times.

        Lanes are separate losses: the gradient is the mean over lanes.
        """
        with self._alone():
            if self.steps == 0:
                raise RuntimeError("feedback needs a step to credit: call advance first")
            self._engine.feedback(_arguments.credit(self.network, self.batch_size, dL_dh))

    def gradient(self):
        """The mean over lanes of everything credited since the last call, which it clears.

        Returns
        -------
        dict of str to ndarray
            Arrays like `Network.parameters`.
        """
        with self._alone():
            similarity = np.full((1, len(self.shadows), 2), np.nan) if self.shadows else None
            self._engine.gradient(similarity)
            result = self._named(self._arrays["estimator.gradient"])
            self._engine.forget_gradient()
            self._compare(similarity, np.zeros(1, int))
        return result

    def apply(self, gradients):
        """One step of the optimizer along `gradients`, a dict as `gradient` returns it.

        Whatever is credited but not yet asked for by `gradient` is dropped.  A gradient whose norm is not finite is
        skipped and counted.
        """
        with self._alone():
            if self.optimizer is None:
                raise RuntimeError("apply needs an optimizer: pass one to Session")
            checked = _arguments.gradients(self.network, gradients)
            rate = self._rate(max(0, self.steps - 1))
            flat = self._arrays["estimator.gradient"]
            for name, value in checked.items():
                self.network._view(flat, name)[...] = value
            self._engine.apply(rate)
        self._warn()

    def reset(self, lanes=None):
        """Zero state and influence of some lanes (boolean mask [B]) or of all; what was credited stays."""
        with self._alone():
            self._engine.reset(_arguments.lanes_mask(self.batch_size, lanes))

    # --- looking ----------------------------------------------------------------------------------------------------

    def predict(self, x):
        """Outputs for the next input, without learning or moving the state.

        Returns
        -------
        ndarray [B, outputs]
            Probabilities (Softmax, Bernoulli) or values (Linear).
        """
        with self._alone():
            ids, x = self._inputs("x", x, True)
            outputs = np.empty((1, self.batch_size, self._need_readout().outputs), self.network.dtype)
            self._engine.run(False, ids, x, None, None, None, None, None, None, None, outputs)
        return outputs[0]

    def evaluate(self, xs, ys, resets=None):
        """Mean loss in nats over all targets of a sequence, without learning or moving the state.

        It starts from the state of the session; `resets` [T, B] starts lanes afresh.

        Raises
        ------
        ValueError
            If there is no target at all.
        """
        with self._alone():
            ids, x = self._inputs("xs", xs, False)
            steps = len(x if ids is None else ids)
            labels, targets = self._targets("ys", ys, steps, False)
            resets = _arguments.resets(self.batch_size, resets, steps)
            losses, scored = np.empty(steps), np.empty(steps)
            self._engine.run(False, ids, x, labels, targets, resets, None, losses, scored, None, None)
        if not scored.any():
            raise ValueError("ys has no target")
        return float(np.nansum(losses * scored) / scored.sum())

    @property
    def hidden(self):
        """Hidden units now, a copy [B, n]."""
        return self._arrays["session.s"].reshape(self.batch_size, -1)[:, : self.network.cell.hidden].copy()

    @property
    def steps(self):
        """Time steps since the session began."""
        return self._engine.steps()

    def influence(self):
        """The influence G as dense arrays, for small networks.

        Returns
        -------
        dict of str to ndarray
            "cell.<stage>.weight" [B, k*n, r*n, m], what the next `feedback` would meet.
        """
        with self._alone():
            flat = self._arrays["estimator.gradient"]
            saved = flat.copy()
            rows = self._arrays["session.s"].size // self.batch_size
            shapes = {name: shape for name, shape in self.network._shapes.items() if name != "readout.weight"}
            result = {name: np.empty((self.batch_size, rows, *shape), flat.dtype) for name, shape in shapes.items()}
            for lane, i in np.ndindex(self.batch_size, rows):
                flat[:] = 0
                self._engine.influence_row(lane, i)
                for name in result:
                    result[name][lane, i] = self.network._view(flat, name)
            flat[:] = saved
        return result

    def shadow(self, estimator):
        """Attach a passive estimator that watches the same stream from now on.

        Returns
        -------
        Shadow
            Its gradients, and their cosine with and relative error against the session's.
        """
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator must be an estimator such as rtrl.RTRL(); got {estimator!r}")
        with self._alone():
            self._engine.shadow(estimator._compiled(self.network.dtype.name), self.influence_cap)
            self._arrays = self._blocks()
            shadow = Shadow(estimator, self.network, self._arrays[f"shadow{len(self.shadows)}.kept"])
            self.shadows.append(shadow)
        return shadow

    def health(self):
        """Counts of steps and updates, and of what the guards had to do.

        Returns
        -------
        dict of str to int
            steps, updates; influence_capped and influence_not_finite (blocks of a lane and step); state_not_finite (lane
            steps, the lane was reset), loss_not_finite (lane steps, not learned from), updates_skipped.
        """
        return self._engine.counts()

    @property
    def nbytes(self):
        """Exact bytes: weights, state, influence, tape, optimizer, workspace (gradients included), total."""
        sizes = dict.fromkeys(("weights", "state", "influence", "tape", "optimizer", "workspace"), 0)
        sizes["weights"] = self.network._flat.nbytes + (0 if self.network._holes is None else self.network._holes.nbytes)
        for arena in self._engine.arenas():
            for kind, size in arena.nbytes().items():
                sizes["workspace" if kind == "gradient" else kind] += size
        sizes["total"] = sum(sizes.values())
        return sizes

    # --- files --------------------------------------------------------------------------------------------------------

    def save(self, path):
        """Write everything to a file; an existing file is replaced only by a complete one."""
        with self._alone():
            description = {
                "network": self.network.describe(),
                "estimator": _files.pack(self.estimator),
                "optimizer": None if self.optimizer is None else _files.pack(self.optimizer),
                "batch_size": self.batch_size,
                "seed": self.seed,
                "update_every": self.update_every,
                "influence_cap": self.influence_cap,
                "shadows": [_files.pack(shadow.estimator) for shadow in self.shadows],
                "dense": any(name.startswith("dense.") for name in self._arrays),
            }
            arrays = {f"weights/{name}": view for name, view in self.network.parameters().items()}
            arrays |= {f"block/{name}": block for name, block in self._arrays.items()}
            _files.write(path, "session", description, arrays)

    @classmethod
    def load(cls, path, *, optimizer=None, threads=None):
        """The session that `save` wrote; it goes on bit for bit as the saved one would have.

        Parameters
        ----------
        path : path-like
            The file.
        optimizer : Optimizer or None
            Needed when the saved optimizer's learning rate was a callable, which a file cannot hold: the same optimizer.
        threads : int or None
            As for `Session`.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not a session's file, or damaged.
        """
        description, arrays = _files.read(path, "session")
        with _files.naming(path):
            weights = {name[len("weights/") :]: value for name, value in arrays.items() if name.startswith("weights/")}
            blocks = {name[len("block/") :]: value for name, value in arrays.items() if name.startswith("block/")}
            packed = description["optimizer"]
            if packed is not None and optimizer is None:
                if isinstance(packed["options"]["lr"], dict):
                    raise ValueError("its learning rate was a callable, which a file cannot hold: pass optimizer= to load")
                optimizer = _files.unpack(packed)
            if (packed is None) != (optimizer is None) or packed is not None and packed["name"] != type(optimizer).__name__:
                raise ValueError(f"it was saved with the optimizer {packed and packed['name']}, not {optimizer!r}")
            session = cls(
                Network.from_description(description["network"], weights), _files.unpack(description["estimator"]), optimizer,
                batch_size=description["batch_size"], seed=description["seed"], threads=threads,
                update_every=description["update_every"], shadow=[_files.unpack(each) for each in description["shadows"]],
                influence_cap=description["influence_cap"],
            )
            if description["dense"]:
                session._need_dense()
            if set(blocks) != set(session._arrays):
                raise ValueError("its contents are not those of this session")
            for name, block in session._arrays.items():
                if blocks[name].shape != block.shape or blocks[name].dtype != block.dtype:
                    raise ValueError(f"{name} must be {block.dtype} of shape {block.shape}")
                block[...] = blocks[name]
        return session

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self):
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("this session is in use by another thread; give each thread a session of its own")
        try:
            yield
        finally:
            self._busy.release()

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

    def _inputs(self, name, value, single):
        ids, x = _arguments.inputs(self.network, self.batch_size, name, value, single)
        if x is not None:
            self._need_dense()
        return ids, x

    def _need_readout(self):
        if self._readout is None:
            raise RuntimeError("this network has no readout: use advance, feedback, gradient and apply")
        return self._readout

    def _targets(self, name, value, steps, single):
        return _arguments.targets(self.network, self._need_readout(), self.batch_size, name, value, steps, single)

    def _named(self, flat):
        return {name: self.network._view(flat, name).copy() for name in self.network._shapes}

    def _compare(self, similarity, due):
        for i, shadow in enumerate(self.shadows):
            shadow.cosines, shadow.relative_errors = similarity[due, i, 0], similarity[due, i, 1]

    def _warn(self):
        troubles = self._engine.troubles()
        if troubles > self._warned and not self._warned:
            warnings.warn("the session met values that are not finite or an influence beyond its cap; see session.health()",
                          RuntimeWarning, stacklevel=3)
        self._warned = troubles

    def __repr__(self):
        return (f"Session({self.network!r}, {self.estimator!r}, {self.optimizer!r}, batch_size={self.batch_size}, "
                f"seed={self.seed}, update_every={self.update_every})")


def _available_threads():
    """CPUs that this process may use, fewer if OMP_NUM_THREADS says so."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(count, int(wish))) if wish.isdigit() else count


def _pieces(steps):
    """Ranges of steps that take about a tenth of a second each."""
    first, size = 0, 256
    while first < steps:
        began = time.perf_counter()
        yield first, min(steps, first + size)
        first += size
        if time.perf_counter() - began < _PIECE_SECONDS / 2:
            size *= 2


def _cut(array, first, last):
    return None if array is None else array[first:last]
