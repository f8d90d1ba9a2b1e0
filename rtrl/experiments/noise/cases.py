"""What estimates are compared with: a net, a stretch of text, and the exact gradients of losses along it."""

from dataclasses import dataclass

import numpy as np

from rtrl import reference
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
    deltas : ndarray [moments, n]
        d loss / d h of the losses that are looked at.
    exact : ndarray [moments, weights]
        Their gradients with respect to all weights of the cell, by backpropagation through all steps before.
    spectral_norms : ndarray [moments]
        Largest singular value of H at these moments; NaN for a cell that `rtrl.reference` does not have.
    """

    network: Network
    ids: np.ndarray
    deltas: np.ndarray
    exact: np.ndarray
    spectral_norms: np.ndarray


def make_case(settings, task, cell, number, trained):
    """Case `number` of a size.

    Parameters
    ----------
    settings : rtrl.experiments.noise.study.Settings
        Steps, moments, seed, type, threads.
    task : rtrl.comparison.Task
        The text.
    cell : rtrl.cells.Cell
        The cell.
    number : int
        Net and place, from 0.
    trained : bool
        Whether the net has learned the text for `TRAINING` steps, by the recipe of `rtrl compare`.

    Returns
    -------
    Case
    """
    made = recipe.Settings(cell=cell, seed=settings.seed + number, dtype=settings.dtype, threads=settings.threads)
    if trained:
        teacher = made.session(task, recipe.REFERENCE)
        teacher.run(*task.batch(made.batch_size, TRAINING), made.resets(TRAINING))
        network = teacher.network
    else:
        network = made.network(task)
    xs, ys = task.batch(1, settings.steps, (settings.seed + number) * len(task.stream) // NETS % len(task.stream))
    session = Session(network, TBPTT(settings.steps), threads=settings.threads)
    deltas, exact, norms = [], [], []
    moments, norm_of_H = set(settings.moments), _spectral_norm(network)
    for t, (x, y) in enumerate(zip(xs, ys, strict=True), 1):
        before = session._arrays["session.s"].copy() if t in moments else None
        hidden = session.advance(x)
        if t in moments:
            deltas.append(_delta(network, hidden[0], y[0]))
            session.feedback(deltas[-1][None])
            exact.append(flat(session.gradient()))
            norms.append(norm_of_H(before, x[0]))
    return Case(network, xs[:, 0], np.array(deltas), np.array(exact), np.array(norms))


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
