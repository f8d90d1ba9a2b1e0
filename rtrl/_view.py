"""What can be seen of a session without changing it."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from rtrl._driver import Driver, pieces
from rtrl.shadow import Shadow

__all__ = ["View"]


class View(Driver):
    """The methods of a session that neither learn nor move its state."""

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Outputs for the next input, without learning or moving the state.

        Returns
        -------
        ndarray [B, outputs]
            Probabilities (Softmax, Bernoulli) or values (Linear).
        """
        outputs = np.empty((self.batch_size, self._need_readout().outputs), self.network.dtype)
        finite = self._engine.quick_predict(x, outputs)
        if finite is None:
            with self._alone():
                ids, x = self._inputs("x", x, True)
                if x is not None:
                    self._need_dense()
                self._engine.run(False, True, ids, x, None, None, None, None, None, None, None, outputs[None])
            finite = np.isfinite(outputs).all()
        if not finite:
            warnings.warn("the prediction is not finite", RuntimeWarning, stacklevel=2)
        return outputs

    def predict_run(self, xs: ArrayLike) -> np.ndarray:
        """Outputs for many inputs, each after those before it, without learning or moving the state.

        Where targets come late, this is the forecast of a session that has learned up to the last known target: `xs` are the
        inputs since then, and the last outputs are the forecast.

        Parameters
        ----------
        xs : array_like
            As for `run`.

        Returns
        -------
        ndarray [T, B, outputs]
            Probabilities (Softmax, Bernoulli) or values (Linear).
        """
        width = self._need_readout().outputs
        with self._alone():
            ids, x = self._inputs("xs", xs, False)
            if x is not None:
                self._need_dense()
            outputs = np.empty((len(x if ids is None else ids), self.batch_size, width), self.network.dtype)
            for piece in pieces(len(outputs)):
                cuts = [None if array is None else array[piece] for array in (ids, x)]
                self._engine.run(False, piece.start == 0, *cuts, *[None] * 7, outputs[piece])
        if not np.isfinite(outputs).all():
            warnings.warn("a prediction is not finite", RuntimeWarning, stacklevel=2)
        return outputs

    def evaluate(self, xs: ArrayLike, ys: ArrayLike, resets: ArrayLike | None = None) -> float:
        """Mean loss in nats over all targets of a sequence, without learning or moving the state.

        It starts from the state of the session; `resets` [T, B] starts lanes afresh.

        Raises
        ------
        ValueError
            If there is no target at all.
        """
        with self._alone():
            arrays, steps = self._sequence(("xs", "ys"), xs, ys, resets, False)
            if arrays[1] is not None:
                self._need_dense()
            losses, scored = np.empty(steps), np.empty(steps)
            for piece in pieces(steps):
                cuts = [None if array is None else array[piece] for array in (*arrays, None, losses, scored)]
                self._engine.run(False, piece.start == 0, *cuts, None, None)
        if not scored.any():
            raise ValueError("ys has no target")
        return float(np.nansum(losses * scored) / scored.sum())

    @property
    def hidden(self) -> np.ndarray:
        """Hidden units now, a copy [B, n]."""
        with self._alone():
            return self._state.copy()

    @property
    def shadows(self) -> tuple[Shadow, ...]:
        """The passive estimators that were attached, see `shadow`."""
        return tuple(self._shadows)

    @property
    def steps(self) -> int:
        """Time steps since the session began."""
        return self._engine.steps()

    def influence(self) -> dict[str, np.ndarray]:
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
            shapes = self.network._layout.cell_shapes
            result = {name: np.empty((self.batch_size, rows, *shape), flat.dtype) for name, shape in shapes.items()}
            for lane, i in np.ndindex(self.batch_size, rows):
                flat[:] = 0
                self._engine.influence_row(lane, i)
                for name in result:
                    result[name][lane, i] = self.network._layout.view(flat, name)
            flat[:] = saved
        return result

    def health(self) -> dict[str, int]:
        """Counts of steps and updates, and of what the guards had to do.

        Returns
        -------
        dict of str to int
            steps, updates; influence_capped and influence_not_finite (blocks of a lane and step); state_not_finite (lane
            steps, the lane was reset), loss_not_finite (lane steps, not learned from), updates_skipped, updates_scaled (for
            `clip_outliers`); shadows_capped and
            shadows_not_finite, the same for the influence of shadows.
        """
        return self._engine.counts()

    @property
    def nbytes(self) -> dict[str, int]:
        """Exact bytes: weights, state, influence, tape, optimizer, workspace (gradients included), total."""
        sizes = dict.fromkeys(("weights", "state", "influence", "tape", "optimizer", "workspace"), 0)
        sizes["weights"] = self.network._flat.nbytes + (0 if self.network._holes is None else self.network._holes.nbytes)
        for arena in self._engine.arenas():
            for kind, size in arena.nbytes().items():
                sizes["workspace" if kind == "gradient" else kind] += size
        sizes["total"] = sum(sizes.values())
        return sizes
