"""Shadows: a second estimator on the same stream, to compare gradients."""

import numpy as np

__all__ = ["Shadow"]


class Shadow:
    """An estimator that watches a session without changing it; made by `Session.shadow`.

    It draws the same signs as the session would: a UORO shadow of a UORO session gives the same gradient.  Without an
    optimizer there are updates only where `gradient` is called.

    Attributes
    ----------
    estimator : rtrl.estimators.Estimator
        Its spec.
    cosines : ndarray [updates]
        Cosine between the session's gradient of the cell and this one, for the updates of the last call of `step`,
        `run` or `gradient`; NaN where one of the two is 0.
    relative_errors : ndarray [updates]
        |session's gradient - this one| / |this one|, likewise.
    """

    def __init__(self, estimator, network):
        self.estimator = estimator
        self.cosines = np.empty(0)
        self.relative_errors = np.empty(0)
        self._network = network
        self._kept = None  # set by the engine: memory where its gradient at the last update is kept

    def gradient(self) -> dict[str, np.ndarray]:
        """This estimator's gradient at the session's last update, as a dict like `Network.parameters` (cell only)."""
        layout = self._network._layout
        return {name: layout.view(self._kept, name).copy() for name in layout.cell_shapes}

    def __repr__(self):
        return f"Shadow({self.estimator!r})"
