"""KFRTRL(block=K) in the compiled engine: the reference sign for sign, unbiased, threads, checkpoints, guards.

The reference carries A through every step, the engine works it out at the ends of blocks: equality is the exactness of that.
"""

import itertools
from functools import partial

import numpy as np
import pytest
from common import CELLS, INPUTS, OPTIMIZERS, assert_same_bits, flat, reference_twin, reset_mask, session, stream
from drivers import (
    LANES,
    SIZES,
    STEPS,
    TOLERANCE,
    assert_equal_calls,
    assert_equal_influence,
    assert_equal_runs,
    assert_equal_training,
    assert_goes_on_from_a_file,
    assert_ids_and_numbers_mix,
    assert_same_on_threads,
    both_widths,
    dense_or_ids,
    every_cell,
    fresh_or_not,
)
from test_engine_laws import drive, problem, sample

import rtrl

BLOCKS = {
    "2": rtrl.KFRTRL(block=2),
    "3 eager": rtrl.KFRTRL(block=3, fresh=False),
    "4, 2 pairs": rtrl.KFRTRL(block=4, average=2),
    "8": rtrl.KFRTRL(block=8),
    "5, 3 pairs eager": rtrl.KFRTRL(block=5, average=3, fresh=False),
}
every_block = pytest.mark.parametrize("estimator", BLOCKS.values(), ids=BLOCKS)


# The reference


@both_widths
@dense_or_ids
@every_block
@every_cell
def test_training_run(cell, estimator, dense, dtype):
    """The weights changing at every step, resets in the middle of blocks; then the influence itself."""
    ours = session(cell, estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=LANES)
    assert_equal_influence(ours, assert_equal_training(ours, dense), 3 * TOLERANCE[dtype])


@every_block
@pytest.mark.parametrize("every", [4, 8])
@pytest.mark.parametrize("cell", [rtrl.GRU(5), rtrl.RHN(5, 2)], ids=repr)
def test_an_update_once_a_block(cell, every, estimator):
    ours = session(cell, estimator, rtrl.SGD(0.1), batch_size=LANES, update_every=every)
    assert_equal_influence(ours, assert_equal_training(ours), 1e-12)


@both_widths
@pytest.mark.parametrize("cell", [*SIZES, rtrl.GRU(32), rtrl.LSTM(34), rtrl.RHN(64)], ids=repr)
@pytest.mark.parametrize("estimator", [rtrl.KFRTRL(block=4), rtrl.KFRTRL(block=8, average=2)], ids=repr)
def test_sizes_around_the_vector_width(cell, estimator, dtype):
    assert_equal_runs(session(cell, estimator, rtrl.SGD(0.05), dtype=dtype, batch_size=2), *stream(18, 2))


@both_widths
@pytest.mark.parametrize("cell, maps", [(rtrl.RNN(33), 1), (rtrl.GRU(17), 4), (rtrl.LSTM(17), 4), (rtrl.RHN(37), 2)])
@pytest.mark.parametrize(
    "estimator", [rtrl.KFRTRL(block=4), rtrl.KFRTRL(block=3, average=2), rtrl.BlockOK(4, 3), rtrl.OK(3)], ids=repr
)
def test_nothing_beside_the_influence(cell, maps, estimator, dtype):
    """Products go on to whole vectors; columns of A's last panel that belong to no weight stay 0, so that norms are right."""
    ran = session(cell, estimator, rtrl.SGD(0.05), dtype=dtype, batch_size=2)
    ran.run(*stream(18, 2))
    panel, columns = 128 // np.dtype(dtype).itemsize, maps * cell.hidden
    panels = -(-columns // panel)
    A = ran._arrays["estimator.A0"].reshape(-1, panels, (2 if isinstance(cell, rtrl.LSTM) else 1) * cell.hidden, panel)
    assert A[:, -1, :, : columns % panel].all(axis=0).any()
    assert not A[:, -1, :, columns % panel :].any()


@every_block
def test_low_level_calls(estimator):
    """With resets, and the influence in the middle of it."""
    ours = session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), readout=None, batch_size=LANES)
    assert_equal_calls(ours, reset_mask(STEPS, LANES), applied=lambda t, twin: assert_equal_influence(ours, twin, 1e-12))


