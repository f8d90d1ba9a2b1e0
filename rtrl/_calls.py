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
            hidden = self._engine.advance(*self._inputs(x))
        self._warn()
        return hidden

    def feedback(self, dL_dh: ArrayLike) -> None:
        """Credit the current step with d loss / d h [B, n]; may be called any number of times.

        Lanes are separate losses: the gradient is the mean over lanes.  The current step is the last one until another
        begins, also when it is over (after `step` or `apply`).  A lane that was reset since has none, and takes no credit.
        """
        if self._engine.quick_feedback(dL_dh):
            return
        if self.steps == 0:
            raise RuntimeError("feedback needs a step to credit: call advance first")
        self._engine.quick_feedback(_arguments.units("dL_dh", self.network, self.batch_size, dL_dh))

    def gradient(self) -> dict[str, np.ndarray]:
        """The mean over lanes of everything credited since the last call, which it clears.

        Returns
        -------
        dict of str to ndarray
            Arrays like `Network.parameters`.
        """
        result = {name: np.empty(shape, self.network.dtype) for name, shape in self.network._layout.shapes.items()}
        similarity = np.full((1, len(self._shadows), 2), np.nan) if self._shadows else None
        finite = self._engine.gradient({name: array[None] for name, array in result.items()}, similarity)
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
        if not self._engine.quick_apply(gradients):
            if self.optimizer is None:
                raise RuntimeError("apply needs an optimizer: pass one to Session")
            checked = _arguments.gradients(self.network, gradients)
            self._engine.quick_apply({name: np.ascontiguousarray(value) for name, value in checked.items()})
        self._warn()

    def reset(self, lanes: ArrayLike | None = None) -> None:
        """Zero state and influence of some lanes or of all.

        What was credited stays.  The current step of these lanes is gone: `feedback` credits nothing there before the next.

        Parameters
        ----------
        lanes : array_like or None
            A boolean mask [B], or whole numbers: those of the lanes.  None: all.
        """
        self._engine.reset(_arguments.lanes_mask(self.batch_size, lanes))

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all components of the state, a dict as `state` returns it; the next step goes on from there.

        Everything else stays, the influence too (it takes the change for one that the weights have no part in); call `reset`
        first to drop it.
        """
        self._engine.set_state(_arguments.state(self.network, self.batch_size, self._components, state))
