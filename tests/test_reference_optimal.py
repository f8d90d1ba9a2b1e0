"""The laws of the optimal Kronecker sums of `rtrl.reference`: OK and BlockOK (limits: test_reference_optimal_limits.py).

pieces         the rows and columns of Z; X X' is diag(d) on average
unbiasedness   the mean over *every* sign pattern is the exact gradient and influence, for every cell
noise          |G~ - T|^2 = S^2 / kk - sum of d_i^2 over the tail, for every pattern: the least that is possible
"""

import copy
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tapes import CELLS, drive, flat, fresh_or_not, problem

from rtrl import reference as ref
from rtrl.reference import optimal

# (estimator, steps of a stream in which several reductions are random, the same for two stages)
SUMS = {
    "OK(1)": (partial(ref.OK, 1), 4, 3),
    "OK(2)": (partial(ref.OK, 2), 5, 4),
    "OK(3)": (partial(ref.OK, 3), 6, 5),
    "BlockOK(1, 1)": (partial(ref.BlockOK, 1, 1), 4, 3),
    "BlockOK(2, 1)": (partial(ref.BlockOK, 2, 1), 5, 4),
    "BlockOK(1, 2)": (partial(ref.BlockOK, 1, 2), 7, 5),
    "BlockOK(2, 2)": (partial(ref.BlockOK, 2, 2), 7, 5),
    "BlockOK(3, 2)": (partial(ref.BlockOK, 3, 2), 7, 5),
    "BlockOK(1, 4)": (partial(ref.BlockOK, 1, 4), 10, 6),
    "BlockOK(2, 4)": (partial(ref.BlockOK, 2, 4), 10, 6),
}
every_sum = pytest.mark.parametrize("name", SUMS)
TINY = ["rnn", "rnn relu leak", "gru", "lstm", "rhn", "rhn 2"]


def random_signs(seed):
    rng = np.random.default_rng(seed)
    return lambda stage, count: rng.choice([-1, 1], count)


# Pieces

falling = st.lists(st.floats(1e-6, 1.0) | st.just(0.0), min_size=1, max_size=9).map(lambda d: -np.sort(-np.array(d)))


@given(falling, st.integers(1, 9))
def test_mixing_over_every_sign_pattern(d, rank):
    """E[X X'] = diag(d), and every pattern scatters by the closed form with the best number of columns that are kept."""
    samples = [optimal.mixing(d, rank, signs) for signs in product([-1, 1], repeat=len(d))]
    products = [X @ X.T for X in samples]
    np.testing.assert_allclose(np.mean(products, 0), np.diag(d), rtol=0, atol=1e-12 * (1 + d.sum()))
    noise = min(
        (
            d[a:].sum() ** 2 / (rank - a) - (d[a:] ** 2).sum()
            for a in range(rank)
            if a < len(d) and d[a] * (rank - a) <= d[a:].sum() * (1 + 1e-12)
        ),
        default=0.0,
    )
    for each in products:
        assert np.sum((each - np.diag(d)) ** 2) == pytest.approx(noise, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(1e-6, 1.0) | st.just(0.0), max_size=12), st.floats(1e-6, 1.0), st.integers(1, 12))
def test_rows_and_columns_of_spread(numbers, one_more, columns):
    shares = np.array([*numbers, one_more])
    columns = min(columns, int(shares.sum() / shares.max()))
    shares *= columns / shares.sum()
    Z = optimal.spread(shares, columns)
    np.testing.assert_allclose(Z.T @ Z, np.eye(columns), rtol=0, atol=1e-12)
    np.testing.assert_allclose((Z**2).sum(1), shares, rtol=0, atol=1e-12)


# Unbiasedness


def outcomes(estimator, tape, deltas):
    """Every value of (gradient, influence) with its probability, over every sign pattern of a stream.

    Patterns with the same outcome are counted together as soon as they meet, bit for bit: signs of terms that are kept
    exactly, and all signs at once turned over, change nothing.
    """
    estimator.begin([(record.k * record.n, *record.W.shape) for record in tape[0]])
    outcome = {b"": (1.0, estimator)}
    for records, delta in zip(tape, deltas):
        found = {}
        for weight, before in outcome.values():
            for pattern in patterns(before, records):
                source, after = iter(pattern), fork(before)
                signs = partial(take, source)
                if not after.fresh:
                    after.observe(records, signs)
                after.feedback(records, delta)
                if after.fresh:
                    after.observe(records, signs)
                assert next(source, None) is None
                key = visible(after).tobytes()
                found[key] = (found.get(key, (0.0,))[0] + weight * 0.5 ** len(pattern), after)
        outcome = found
    weights = np.array([weight for weight, _ in outcome.values()])
    assert weights.sum() == 1
    return weights, np.array([visible(each) for _, each in outcome.values()])


