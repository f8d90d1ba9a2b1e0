"""Unbiasedness of NoBackTrack (both metrics), UORO(T), averaged and reversed KF-RTRL, held by the compiled engine itself.

Signs are a pure function of the seed, so seeds can be found that give every sign pattern of a tiny net: the mean over them
is RTRL to rounding, and an error of 1 % in one scale would be seen.  The reference is held to the same law in
test_reference_unbiased.py and test_reference_metric.py; UORO() and KFRTRL() of the engine in test_engine_laws.py.
"""

import functools
import itertools

import numpy as np
import pytest
from common import flat, session
from test_engine_laws import problem

import rtrl

fresh_or_not = pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "eager"])
TINY = [rtrl.RNN(2), rtrl.RNN(2, leak=0.5), rtrl.GRU(2), rtrl.LSTM(2), rtrl.RHN(2), rtrl.RHN(2, 2)]
TINIER = [rtrl.RNN(2), rtrl.GRU(1), rtrl.LSTM(1), rtrl.RHN(2), rtrl.RHN(1, 2)]  # for a sign at every row of W
STATES = ["propagated", "local", "literal"]


def sizes(cell):
    """k n, r n and the number of stages."""
    k, r = {"RNN": (1, 1), "GRU": (1, 4), "LSTM": (2, 4), "RHN": (1, 2)}[type(cell).__name__]
    return k * cell.hidden, r * cell.hidden, getattr(cell, "depth", 1)


def reductions(estimator):
    """The first steps at which the estimator draws signs."""
    horizon = getattr(estimator, "horizon", 1)
    return range(horizon - 1, 99, horizon)


@functools.cache
def seeds_of_patterns(steps, stages, count, pairs):
    """A seed for every pattern of the signs of lane 0 at these steps, as far as they matter.

    Of the signs c1, c2 of KF-RTRL only that of the new product beside the carried one does, c1 c2 c2', which has the sign c2' of
    the step before.
    """
    wanted = 2 ** ((len(steps) - 1) * stages * count // 2) if pairs else 2 ** (len(steps) * stages * count)
    found = {}
    for seed in itertools.count():
        signs = np.array([[rtrl.random_signs(seed, t, 0, stage, count) for stage in range(stages)] for t in steps])
        if pairs:
            c1, c2 = np.moveaxis(signs.reshape(len(steps), stages, -1, 2), -1, 0)
            signs = c1[1:] * c2[1:] * c2[:-1]
        found.setdefault(signs.tobytes(), seed)
        if len(found) == wanted:
            return list(found.values())


def sample(cell, estimator, xs, credits, seed=0):
    """Gradient and influence of one run, in the metric of a filter that has seen a few gradients, as one vector."""
    optimizer = rtrl.Kalman(0.0, "quasi-diagonal", decay=0.3, prior=0.1, floor=0.0)
    ran = session(cell, estimator, optimizer, readout=None, seed=seed)
    rng = np.random.default_rng(7)
    for _ in range(4):
        ran.apply({name: rng.normal(size=view.shape) for name, view in ran.network.parameters().items()})
    for x, credit in zip(xs, credits):
        ran.advance(x)
        ran.feedback(credit)
    ran.reset(np.zeros(1, bool))  # close the step, so that the influence is the one after its reduction
    return np.concatenate([flat(ran.gradient()), flat(ran.influence())])


def assert_unbiased(cell, estimator, count, pairs=False):
    """Over as many of the first random reductions as give at most 2^8 patterns."""
    stages = sizes(cell)[2]
    most = 1 + 16 // (stages * count) if pairs else 8 // (stages * count)  # the first reduction of KF-RTRL is exact
    steps = tuple(itertools.islice(reductions(estimator), most))
    xs, credits = problem(cell, steps[-1] + 1 + (getattr(estimator, "horizon", 1) > 1), seed=3)
    samples = np.array([sample(cell, estimator, xs, credits, seed) for seed in seeds_of_patterns(steps, stages, count, pairs)])
    expected = sample(cell, rtrl.RTRL(), xs, credits)
    assert np.abs(samples.mean(0) - expected).max() < 1e-12 * np.abs(samples).max()
    assert np.abs(samples - expected).max() > 1e-3 * np.abs(expected).max()


@fresh_or_not
@pytest.mark.parametrize(
    "estimator",
    [rtrl.NoBackTrack(), *(rtrl.NoBackTrack("kalman", state) for state in STATES), rtrl.UORO(2), rtrl.UORO(3)],
    ids=repr,
)
@pytest.mark.parametrize("cell", TINY, ids=repr)
def test_a_sign_for_every_component(cell, estimator, fresh):
    assert_unbiased(cell, estimator.replace(fresh=fresh), sizes(cell)[0])


@fresh_or_not
@pytest.mark.parametrize("average", [2, 3])
@pytest.mark.parametrize("cell", TINY, ids=repr)
def test_two_signs_for_every_pair(cell, average, fresh):
    assert_unbiased(cell, rtrl.KFRTRL(average=average, fresh=fresh), 2 * average, pairs=True)


@fresh_or_not
@pytest.mark.parametrize("cell", TINIER, ids=repr)
def test_a_sign_for_every_row(cell, fresh):
    assert_unbiased(cell, rtrl.ReversedKFRTRL(fresh=fresh), sizes(cell)[1])
