"""The Kalman optimizer of the engine equals the reference; resume, threads, allocation, what it refuses."""

import itertools
from functools import partial

import numpy as np
import pytest
from common import assert_same_bits, assert_same_session, distance, reference_twin, reset_mask, session, stream
from drivers import (
    LANES,
    STEPS,
    TOLERANCE,
    assert_equal_runs,
    assert_same_on_threads,
    both_widths,
    dense_or_ids,
    every_cell,
    every_readout,
)

import rtrl

FILTERS = {
    f"{metric} {fisher}": rtrl.Kalman(0.05, metric, fisher, 0.05, 0.02, warm_up=3)
    for metric, fisher in itertools.product(("diagonal", "quasi-diagonal"), ("outer", "exact"))
}
every_filter = pytest.mark.parametrize("optimizer", FILTERS.values(), ids=FILTERS)


def metric_of(ours, name):
    """Arrays of the optimizer by parameter, like those of the reference."""
    return [ours.network._layout.view(ours._arrays[f"optimizer.{name}"], each) for each in ours.network.parameters()]


def assert_equal_filters(ours, xs, ys, resets=None):
    """Runs, and the metric after them."""
    twin, tolerance = assert_equal_runs(ours, xs, ys, resets), TOLERANCE[ours.network.dtype.name]
    for name in ["J", "inverse"] + ["J_bias", "slope"] * (ours.optimizer.metric == "quasi-diagonal"):
        expected = [getattr(metric, name) for metric in twin.optimizer.metrics]
        assert distance(metric_of(ours, name), expected) < 20 * tolerance


@both_widths
@dense_or_ids
@every_filter
@every_cell
def test_training_run(cell, optimizer, dense, dtype):
    ours = session(cell, rtrl.KFRTRL(), optimizer, dtype=dtype, batch_size=LANES)
    before = {name: view.copy() for name, view in ours.network.parameters().items()}
    assert_equal_filters(ours, *stream(STEPS, LANES, dense=dense), reset_mask(STEPS, LANES))
    assert distance(before, ours.network.parameters()) > 0.01


@every_filter
@every_readout
@pytest.mark.parametrize(
    "estimator",
    [
        rtrl.RTRL(),
        rtrl.UORO(fresh=False),
        rtrl.Immediate(),
        rtrl.TBPTT(4),
        rtrl.TBPTT(3, sliding=True),
        rtrl.SnAp(),
        rtrl.RFLO(random_feedback=True),
        rtrl.BlockOK(2, 3),
    ],
    ids=repr,
)
def test_readouts_and_estimators(estimator, readout, optimizer):
    ours = session(rtrl.LSTM(4), estimator, optimizer, readout=readout, batch_size=LANES)
    assert_equal_filters(ours, *stream(60, LANES, readout), reset_mask(60, LANES))


@pytest.mark.parametrize(
    "changes", [{"clip_norm": 0.05}, {"trust": None}, {"trust": 1e-3}, {"floor": 0.0}, {"decay": 1.0}, {"warm_up": 0}], ids=str
)
@every_filter
def test_options(optimizer, changes):
    ours = session(rtrl.GRU(4), rtrl.UORO(), optimizer.replace(**changes), batch_size=LANES)
    assert_equal_filters(ours, *stream(STEPS, LANES, dense=False, missing=0.7))


@every_filter
def test_updates_of_several_steps(optimizer):
    ours = session(rtrl.RHN(4, 2), rtrl.KFRTRL(), optimizer, batch_size=LANES, update_every=4)
    assert_equal_filters(ours, *stream(STEPS, LANES))


@every_filter
def test_low_level_calls(optimizer):
    """Gradients that are handed to `apply` have no factors: they count with their outer product."""
    ours = session(rtrl.RNN(5), rtrl.UORO(), optimizer.replace(warm_up=1), batch_size=LANES)
    twin, rng, (xs, _) = reference_twin(ours), np.random.default_rng(0), stream(9, LANES)
    for x in xs:
        np.testing.assert_allclose(ours.advance(x), twin.advance(x), rtol=0, atol=1e-12)
        credit = rng.normal(size=(LANES, 5))
        ours.feedback(credit)
        twin.feedback(credit)
        ours.apply(ours.gradient())
        twin.apply(twin.gradient())
    assert distance(ours.network.parameters(), twin.parameters) < 1e-12


