"""How close an estimator's gradient comes to that of exact RTRL.

Exact RTRL needs a small net.  All estimators meet the same one, with the same weights: trained for a while, because a
fresh net remembers nothing and flatters whoever truncates, and then frozen, so that gradients of all steps belong to the
same function.  One lane and an update at every step: what is compared is the gradient of each single loss with respect
to the weights of the cell, without the help of averaging.
"""

import dataclasses

import numpy as np

from rtrl.comparison.settings import REFERENCE
from rtrl.estimators import RTRL
from rtrl.session import Session

__all__ = ["HIDDEN", "STEPS", "TRAINING", "SmallNet", "small_settings"]

HIDDEN = 16  # at most; smaller if the compared net is
TRAINING = 3000  # steps
STEPS = 2000  # compared
_START = 100  # steps until the influence has settled, not compared


def small_settings(settings):
    """The settings of the small net, which is the same whatever the optimizer."""
    cell = settings.cell.replace(hidden=min(HIDDEN, settings.cell.hidden))
    return dataclasses.replace(settings, cell=cell, dtype="float64", filter=False)


class SmallNet:
    """The net on which gradients are compared: trained once, and the same for all estimators.

    Parameters
    ----------
    settings, task
        What is compared, and what is learned.
    """

    def __init__(self, settings, task):
        self._settings, self._task = small_settings(settings), task
        trained = self._settings.session(task, REFERENCE)
        trained.run(*task.batch(settings.batch_size, TRAINING), self._settings.resets(TRAINING))
        self._weights = trained.network.parameters()
        self._stream = task.batch(1, _START + STEPS)

    def against_exact(self, estimator):
        """Cosine with, and error relative to, the gradient of exact RTRL.

        Returns
        -------
        dict
            "cosine": mean over steps; "relative_error": median over steps of |estimate - exact| / |exact|.
        """
        settings = self._settings
        network = settings.network(self._task)
        for name, view in network.parameters().items():
            view[...] = self._weights[name]
        optimizer = settings.optimizer(estimator, 0.0)
        session = Session(network, estimator, optimizer, seed=settings.seed, threads=1, update_every=1)
        shadow = session.shadow(RTRL())
        session.run(*self._stream)
        # NaN where one of the two gradients is 0: the very first steps at most.
        cosines, errors = shadow.cosines[_START:], shadow.relative_errors[_START:]
        return {"cosine": float(np.nanmean(cosines)), "relative_error": float(np.nanmedian(errors))}
