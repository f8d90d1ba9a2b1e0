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
from rtrl.network import Network
from rtrl.session import Session

__all__ = ["HIDDEN", "STEPS", "TRAINING", "gradient_quality"]

HIDDEN = 16  # at most; smaller if the compared net is
TRAINING = 3000  # steps
STEPS = 2000  # compared
_START = 100  # steps until the influence has settled, not compared


def small_settings(settings):
    """The settings of the small net, which is the same whatever the optimizer."""
    cell = settings.cell.replace(hidden=min(HIDDEN, settings.cell.hidden))
    return dataclasses.replace(settings, cell=cell, dtype="float64", filter=False)


def gradient_quality(settings, task, progress):
    """Cosine with, and error relative to, the gradient of exact RTRL.

    Returns
    -------
    dict of Estimator to dict
        "cosine": mean over steps; "relative_error": median over steps of |estimate - exact| / |exact|.
    """
    small = small_settings(settings)
    progress.show("gradients: training the small net")
    trained = small.session(task, REFERENCE)
    trained.run(*task.batch(small.batch_size, TRAINING), small.resets(TRAINING))
    weights = trained.network.parameters()
    xs, ys = task.batch(1, _START + STEPS)
    result = {}
    for estimator in settings.estimators:
        progress.show(f"gradients: {estimator} against exact RTRL")
        network = small.network(task)
        for name, view in network.parameters().items():
            view[...] = weights[name]
        result[estimator] = _against_exact(network, estimator, xs, ys, small)
    return result


def _against_exact(network: Network, estimator, xs, ys, settings):
    session = Session(network, estimator, settings.optimizer(estimator, 0.0), seed=settings.seed, threads=1, update_every=1)
    shadow = session.shadow(RTRL())
    session.run(xs, ys)
    # NaN where one of the two gradients is 0: the very first steps at most.
    cosines, errors = shadow.cosines[_START:], shadow.relative_errors[_START:]
    return {"cosine": float(np.nanmean(cosines)), "relative_error": float(np.nanmedian(errors))}
