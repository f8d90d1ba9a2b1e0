"""The laws of OK and BlockOK, held by the compiled engine itself (those of the reference: test_reference_optimal.py).

unbiasedness   the mean over every sign pattern, from seeds that give each of them, is RTRL to rounding
noise          |G~ - T|^2 = S^2 / kk - sum of d_i^2 over the tail, for every seed, at ranks up to 16
limits         no more terms than rank, and inside a block: RTRL, whatever is reset and however the weights change
"""

import functools
import itertools

import numpy as np
import pytest
from common import distance, flat, reset_mask, session, stream
from drivers import every_cell, fresh_or_not
from test_engine_laws import ONE_STAGE, TINY, drive, problem, sample, whole_bptt

import rtrl

one_stage = pytest.mark.parametrize("cell", ONE_STAGE, ids=repr)


# Unbiasedness


@functools.cache
def seeds_of_patterns(steps, stages, count):
    """A seed for every pattern of the signs of lane 0 at some steps, once for both values of all signs of a reduction.

    To turn over all signs of one reduction changes nothing, so that only the products with the first one are told apart.
    """
    found, wanted = {}, 2 ** (len(steps) * stages * (count - 1))
    for seed in itertools.count():
        signs = [rtrl.random_signs(seed, t, 0, stage, count) for t in steps for stage in range(stages)]
        found.setdefault(b"".join((each[0] * each[1:]).tobytes() for each in signs), seed)
        if len(found) == wanted:
            return list(found.values())


