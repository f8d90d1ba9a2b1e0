"""The calls of which a step consists, for losses that are not the network's readout's: advance, feedback, gradient, apply."""

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from rtrl import _arguments
from rtrl._view import View

__all__ = ["Calls"]


class Calls(View):
    """The methods of a session that do one part of a step each, and `reset`."""

    def advance(self, x: ArrayLike) -> np.ndarray:
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
        hidden = self._engine.quick_advance(x)
        if hidden is None:
            with self._alone():
                ids, x = self._inputs(x)
                if x is not None:
                    self._need_dense()
                self._engine.advance(ids, x)
                hidden = self._state.copy()
        self._warn()
        return hidden

    def feedback(self, dL_dh: ArrayLike) -> None:
        """Credit the current step with d loss / d h [B, n]; may be called any number of times.

        Lanes are separate losses: the gradient is the mean over lanes.
        """
        if self._engine.quick_feedback(dL_dh):
            return
        with self._alone():
            if self.steps == 0:
                raise RuntimeError("feedback needs a step to credit: call advance first")
            self._engine.feedback(_arguments.units("dL_dh", self.network, self.batch_size, dL_dh))

    def gradient(self) -> dict[str, np.ndarray]:
        """The mean over lanes of everything credited since the last call, which it clears.

        Returns
        -------
        dict of str to ndarray
            Arrays like `Network.parameters`.
        """
        with self._alone():
            similarity = np.full((1, len(self._shadows), 2), np.nan) if self._shadows else None
            finite = self._engine.gradient(similarity)
            result = {name: view.copy() for name, view in self._gradients.items()}
            self._engine.forget_gradient()
            if self._shadows:
                self._compare(similarity, np.zeros(1, int))
        if not finite:
            warnings.warn("the gradient is not finite", RuntimeWarning, stacklevel=2)
        return result

    def apply(self, gradients: Mapping[str, ArrayLike]) -> None:
        """One step of the optimizer along `gradients`, a dict as `gradient` returns it.

        What is credited but not yet asked for by `gradient` stays.  A gradient whose norm is not finite is skipped and
        counted.
        """
        if self._engine.quick_apply(gradients):
            self._warn()
            return
        with self._alone():
            if self.optimizer is None:
                raise RuntimeError("apply needs an optimizer: pass one to Session")
            checked = _arguments.gradients(self.network, gradients)
            rate = self._rate(max(0, self.steps - 1))
            self._engine.close()
            flat = self._arrays["estimator.gradient"]
            credited = flat.copy()
            flat[:] = 0
            for name, value in checked.items():
                self._gradients[name][...] = value
            self._engine.apply(rate)
            flat[:] = credited
        self._warn()

    def reset(self, lanes: ArrayLike | None = None) -> None:
        """Zero state and influence of some lanes or of all; what was credited stays.

        Parameters
        ----------
        lanes : array_like or None
            A boolean mask [B], or whole numbers: those of the lanes.  None: all.
        """
        with self._alone():
            self._engine.reset(_arguments.lanes_mask(self.batch_size, lanes))