@every_block
@pytest.mark.parametrize("name", CELLS)
def test_irregular_masks(name, estimator):
    rng = np.random.default_rng(0)
    shapes = rtrl.Network(CELLS[name], INPUTS).parameters()
    mask = {each: rng.random(view.shape) < 0.4 for each, view in shapes.items()}
    net = rtrl.Network(CELLS[name], INPUTS, rtrl.Softmax(4), dtype="float64", seed=3, mask=mask)
    assert_equal_training(rtrl.Session(net, estimator, rtrl.SGD(0.1), batch_size=LANES, seed=5, threads=1))


@every_block
def test_ids_then_numbers_in_one_block(estimator):
    assert_ids_and_numbers_mix(estimator)


# Laws


def seeds_of_patterns(steps, block, stages, rows):
    """A seed for every pattern of the signs c1 c2 c2' that matter, all of them with the same w in every block."""
    found, probes = {}, None
    for seed in itertools.count():
        signs = np.array([[rtrl.random_signs(seed, t, 0, stage, 2 + rows) for stage in range(stages)] for t in range(steps)])
        w = signs[::block, :, 2:]
        key = (w * w[..., :1]).tobytes()  # to turn w over changes nothing
        probes = key if probes is None else probes
        if key == probes:
            c1, c2 = signs[..., 0], signs[..., 1]
            found.setdefault((c1[1:] * c2[1:] * c2[:-1]).tobytes(), seed)
        if len(found) == 2 ** ((steps - 1) * stages):
            return list(found.values())


@fresh_or_not
@pytest.mark.parametrize(
    "cell, steps",
    [(rtrl.RNN(2), 6), (rtrl.RNN(3), 5), (rtrl.GRU(1), 5), (rtrl.LSTM(1), 5), (rtrl.RHN(2), 5), (rtrl.RHN(1, 2), 4)],
)
def test_mean_over_every_sign_pattern(cell, steps, fresh):
    """Two blocks and the beginning of a third."""
    rows = {"RNN": 1, "GRU": 4, "LSTM": 4, "RHN": 2}[type(cell).__name__] * cell.hidden
    xs, credits = problem(cell, steps, seed=3)
    seeds = seeds_of_patterns(steps, 2, getattr(cell, "depth", 1), rows)
    samples = np.array([sample(cell, rtrl.KFRTRL(block=2, fresh=fresh), xs, credits, seed) for seed in seeds])
    expected = sample(cell, rtrl.RTRL(), xs, credits, 0)
    assert np.abs(samples.mean(0) - expected).max() < 1e-12 * np.abs(samples).max()
    assert np.abs(samples - expected).max() > 1e-3 * np.abs(expected).max()


def test_mean_over_random_seeds():
    """The real generator, over seeds, lanes and steps: within five standard errors of RTRL."""
    cell, lanes = rtrl.GRU(3), 64
    xs, credits = (np.repeat(each, lanes, 1) for each in problem(cell, 12))
    exact = flat(drive(cell, rtrl.RTRL(), xs, credits).gradient())
    samples = np.array([flat(drive(cell, rtrl.KFRTRL(block=4), xs, credits, seed=seed).gradient()) for seed in range(100)])
    error, scatter = np.abs(samples.mean(0) - exact), samples.std(0, ddof=1) / np.sqrt(len(samples))
    assert (error <= 5 * scatter + 1e-12).all()
    assert scatter.max() > 1e-4


