"""Noise of gradient estimates against units n, time t, and training.

A net reads a text and predicts each next character.  At some moments t the gradient of that one loss with respect to
the weights of the cell is estimated, g~, and compared with the exact gradient g of backpropagation through all t steps:

    relative variance  E |g~ - g|^2 / |g|^2      cosine  E <g~, g> / (|g~| |g|)      mean error  |E g~ - g| / |g|

The weights are frozen.  All lanes of a session read the same characters and differ in their random signs alone, so each
lane is an independent sample of g~, had by crediting that lane and no other.  Samples are spread over up to `NETS` pairs
of a net and a place in the text, since noise differs from net to net.
"""

import itertools
import math
import warnings
from dataclasses import dataclass

import numpy as np

from rtrl.cells import RHN
from rtrl.comparison import settings as recipe
from rtrl.comparison.specs import parse
from rtrl.estimators import RTRL, Estimator
from rtrl.experiments.noise.cases import NETS, flat, make_case
from rtrl.session import Session

__all__ = ["LARGEST_EXACT", "WISHES", "Settings", "default_estimators", "measure"]

LARGEST_EXACT = 32  # units up to which RTRL is measured unless it is asked for: its time grows like n^4
_LANES = 16  # of one session: the work of crediting lane by lane grows with their square
WISHES = (
    "Immediate",
    "TBPTT(5, sliding=True)",
    "TBPTT(25, sliding=True)",
    "SnAp",
    "RFLO",
    "KeRNL",
    "DNI",
    "UORO",
    "UORO(fresh=False)",
    "UORO(horizon=8)",
    "NoBackTrack",
    "NoBackTrack(fresh=False)",
    "ReversedKFRTRL",
    "KFRTRL",
    "KFRTRL(fresh=False)",
    "KFRTRL(average=4)",
    "OK(4)",
    "OK(4, fresh=False)",
    "BlockOK(4, 8)",
    "RTRL",
)


def default_estimators():
    """Those of `WISHES` that this version has."""
    found = []
    for wish in WISHES:
        try:
            found.append(parse(wish, Estimator))
        except ValueError:
            pass
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Settings:
    """Everything that `measure` can be told.

    Attributes
    ----------
    cells : tuple of rtrl.cells.Cell
        Cells of several sizes.
    estimators : tuple of rtrl.estimators.Estimator or None
        None: `default_estimators()`, RTRL only where it is cheap.
    steps : int
        The last t; the moments are 1, 2, 5, 10, 20, 50, ... and the last.
    samples : int
        Estimates of each gradient, rounded up to a multiple of the nets; one a net where nothing is random.
    seed : int
        Of weights, places in the text, and random signs.
    dtype : {"float32", "float64"}
        Of all numbers.
    trained : bool
        Also measure the nets after some learning, see `rtrl.experiments.noise.cases`.
    threads : int
        Of a session.
    """

    cells: tuple = tuple(RHN(n) for n in (8, 16, 32, 64, 128, 256))
    estimators: tuple | None = None
    steps: int = 100
    samples: int = 64
    seed: int = 0
    dtype: str = "float32"
    trained: bool = False
    threads: int = 2

    @property
    def moments(self):
        """Steps after which gradients are compared, rising."""
        round_numbers = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
        return (*itertools.takewhile(lambda t: t < self.steps, round_numbers), self.steps)

    @property
    def nets(self):
        """Pairs of a net and a place in the text."""
        return min(NETS, self.samples)

    def estimators_of(self, cell):
        """What is measured on this cell."""
        if self.estimators is not None:
            return self.estimators
        return tuple(each for each in default_estimators() if not isinstance(each, RTRL) or cell.hidden <= LARGEST_EXACT)


def measure(settings, task, progress):
    """Measure, and yield results as they come.

    Parameters
    ----------
    settings : Settings
        What to measure.
    task : rtrl.comparison.Task
        The text.
    progress : rtrl.comparison.progress.Progress
        Told how far it is.

    Yields
    ------
    dict
        One for each state of training, size, estimator and moment; None where there is no number.  One with "refused" says
        why this net cannot have that estimator.
    """
    for trained in (False, True) if settings.trained else (False,):
        for cell in settings.cells:
            same = {"cell": repr(cell), "hidden": cell.hidden, "trained": trained}
            progress.show(f"noise: {'training' if trained else 'making'} {settings.nets} nets, {cell!r}")
            cases = [make_case(settings, task, cell, i, trained) for i in range(settings.nets)]
            for estimator in settings.estimators_of(cell):
                progress.show(f"noise: {recipe.label(estimator)}, {cell!r}{', trained' if trained else ''}")
                same |= {"estimator": recipe.label(estimator), "kind": estimator.kind}
                refused = _refusal(settings, estimator, cases[0].network)
                yield from ({**same, **row} for row in ([refused] if refused else _rows(settings, estimator, cases)))


