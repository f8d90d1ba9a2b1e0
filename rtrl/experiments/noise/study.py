"""Noise of gradient estimates against units n, time t, and training.

A net reads a text and predicts each next character.  At some moments t the gradient of that one loss with respect to
the weights of the cell is estimated, g~, and compared with the exact gradient g of backpropagation through all t steps:

    relative variance  E |g~ - g|^2 / |g|^2      cosine  E <g~, g> / (|g~| |g|)      mean error  |E g~ - g| / |g|

The weights are frozen.  All lanes of a session read the same characters and differ in their random signs alone, so each
lane is an independent sample of g~, had by crediting that lane and no other.  Samples are spread over up to `NETS` pairs
of a net and a place in the text, since noise differs from net to net.
"""

import math
import warnings

import numpy as np

from rtrl.experiments.noise.cases import flat, make_case
from rtrl.experiments.runs import Run, finite
from rtrl.session import Session

__all__ = ["Noise"]

_LANES = 16  # of one session: the work of crediting lane by lane grows with their square
_PARTED = 1e-3  # lanes whose hidden state is farther than this from that of the exact gradient are on another way
_KEPT = ("errors", "cosines", "mean_errors", "norms", "guards")  # of a net, what `_rows` needs


class Noise(Run):
    """One estimator; a window is one net, and the last one gives a row for each moment."""

    unit = "nets"

    def __init__(self, settings):
        super().__init__(settings)
        self._found = []  # what each net gave, by the names in `_KEPT`

    def window(self, tell):
        case = make_case(self.settings.of_case, self.step)
        refused = _refusal(self.settings, case.network) if self.step == 0 else None
        if refused:
            self.step = self.steps
            return [{"kind": self.settings.estimator.kind, **refused}], {}
        self._found.append(_samples(self.settings, case, self.step))
        self.step += 1
        tell(self.step)
        return list(_rows(self.settings, self._found)) if self.step == self.steps else [], {}

    def save(self, path):
        arrays = {f"{name}.{i}": net[name] for i, net in enumerate(self._found) for name in _KEPT}
        with open(path, "wb") as file:
            np.savez(file, **arrays)
        return {"step": self.step, "nets": len(self._found)}

    def load(self, path, state):
        self.step = state["step"]
        with np.load(path) as arrays:
            self._found = [{name: arrays[f"{name}.{i}"] for name in _KEPT} for i in range(state["nets"])]


def _rows(settings, found):
    """One dict a moment."""
    for j, t in enumerate(settings.moments):
        errors, cosines = [net["errors"][:, j] for net in found], [net["cosines"][:, j] for net in found]
        variance, variance_error = _mean(errors)
        cosine, cosine_error = _mean(cosines)
        yield {
            "kind": settings.estimator.kind,
            "t": t,
            "samples": sum(map(len, errors)),
            "relative_variance": variance,
            "relative_variance_error": variance_error,
            "cosine": cosine,
            "cosine_error": cosine_error,
            "mean_error": finite(math.sqrt(np.mean([net["mean_errors"][j] for net in found]))),
            "spectral_norm": _mean([net["norms"][j : j + 1] for net in found])[0],
            "guards": sum(int(net["guards"]) for net in found),
        }


def _mean(samples):
    """Mean over nets of the means over samples, and its standard error; None for what is no number."""
    means = np.array([each.mean() for each in samples])
    return finite(means.mean()), finite(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None


def _refusal(settings, network):
    """None, or a dict that says why this network cannot have the estimator."""
    try:
        Session(network, settings.estimator, batch_size=_lanes(settings, 0), threads=settings.threads)
    except (ValueError, MemoryError) as error:
        return {"refused": " ".join(str(error).split())}
    return None


def _lanes(settings, done):
    """Lanes of the next session of a net that has `done` samples."""
    left = -(-settings.samples // settings.nets) - done
    # Where nothing is random two lanes agree to the last bit, and one sample is all there is.
    return min(left, _LANES if settings.estimator.kind == "unbiased" or done else 2)


def _samples(settings, case, number):
    """Squared relative errors and cosines [samples, moments] of one net, squared relative errors of the mean [moments]."""
    estimator = settings.estimator
    errors, cosines, total, done, guards = [], [], 0, 0, 0
    while lanes := _lanes(settings, done):
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
        "norms": case.spectral_norms,
        "guards": np.array(guards),
    }


def _estimates(moments, session, case):
    """Squared relative errors, cosines [lanes, moments]; the sum of estimates over lanes; whether all lanes agree."""
    lanes, same = session.batch_size, True
    errors, cosines, total = np.empty((lanes, len(moments))), np.empty((lanes, len(moments))), np.zeros(case.exact.shape)
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # what they say is counted in `health`
        for t, name in enumerate(case.ids, 1):
            hidden = session.advance(np.full(lanes, name))
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
            if not np.abs(hidden - case.hidden[j]).max() < _PARTED:
                errors[:, j] = cosines[:, j] = total[j] = np.nan
    return errors, cosines, total, same


def _squares(vectors):
    """Squared norms along the last axis."""
    # einsum and not @: the threads that BLAS would start for these short sums are far slower than no threads.
    return np.einsum("...i,...i->...", vectors, vectors)


def _cosine(a, b):
    """Cosine of two vectors; 0 where one of them is 0, NaN where one of them has no length."""
    size = math.sqrt(_squares(a) * _squares(b))
    return np.einsum("i,i->", a, b) / size if size != 0 else 0.0