@pytest.mark.parametrize("cell", [rtrl.RNN(16), rtrl.GRU(16), rtrl.LSTM(12), rtrl.RHN(16), rtrl.RHN(12, 2)], ids=repr)
def test_as_much_noise_as_with_exact_norms(cell):
    """Scatter of the gradient of a loss at the last of 30 steps around RTRL's, over lanes of the same stream and seeds."""
    xs, credits = problem(cell, 30)
    credits[:-1] = 0
    exact = flat(drive(cell, rtrl.RTRL(), xs, credits).gradient())
    scatter = [
        np.mean([np.sum((flat(drive(cell, each, xs, credits, seed=seed).gradient()) - exact) ** 2) for seed in range(200)])
        for each in (rtrl.KFRTRL(block=1), rtrl.KFRTRL(block=8))
    ]
    assert 0.6 < scatter[1] / scatter[0] < 1.5


# Threads and checkpoints


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
@pytest.mark.parametrize("estimator", [rtrl.KFRTRL(block=4), rtrl.KFRTRL(block=3, average=2, fresh=False)], ids=repr)
@pytest.mark.parametrize("cell", SIZES, ids=repr)
def test_threads(cell, estimator, lanes):
    """With a shadow, and stopping in the middle of a block."""
    for dtype in TOLERANCE:
        shadow = rtrl.KFRTRL(block=2)
        make = partial(session, cell, estimator, OPTIMIZERS["adam"], dtype=dtype, batch_size=lanes, shadow=shadow)
        assert_same_on_threads(make, *stream(11, lanes, dense=lanes != 2), reset_mask(11, lanes))


@pytest.mark.parametrize("middle", [1, 3, 4, 6])
@every_block
def test_goes_on_from_a_file(estimator, middle, tmp_path):
    """In every place of a block, closed or with a step open, on another number of threads."""
    for open_step in (False, True):
        ran = session(rtrl.RHN(5, 2), estimator, OPTIMIZERS["adam"], dtype="float32", batch_size=2)
        xs, ys = stream(15, 2, dense=open_step)
        ran.run(xs[:middle], ys[:middle], reset_mask(middle, 2))
        if open_step:
            ran.advance(xs[middle])
        assert_goes_on_from_a_file(ran, xs[middle:], ys[middle:], tmp_path / "file", threads=3)


# Guards


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
@pytest.mark.parametrize("name", ["A0", "v0", "u0"])
@every_block
def test_an_influence_that_is_not_finite(estimator, name, value):
    """Of one lane: dropped, counted, and over with the block; the other lane notices nothing."""
    options = dict(readout=None, batch_size=2, dtype="float32", influence_cap=1e30)
    hurt, well = (session(rtrl.GRU(4), estimator, **options) for _ in range(2))
    with pytest.warns(RuntimeWarning, match="influence"):
        for t, x in enumerate(stream(24, 2)[0]):
            for each in (hurt, well):
                each.advance(x)
                if t == 10:
                    each.reset(np.zeros(2, bool))
            if t == 10:
                hurt._arrays[f"estimator.{name}"].reshape(2, -1)[0, :3] = value
        for each in (hurt, well):
            each.reset(np.zeros(2, bool))
    assert hurt.health()["influence_not_finite"] + hurt.health()["influence_capped"] > 0
    G, expected = (each.influence()["cell.0.weight"] for each in (hurt, well))
    assert np.isfinite(G).all() and G[0].any()
    assert_same_bits(G[1], expected[1])


def test_a_relu_net_that_is_off():
    """A = 0 while u is not: nothing is divided by it, and the net learns on when it is on again."""
    ours = session(rtrl.RNN(4, "relu"), rtrl.KFRTRL(block=3), readout=None, batch_size=1)
    twin, rng = reference_twin(ours), np.random.default_rng(0)
    for t in range(20):
        x = rng.normal(size=(1, INPUTS)) * (0 if 6 <= t < 12 else 1)
        ours.network.parameters()["cell.0.weight"][:, -1] = -10 if 6 <= t < 12 else 0.5
        twin.weights[0][:, -1] = -10 if 6 <= t < 12 else 0.5
        ours.advance(x), twin.advance(x)
    ours.reset(np.zeros(1, bool)), twin.observe()
    assert_equal_influence(ours, twin, 1e-12)
    assert np.isfinite(flat(ours.influence())).all() and flat(ours.influence()).any()