def _rows(settings, estimator, cases):
    """One dict a moment."""
    found = [_samples(settings, estimator, case, i) for i, case in enumerate(cases)]
    for j, t in enumerate(settings.moments):
        errors, cosines = [net["errors"][:, j] for net in found], [net["cosines"][:, j] for net in found]
        variance, variance_error = _mean(errors)
        cosine, cosine_error = _mean(cosines)
        yield {
            "t": t,
            "samples": sum(map(len, errors)),
            "relative_variance": variance,
            "relative_variance_error": variance_error,
            "cosine": cosine,
            "cosine_error": cosine_error,
            "mean_error": _finite(math.sqrt(np.mean([net["mean_errors"][j] for net in found]))),
            "spectral_norm": _mean([case.spectral_norms[j : j + 1] for case in cases])[0],
            "guards": sum(net["guards"] for net in found),
        }


def _mean(samples):
    """Mean over nets of the means over samples, and its standard error; None for what is no number."""
    means = np.array([each.mean() for each in samples])
    return _finite(means.mean()), _finite(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None


def _finite(value):
    return float(value) if math.isfinite(value) else None


def _refusal(settings, estimator, network):
    """None, or a dict that says why this network cannot have this estimator."""
    try:
        Session(network, estimator, batch_size=_lanes(settings, estimator, 0), threads=settings.threads)
    except (ValueError, MemoryError) as error:
        return {"refused": " ".join(str(error).split())}
    return None


def _lanes(settings, estimator, done):
    """Lanes of the next session of a net that has `done` samples."""
    left = -(-settings.samples // settings.nets) - done
    # Where nothing is random two lanes agree to the last bit, and one sample is all there is.
    return min(left, _LANES if estimator.kind == "unbiased" or done else 2)


def _samples(settings, estimator, case, number):
    """Squared relative errors and cosines [samples, moments] of one net, squared relative errors of the mean [moments]."""
    errors, cosines, total, done, guards = [], [], 0, 0, 0
    while lanes := _lanes(settings, estimator, done):
        # A seed of its own for each session; strides keep those of neighbouring nets and of settings.seed apart.
        seed = (settings.seed * 1_000_003 + number * 10_007 + done) % 2**64
        session = Session(case.network, estimator, batch_size=lanes, seed=seed, threads=settings.threads)
        *found, same = _estimates(settings.moments, session, case)
        guards += sum(count for name, count in session.health().items() if name.startswith(("influence", "state")))
        counted = 1 if same and estimator.kind != "unbiased" else lanes
        errors.append(found[0][:counted])
        cosines.append(found[1][:counted])
        total = total + found[2] * (counted / lanes)
        done += counted
        if counted < lanes:
            break
    return {
        "errors": np.concatenate(errors),
        "cosines": np.concatenate(cosines),
        "mean_errors": _squares(total / done - case.exact) / _squares(case.exact),
        "guards": guards,
    }


def _estimates(moments, session, case):
    """Squared relative errors, cosines [lanes, moments]; the sum of estimates over lanes; whether all lanes agree."""
    lanes, same = session.batch_size, True
    errors, cosines, total = np.empty((lanes, len(moments))), np.empty((lanes, len(moments))), np.zeros(case.exact.shape)
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # what they say is counted in `health`
        for t, name in enumerate(case.ids, 1):
            session.advance(np.full(lanes, name))
            if t not in moments:
                continue
            j, first = moments.index(t), None
            for lane in range(lanes):
                delta = np.zeros((lanes, len(case.deltas[j])))
                delta[lane] = case.deltas[j]
                session.feedback(delta)
                estimate = lanes * flat(session.gradient())  # the mean over lanes, of which only this one is not 0
                errors[lane, j] = _squares(estimate - case.exact[j]) / _squares(case.exact[j])
                cosines[lane, j] = _cosine(estimate, case.exact[j])
                total[j] += estimate
                first = estimate if first is None else first
                same = same and np.array_equal(estimate, first)
    return errors, cosines, total, same


def _squares(vectors):
    """Squared norms along the last axis."""
    # einsum and not @: the threads that BLAS would start for these short sums are far slower than no threads.
    return np.einsum("...i,...i->...", vectors, vectors)


def _cosine(a, b):
    """Cosine of two vectors; 0 where one of them is 0."""
    size = math.sqrt(_squares(a) * _squares(b))
    return np.einsum("i,i->", a, b) / size if size > 0 else 0.0