@every_filter
def test_a_stream_without_targets_changes_nothing(optimizer):
    ours = session(rtrl.RNN(5), rtrl.UORO(), optimizer, batch_size=LANES)
    xs, ys = stream(STEPS, LANES)
    ours.run(xs, ys)
    before = {name: ours._arrays[name].copy() for name in ours._arrays if name.startswith("optimizer.")}
    weights = {name: view.copy() for name, view in ours.network.parameters().items()}
    ours.run(xs, np.full_like(ys, -1))
    assert_same_bits(before, {name: ours._arrays[name] for name in before})
    assert_same_bits(weights, ours.network.parameters())


@both_widths
@pytest.mark.parametrize("lanes", [1, 3])
@every_filter
def test_threads(optimizer, lanes, dtype):
    make = partial(session, rtrl.GRU(17), rtrl.UORO(), optimizer, dtype=dtype, batch_size=lanes)
    assert_same_on_threads(make, *stream(12, lanes))


@every_filter
def test_resume(optimizer, tmp_path):
    """In the middle of a warm-up, and between updates, where factors of the Fisher information wait."""
    for steps, every in ((2, 1), (11, 1), (11, 4)):
        xs, ys = stream(STEPS, LANES)
        whole, first = (session(rtrl.LSTM(4), rtrl.KFRTRL(), optimizer, batch_size=LANES, update_every=every) for _ in range(2))
        whole.run(xs, ys)
        first.run(xs[:steps], ys[:steps])
        first.save(tmp_path / "half")
        second = rtrl.Session.load(tmp_path / "half", threads=1)
        second.run(xs[steps:], ys[steps:])
        assert_same_session(whole, second)


def test_shadows_do_not_see_the_factors():
    """The exact information is credited to the session's own estimator alone."""
    ours = session(rtrl.RHN(5), rtrl.RTRL(), FILTERS["diagonal exact"], batch_size=LANES, shadow=rtrl.RTRL())
    ours.run(*stream(STEPS, LANES, missing=0))
    np.testing.assert_allclose(ours.shadows[0].cosines, 1, rtol=1e-12)
    np.testing.assert_allclose(ours.shadows[0].relative_errors, 0, atol=1e-12)


def test_bytes():
    """Two or four arrays like the weights, and the factors that wait."""
    arrays = {name: session(rtrl.RNN(5), rtrl.UORO(), each).nbytes["optimizer"] for name, each in FILTERS.items()}
    flat = session(rtrl.RNN(5), rtrl.UORO(), rtrl.SGD(0.1)).network._flat.nbytes
    expected = {"diagonal outer": 2, "diagonal exact": 3, "quasi-diagonal outer": 4, "quasi-diagonal exact": 6}
    assert {name: size // flat for name, size in arrays.items()} == expected


def test_a_huge_gradient_leaves_a_usable_metric():
    ours = session(rtrl.RNN(5), rtrl.Immediate(), FILTERS["quasi-diagonal outer"], dtype="float32", readout=None)
    ours.advance(np.zeros((1, 3)))
    for size in (1e25, 1e-30, 1.0):
        ours.apply({name: np.full(view.shape, size) for name, view in ours.network.parameters().items()})
        for name in ("J", "J_bias", "inverse", "slope"):
            assert np.isfinite(ours._arrays[f"optimizer.{name}"]).all()
    assert all(np.isfinite(view).all() for view in ours.network.parameters().values())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"lr": -1.0}, ValueError),
        ({"lr": "fast"}, TypeError),
        ({"metric": "full"}, ValueError),
        ({"fisher": "x"}, ValueError),
        ({"decay": 0.0}, ValueError),
        ({"decay": 1.5}, ValueError),
        ({"prior": 0.0}, ValueError),
        ({"prior": 1e-31}, ValueError),
        ({"prior": None}, TypeError),
        ({"floor": 1.0}, ValueError),
        ({"floor": -0.1}, ValueError),
        ({"trust": 0.0}, ValueError),
        ({"warm_up": -1}, ValueError),
        ({"warm_up": 2.5}, TypeError),
        ({"clip_norm": 0.0}, ValueError),
    ],
    ids=str,
)
def test_bad_options(options, error):
    with pytest.raises(error, match=next(iter(options))):
        rtrl.Kalman(**{"lr": 0.1, **options})


def test_exact_needs_a_readout():
    with pytest.raises(ValueError, match="readout"):
        session(rtrl.RNN(5), rtrl.UORO(), FILTERS["diagonal exact"], readout=None)
