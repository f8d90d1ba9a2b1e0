"""What estimates are compared with: a net, a stretch of text, and the exact gradients of losses along it."""

import functools
import warnings
from dataclasses import dataclass

import numpy as np

from rtrl import reference
from rtrl.comparison import Task
from rtrl.comparison import settings as recipe
from rtrl.estimators import TBPTT
from rtrl.network import Network
from rtrl.reference.records import jacobian
from rtrl.session import Session

__all__ = ["NETS", "TRAINING", "Case", "flat", "make_case"]

NETS = 8  # nets of a size at most; fewer if there are fewer samples
TRAINING = 3000  # steps of TBPTT(25) that make a trained net


@dataclass(frozen=True, eq=False)
class Case:
    """One net at one place in the text.

    Attributes
    ----------
    network : rtrl.Network
        Its weights are frozen.
    ids : ndarray [T]
        Characters that it reads.
    hidden : ndarray [moments, n]
        Hidden states at the moments that are looked at.
    deltas : ndarray [moments, n]
        d loss / d h of the losses at these moments.
    exact : ndarray [moments, weights]
        Their gradients with respect to all weights of the cell, by backpropagation through all steps before.
    spectral_norms : ndarray [moments]
        Largest singular value of H at these moments; NaN for a cell that `rtrl.reference` does not have.
    """

    network: Network
    ids: np.ndarray
    hidden: np.ndarray
    deltas: np.ndarray
    exact: np.ndarray
    spectral_norms: np.ndarray


@functools.lru_cache(NETS)
def make_case(settings, number):
    """Case `number` of a size; the last ones are kept, since all estimators of a size need the same.

    The exact gradient at time t is that of TBPTT with a window of all steps: nothing is cut off, however many there are.
    Its memory is that of one record a step, 650 bytes at 32 units, and its time that of a sweep for each moment.

    Parameters
    ----------
    settings : rtrl.experiments.noise.settings.Settings
        Those of the nets alone: `Settings.of_case`.
    number : int
        Net and place in the text, from 0.

    Returns
    -------
    Case
    """
    task = _task(settings.text)
    network = _network(settings, task, settings.seed + number)
    xs, ys = task.batch(1, settings.steps, (settings.seed + number) * len(task.stream) // NETS % len(task.stream))
    session = Session(network, TBPTT(settings.steps), threads=settings.threads)
    states, deltas, exact, norms = [], [], [], []
    moments, norm_of_H = set(settings.moments), _spectral_norm(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a gradient that is not finite is shown as such
        for t, (x, y) in enumerate(zip(xs, ys, strict=True), 1):
            before = session._arrays["session.s"].copy() if t in moments else None
            hidden = session.advance(x)
            if t in moments:
                states.append(hidden[0].copy())
                deltas.append(_delta(network, hidden[0], y[0]))
                session.feedback(deltas[-1][None])
                exact.append(flat(session.gradient()))
                norms.append(norm_of_H(before, x[0]))
    return Case(network, xs[:, 0], *map(np.array, (states, deltas, exact, norms)))


@functools.lru_cache(1)
def _task(path):
    return Task.of_text(path)


def _network(settings, task, seed):
    """A net; a trained one has learned the text for `TRAINING` steps, by the recipe of `rtrl compare`."""
    made = recipe.Settings(
        cell=settings.made_cell, seed=seed, dtype=settings.dtype, threads=settings.threads, sparsity=settings.sparsity
    )
    if settings.trained == "trained":
        teacher = made.session(task, recipe.REFERENCE)
        teacher.run(*task.batch(made.batch_size, TRAINING), made.resets(TRAINING))
        network = teacher.network
    else:
        network = made.network(task)
    for name, weights in network.parameters().items():
        if name != "readout.weight":
            weights[:, : settings.hidden] *= settings.gain
    return network


def flat(gradient):
    """The cell's part of a gradient as one vector of float64."""
    return np.concatenate([view.ravel().astype(float) for name, view in gradient.items() if name != "readout.weight"])


def _delta(network, hidden, target):
    """d loss / d h [n] of the softmax readout."""
    readout = network.parameters()["readout.weight"].astype(float)
    logits = readout[:, :-1] @ hidden + readout[:, -1]
    error = np.exp(logits - logits.max())
    error /= error.sum()
    error[target] -= 1
    return error @ readout[:, :-1]


def _spectral_norm(network):
    """A function of state and character that gives |H|_2, from the plain NumPy twin of the cell: the engine keeps no H."""
    twin = getattr(reference, type(network.cell).__name__, None)
    if twin is None:
        return lambda state, name: np.nan
    cell = twin(**network.cell.options())
    weights = [view.astype(float) for name, view in network.parameters().items() if name != "readout.weight"]

    def norm(state, name):
        _, records = cell.forward(weights, state.reshape(cell.k, cell.n).astype(float), np.eye(network.inputs)[name])
        H = jacobian(records[0])
        for record in records[1:]:
            H = jacobian(record) @ H
        return np.linalg.norm(H, 2) if np.isfinite(H).all() else np.nan

    return norm
