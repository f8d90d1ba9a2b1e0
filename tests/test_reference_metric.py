"""Laws of NoBackTrack in the metrics of weights and state, as the reference states them.

unbiasedness   the mean over *every* sign pattern is exact, and an error of 1 % in a scale is seen
scales         both factors of every product have the same length
"""

from itertools import product

import numpy as np
import pytest
from tapes import CELLS, drive, flat, fresh_or_not, problem
from test_reference_kalman import every_metric, learned

from rtrl import reference as ref
from rtrl.reference import nobacktrack

every_state = pytest.mark.parametrize("state", ["propagated", "local", "literal"])


def enumeration_error(cell, steps, metric, state, fresh):
    """Error of the mean over every pattern, relative to a sample; the metric is that of a filter at work."""
    _, _, deltas, tape = problem(cell, steps, seed=3)
    metrics = [learned(metric, record.W.shape, seed=7 + i) for i, record in enumerate(tape[0])]
    exact = ref.RTRL()
    expected = np.concatenate([flat(drive(exact, tape, deltas)), flat(exact.influence())])
    count = steps * cell.stages * cell.k * cell.n
    assert count <= 12
    mean, size = 0.0, 0.0
    for pattern in product([-1, 1], repeat=count):
        estimator, source = ref.NoBackTrack("kalman", state, fresh=fresh), iter(pattern)
        estimator.metrics = metrics

        def deal(stage, number, source=source):
            return np.array([next(source) for _ in range(number)])

        gradient = drive(estimator, tape, deltas, deal)
        assert next(source, None) is None
        sample = np.concatenate([flat(gradient), flat(estimator.influence())])
        mean, size = mean + sample / 2**count, max(size, np.abs(sample).max())
    assert np.abs(sample - expected).max() > 1e-3 * np.abs(expected).max()
    return np.abs(mean - expected).max() / size


@fresh_or_not
@every_state
@every_metric
@pytest.mark.parametrize("name", ["rnn", "rnn relu leak", "gru", "lstm", "rhn", "rhn 2"])
def test_unbiased_over_every_sign_pattern(name, metric, state, fresh):
    assert enumeration_error(CELLS[name](2), 2, metric, state, fresh) < 1e-12


@pytest.mark.parametrize("name", ["rnn", "rhn 2"])
def test_unbiased_over_three_steps(name):
    assert enumeration_error(CELLS[name](2), 3, "quasi-diagonal", "propagated", True) < 1e-12


@pytest.mark.parametrize("which", ["carried", "new"])
def test_enumeration_sees_one_percent(which, monkeypatch):
    def planted(a, b):
        rho, inverse = ref.balance(a, b)
        return (1.01 * rho if (b == 1.0) == (which == "new") else rho), inverse

    monkeypatch.setattr(nobacktrack, "balance", planted)
    assert 1e-4 < enumeration_error(CELLS["rnn"](2), 3, "diagonal", "propagated", False) < 1e-1


def pushed(estimator, record):
    """H v of the first stage."""
    return ref.jacobian(record) @ estimator.v[0]


@every_state
@every_metric
@pytest.mark.parametrize("name", ["rnn", "gru", "rhn"])
def test_both_factors_have_the_same_length(name, metric, state):
    """Of the carried product and of the new ones, in the metrics: with opposite signs, sum and difference tell them apart."""
    *_, deltas, tape = problem(CELLS[name](4), 4)
    kept, after = [learned(metric, tape[0][0].W.shape)], []
    for sign in (1, -1):
        estimator = ref.NoBackTrack("kalman", state, 1e-14)
        estimator.metrics = kept
        drive(estimator, tape[:3], deltas[:3], lambda stage, count: np.resize([-1, 1, 1], count))
        w, v = estimator.w[0], pushed(estimator, tape[3][0])
        estimator.observe(tape[3], lambda stage, count, sign=sign: sign * np.ones(count))
        after.append(estimator)
    sizes = (tape[3][0].D ** 2 * kept[0].norm2(np.broadcast_to(tape[3][0].h_hat, w.shape)).reshape(-1, 4)).sum(axis=1).ravel()
    rho = (after[0].v[0] - after[1].v[0]) / 2
    P = rho**4 / sizes
    for combine in (np.add, np.subtract):
        left = np.sum(combine(after[0].v[0], after[1].v[0]) ** 2 / P)
        assert left == pytest.approx(kept[0].norm2(combine(after[0].w[0], after[1].w[0])).sum(), rel=1e-10)
    if state == "propagated":
        np.testing.assert_allclose(P, after[0].P[0], rtol=1e-10)
    elif state == "local":  # or a hundredth of what is carried, where that is more
        carried = kept[0].norm2(w).sum() * v**2
        np.testing.assert_allclose(P, np.maximum(sizes, carried / 100), rtol=1e-10)
    else:
        assert np.all(P > sizes)