@fresh_or_not
@pytest.mark.parametrize(
    "estimator",
    [
        rtrl.OK(1),
        rtrl.OK(2),
        rtrl.OK(3),
        rtrl.BlockOK(1, 2),
        rtrl.BlockOK(2, 2),
        rtrl.BlockOK(2, 4),
    ],
    ids=repr,
)
@pytest.mark.parametrize("cell", [each for each in TINY if each != rtrl.RHN(1, 2)], ids=repr)  # its A has two entries
def test_mean_over_every_sign_pattern(cell, estimator, fresh):
    """Over as many of the first random reductions as give at most 256 patterns, but at least one."""
    block, stages = getattr(estimator, "block", 1), getattr(cell, "depth", 1)
    count = estimator.rank + block
    ends = [t for t in range(block - 1, 16, block) if t >= estimator.rank]
    ends = tuple(ends[: max(1, 8 // (stages * (count - 1)))])
    xs, credits = problem(cell, ends[-1] + 1, seed=2)
    seeds = seeds_of_patterns(ends, stages, count)
    samples = np.array([sample(cell, estimator.replace(fresh=fresh), xs, credits, seed) for seed in seeds])
    expected = sample(cell, rtrl.RTRL(fresh=fresh), xs, credits, 0)
    assert np.abs(samples.mean(0) - expected).max() < 1e-12 * np.abs(samples).max()
    if getattr(cell, "nonlinearity", "tanh") == "tanh":  # a tiny net with units that are off may need no reduction
        assert np.abs(samples - expected).max() > 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("estimator", [rtrl.OK(2), rtrl.BlockOK(2, 4)], ids=repr)
def test_mean_over_random_seeds(estimator):
    """The real generator, over seeds, lanes and steps: within five standard errors of RTRL."""
    cell, lanes = rtrl.GRU(3), 64
    xs, credits = (np.repeat(each, lanes, 1) for each in problem(cell, 14))
    exact = flat(drive(cell, rtrl.RTRL(), xs, credits).gradient())
    samples = np.array([flat(drive(cell, estimator, xs, credits, seed=seed).gradient()) for seed in range(60)])
    error, scatter = np.abs(samples.mean(0) - exact), samples.std(0, ddof=1) / np.sqrt(len(samples))
    assert (error <= 5 * scatter + 1e-12).all()
    assert scatter.max() > 1e-5


# Noise


def least_noise(T, rank):
    """The closed form, from the singular values of T [kn, rn, m]."""
    d = np.linalg.svd(T.reshape(-1, T.shape[-1]), compute_uv=False)
    kept = next(a for a in range(rank) if a >= len(d) or d[a] * (rank - a) <= d[a:].sum())
    return d[kept:].sum() ** 2 / (rank - kept) - (d[kept:] ** 2).sum()


@pytest.mark.parametrize("rank, block", [(1, 1), (4, 1), (8, 1), (1, 4), (4, 4), (4, 8), (8, 8), (16, 16)])
@one_stage
def test_noise_is_the_least_possible(cell, rank, block):
    """While the last step of a block is open, influence() is T; afterwards it is the sample."""
    cell = cell.replace(hidden=9)
    end = next(t for t in range(block - 1, 64, block) if t > rank + block)
    xs, credits = problem(cell, end + 1)
    for seed in range(3):
        ran = drive(cell, rtrl.BlockOK(rank, block), xs, credits, seed=seed)
        T = ran.influence()["cell.0.weight"][0]
        ran.reset(np.zeros(1, bool))
        noise, size = np.sum((ran.influence()["cell.0.weight"][0] - T) ** 2), np.sum(T**2)
        assert noise == pytest.approx(least_noise(T, rank), rel=1e-7, abs=1e-13 * size)


@pytest.mark.parametrize("estimator, floor", [(rtrl.OK(1), 1.0), (rtrl.OK(4), 2.0), (rtrl.BlockOK(4, 8), 10.0)], ids=repr)
def test_less_noise_than_kfrtrl(estimator, floor):
    """Scatter of the gradient of a loss at the last of 40 steps around RTRL's."""
    cell = rtrl.RHN(16)
    xs, credits = problem(cell, 40, lanes=1)
    credits[:-1] = 0
    exact = flat(drive(cell, rtrl.RTRL(), xs, credits).gradient())
    scatter = [
        np.mean([np.sum((flat(drive(cell, each, xs, credits, seed=seed).gradient()) - exact) ** 2) for seed in range(40)])
        for each in (rtrl.KFRTRL(), estimator)
    ]
    assert scatter[0] > floor * scatter[1]


# Limits


@fresh_or_not
@every_cell
def test_as_many_products_as_terms_is_rtrl(cell, fresh):
    """With resets of single lanes in the middle of blocks."""
    xs, credits = problem(cell, 9, lanes=2)
    resets = np.zeros((9, 2), bool)
    resets[4, 0] = resets[7, 1] = resets[6] = True
    exact = whole_bptt(cell, xs, credits, resets)
    for estimator in (rtrl.OK(9), rtrl.BlockOK(9, 2), rtrl.BlockOK(9, 4), rtrl.BlockOK(12, 5)):
        assert distance(drive(cell, estimator.replace(fresh=fresh), xs, credits, resets).gradient(), exact) < 1e-12


@fresh_or_not
@every_cell
def test_a_block_is_exact_while_the_weights_change(cell, fresh):
    """An update at every step: the same losses and weights as with RTRL until the first block ends, and after a reset again."""
    block, resets = 12, reset_mask(12, 3)
    specs = rtrl.RTRL(fresh=fresh), rtrl.BlockOK(1, block, fresh=fresh)
    exact, ours = (session(cell, each, rtrl.SGD(0.3), batch_size=3) for each in specs)
    xs, ys = stream(2 * block - 1, 3)
    losses = [each.run(xs[: block - 1], ys[: block - 1], resets[1:]) for each in (ours, exact)]
    np.testing.assert_allclose(*losses, rtol=1e-11)
    assert distance(ours.network.parameters(), exact.network.parameters()) < 1e-12
    for each in (exact, ours):
        each.advance(xs[block - 1])
        each.reset()
    losses = [each.run(xs[block:], ys[block:], resets[1:]) for each in (ours, exact)]
    np.testing.assert_allclose(*losses, rtol=1e-11)
    assert distance(ours.influence(), exact.influence()) < 1e-11


@every_cell
def test_ok_is_a_block_of_one_step(cell):
    """Bit for bit: it is the same code, which the tests of both against the reference would not say."""
    runs = [session(cell, each, rtrl.SGD(0.1), batch_size=2) for each in (rtrl.OK(2), rtrl.BlockOK(2, 1))]
    xs, ys = stream(13, 2)
    assert runs[0].run(xs, ys).tobytes() == runs[1].run(xs, ys).tobytes()