def visible(estimator):
    return np.concatenate([flat(estimator.total), flat(estimator.influence())])


def fork(estimator):
    """A copy that shares arrays, which no estimator changes in place."""
    twin = copy.copy(estimator)
    twin.__dict__.update({name: list(value) for name, value in vars(estimator).items() if isinstance(value, list)})
    return twin


def take(source, stage, count):
    return np.array([next(source) for _ in range(count)])


def patterns(estimator, records):
    """Every pattern of the signs that the next observation asks for."""
    asked = []
    fork(estimator).observe(records, lambda stage, count: asked.append(count) or np.ones(count))
    return product([-1, 1], repeat=sum(asked))


def enumeration_error(name, cell, fresh):
    make, *steps = SUMS[name]
    _, _, deltas, tape = problem(cell, steps[cell.stages - 1], seed=2)
    exact = ref.RTRL(fresh=fresh)
    drive(exact, tape, deltas)
    weights, samples = outcomes(make(fresh=fresh), tape, deltas)
    assert len(weights) > 1
    exact.total = ref.bptt(tape, deltas)
    return np.abs(weights @ samples - visible(exact)).max() / np.abs(samples).max()


@fresh_or_not
@every_sum
@pytest.mark.parametrize("cell", TINY)
def test_unbiased_over_every_sign_pattern(cell, name, fresh):
    assert enumeration_error(name, CELLS[cell](2), fresh) < 1e-12


@pytest.mark.parametrize("name", ["OK(2)", "BlockOK(2, 2)"])
@pytest.mark.parametrize("piece", ["mixing", "spread"])
def test_enumeration_sees_one_percent(name, piece, monkeypatch):
    original = getattr(optimal, piece)
    monkeypatch.setattr(optimal, piece, lambda *arguments: 1.01 * original(*arguments))
    assert 1e-4 < enumeration_error(name, ref.GRU(2), fresh=False) < 1e-1


# Noise


def last_reduction(cell, make, steps, seed):
    """(T as a matrix, the influence it was reduced to) of stage 0 at the last step, which ends a block."""
    *_, deltas, tape = problem(cell, steps, seed)
    estimator, before = make(), {}

    def signs(stage, count):
        before[stage] = fork(estimator)
        return random_signs(seed + 100 * len(before))(stage, count)

    drive(estimator, tape, deltas, signs)
    unreduced = before[0]
    if isinstance(unreduced, ref.BlockOK):
        T = unreduced.influence()[0]
    else:
        T = np.einsum("ixp,iq->xpq", unreduced.A[0], unreduced.u[0])
    return T, estimator.influence()[0]


@pytest.mark.parametrize("rank, block", [(1, None), (2, None), (4, None), (8, None), (1, 4), (4, 4), (8, 8)])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "rhn"])
def test_one_step_noise_is_the_least_possible(name, rank, block):
    make = partial(ref.OK, rank) if block is None else partial(ref.BlockOK, rank, block)
    steps = rank + 3 if block is None else 3 * block
    for seed in range(3):
        T, G = last_reduction(CELLS[name](7), make, steps, seed)
        d = np.linalg.svd(T.reshape(-1, T.shape[-1]), compute_uv=False)
        bounds = [
            d[a:].sum() ** 2 / (rank - a) - (d[a:] ** 2).sum()
            for a in range(rank)
            if a < len(d) and d[a] * (rank - a) <= d[a:].sum()
        ]
        noise = np.sum((G - T) ** 2)
        assert noise == pytest.approx(bounds[0], rel=1e-8, abs=1e-14 * np.sum(T**2))
        assert bounds[0] == pytest.approx(min(bounds), rel=1e-9) and noise > 1e-12 * np.sum(T**2)


def test_less_noise_than_kfrtrl():
    """One product each: the least possible is at most that of KF-RTRL, which balances two products."""
    *_, deltas, tape = problem(ref.RHN(6), 2)
    noises = []
    for make in (ref.KFRTRL, partial(ref.OK, 1)):
        estimator = make()
        drive(estimator, tape, deltas, random_signs(1))
        exact = ref.RTRL()
        drive(exact, tape, deltas)
        noises.append(np.sum((estimator.influence()[0] - exact.influence()[0]) ** 2))
    assert 0 < noises[1] < noises[0]


@every_sum
@pytest.mark.parametrize("cell", ["rnn", "lstm", "rhn 2"])
def test_enumeration_sees_one_percent_everywhere(cell, name, monkeypatch):
    """In the scale of the terms that are mixed, whatever rank and block are."""
    original = optimal.mixing
    monkeypatch.setattr(optimal, "mixing", lambda *arguments: 1.01 * original(*arguments))
    assert 1e-4 < enumeration_error(name, CELLS[cell](2), fresh=False) < 1e-1
