"""What can be seen of a session without changing it."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from rtrl import _arguments
from rtrl._driver import Driver
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
            self._engine.run(False, 1, [(*self._inputs(x), None, None, None)], None, None, None, outputs[None])
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
        parts, steps = _arguments.sequence(self.network, None, self.batch_size, ("xs",), xs)
        outputs = np.empty((steps, self.batch_size, width), self.network.dtype)
        self._engine.run(False, steps, parts, None, None, None, outputs)
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
        parts, steps = self._sequence(xs, ys, resets)
        losses, scored = np.empty(steps), np.empty(steps)
        self._engine.run(False, steps, parts, losses, scored, None, None)
        if not scored.any():
            raise ValueError("ys has no target")
        with np.errstate(all="ignore"):  # the caller's error state is for his own arithmetic
            return float(np.nansum(losses * scored) / scored.sum())

    @property
    def hidden(self) -> np.ndarray:
        """Hidden units now [B, n], a copy that cannot be written to.

        Assign an array of this shape to set them: the next step goes on from there.  Everything else stays, the influence
        too (it takes the change for one that the weights have no part in); call `reset` first to drop it.
        """
        hidden = self._engine.state(True)
        hidden.setflags(write=False)
        return hidden

    @hidden.setter
    def hidden(self, value: ArrayLike) -> None:
        self._engine.set_state(_arguments.units("hidden", self.network, self.batch_size, value)[:, None])

    def state(self) -> dict[str, np.ndarray]:
        """All components of the state now, see `set_state`.

        Returns
        -------
        dict of str to ndarray
            "h", the hidden units [B, n], and for an LSTM "c", its cells [B, n]; copies that cannot be written to.
        """
        components = np.ascontiguousarray(self._engine.state(False).swapaxes(0, 1))
        components.setflags(write=False)
        return dict(zip(self._components, components, strict=True))

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
        rows = len(self._components) * self.network.cell.hidden
        shapes = self.network._layout.cell_shapes
        result = {name: np.empty((self.batch_size, rows, *shape), self.network.dtype) for name, shape in shapes.items()}
        self._engine.influence({name: array.reshape(-1, *shapes[name]) for name, array in result.items()})
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
