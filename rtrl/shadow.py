"""Shadows: a second estimator on the same stream, to compare gradients."""

import numpy as np

__all__ = ["Shadow"]


class Shadow:
    """An estimator that watches a session without changing it; made by `Session.shadow`.

    It draws the same signs as the session would: a UORO shadow of a UORO session gives the same gradient.  Without an
    optimizer there are updates only where `gradient` is called.

    Attributes
    ----------
    estimator : rtrl.estimators.Estimator or callable
        Its spec; or what makes the estimators, if they are Python.
    cosines : ndarray [updates]
        Cosine between the session's gradient of the cell and this one, for the updates of the last call of `step`,
        `run` or `gradient`; NaN where one of the two is 0.
    relative_errors : ndarray [updates]
        |session's gradient - this one| / |this one|, likewise.
    """

    def __init__(self, estimator, network, lanes=None):
        self.estimator = estimator
        self.cosines = np.empty(0)
        self.relative_errors = np.empty(0)
        self._network = network
        self._kept = None  # set by the engine: memory where its gradient at the last update is kept
        self._lanes = lanes  # the estimators of a shadow in Python

    def gradient(self) -> dict[str, np.ndarray]:
        """This estimator's gradient at the session's last update, as a dict like `Network.parameters` (cell only)."""
        layout = self._network._layout
        return {name: layout.view(self._kept, name).copy() for name in layout.cell_shapes}

    @property
    def is_compiled(self) -> bool:
        """Whether it is an estimator of the engine, and not Python; only those are saved with a session."""
        return self._lanes is None

    @property
    def failure(self) -> BaseException | None:
        """What ended a shadow in Python: it was raised once, and all later gradients of the shadow are 0."""
        return None if self._lanes is None else self._lanes.failure

    def __repr__(self):
        return f"Shadow({self.estimator!r})"
