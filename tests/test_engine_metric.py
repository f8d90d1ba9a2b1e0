"""NoBackTrack in the metric of the Kalman optimizer, compiled: equal to the reference, and invariant."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from common import CELLS, assert_same_session, flat, network, reset_mask, session, stream
from drivers import (
    LANES,
    STEPS,
    assert_equal_influence,
    assert_equal_on_wide_nets,
    assert_equal_training,
    assert_same_on_threads,
    both_widths,
    dense_or_ids,
    every_cell,
    fresh_or_not,
    wide_cells,
)

import rtrl

TOLERANCE = {"float64": 1e-11, "float32": 1e-3}
FILTER = rtrl.Kalman(0.05, "quasi-diagonal", decay=0.05, prior=0.02, warm_up=3)
STATES = ["propagated", "local", "literal"]
every_state = pytest.mark.parametrize("state", STATES)


def in_metric(state="propagated", fresh=True):
    return rtrl.NoBackTrack("kalman", state, fresh=fresh)


@both_widths
@dense_or_ids
@fresh_or_not
@every_state
@every_cell
def test_equals_the_reference(cell, state, fresh, dense, dtype):
    """Sign for sign, with resets and missing targets, while the metric moves."""
    ours = session(cell, in_metric(state, fresh), FILTER, dtype=dtype, batch_size=LANES)
    twin, (xs, _) = assert_equal_training(ours, dense, TOLERANCE[dtype]), stream(STEPS, LANES, dense=dense)
    assert np.isnan(ours.step(xs[0], np.full(LANES, -1))) and np.isnan(twin.step(xs[0], np.full(LANES, -1)))
    assert_equal_influence(ours, twin, 3 * TOLERANCE[dtype])


@pytest.mark.parametrize("metric", ["diagonal", "quasi-diagonal"])
@wide_cells
def test_sizes_around_the_vector_width(cell, metric):
    assert_equal_on_wide_nets(cell, in_metric(), rtrl.Kalman(0.01, metric, warm_up=2), 1e-11)


@both_widths
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("cell", [rtrl.GRU(17), rtrl.LSTM(33), rtrl.RHN(18, 2)], ids=repr)
@every_state
def test_threads(state, cell, lanes, dtype):
    make = partial(session, cell, in_metric(state), FILTER, dtype=dtype, batch_size=lanes)
    alone, *others = assert_same_on_threads(make, *stream(12, lanes), reset_mask(12, lanes))
    for other in others:
        assert_same_session(alone, other)


@every_state
def test_resume(state, tmp_path):
    xs, ys = stream(STEPS, LANES)
    whole, first = (session(rtrl.RHN(4, 3), in_metric(state), FILTER, batch_size=LANES) for _ in range(2))
    whole.run(xs, ys)
    first.run(xs[:9], ys[:9])
    first.save(tmp_path / "half")
    second = rtrl.Session.load(tmp_path / "half", threads=1)
    assert second.estimator == whole.estimator and second.optimizer == whole.optimizer
    for x, y in zip(xs[9:], ys[9:]):
        second.step(x, y)
    assert_same_session(whole, second)


def test_a_shadow_reads_the_metric_too():
    """On the same stream with the same signs it is the same."""
    ours = session(rtrl.GRU(5), in_metric(), FILTER, batch_size=LANES, shadow=in_metric())
    ours.run(*stream(STEPS, LANES, missing=0))
    np.testing.assert_array_equal(ours.shadows[0].cosines, 1)


def test_needs_the_metric_of_an_optimizer():
    for optimizer in (rtrl.Adam(1e-3), None):
        with pytest.raises(ValueError, match="Kalman"):
            session(rtrl.RNN(5), in_metric(), optimizer)
    plain = session(rtrl.RNN(5), rtrl.NoBackTrack(), rtrl.Adam(1e-3))
    with pytest.raises(ValueError, match="Kalman"):
        plain.shadow(in_metric())
    plain.run(*stream(3, 1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"metric": "fisher"}, ValueError),
        ({"metric": None}, ValueError),
        ({"state": "exact"}, ValueError),
        ({"eps": 0.0}, ValueError),
        ({"eps": "small"}, TypeError),
        ({"fresh": 1}, TypeError),
    ],
    ids=str,
)
def test_bad_options(options, error):
    with pytest.raises(error, match=next(iter(options))):
        rtrl.NoBackTrack(**options)


# Guards


@both_widths
@every_state
def test_an_expanding_net_is_capped_and_counted(state, dtype):
    """Nothing learns (the rate is 0), the state moves on a cycle of large weights, and H has a norm far above 1."""
    ours = session(rtrl.RNN(5, "relu"), in_metric(state), rtrl.Kalman(0.0), dtype=dtype, influence_cap=1e3)
    ours.network.parameters()["cell.0.weight"][:, :5] = np.eye(5) * 1.2
    with pytest.warns(RuntimeWarning):
        ours.run(np.full((200, 1, 3), 0.1), np.zeros((200, 1), int))
    assert ours.health()["influence_capped"] > 10 and ours.health()["influence_not_finite"] == 0
    assert np.isfinite(flat(ours.influence())).all()
    ours.reset()
    assert not flat(ours.influence()).any()
    if state == "propagated":
        assert not ours._arrays["estimator.P0"].any()


@both_widths
def test_what_is_not_finite_is_dropped_and_counted(dtype):
    ours = session(rtrl.LSTM(4), in_metric(), FILTER, dtype=dtype, batch_size=2)
    xs, ys = stream(12, 2)
    ours.run(xs, ys)
    ours._arrays["estimator.w0"][3] = np.inf
    ours._arrays["estimator.squares0"][0] = np.inf
    ours._arrays["estimator.P0"][1] = np.inf
    with pytest.warns(RuntimeWarning):
        ours.run(xs, np.full((12, 2), -1))
    assert ours.health()["influence_not_finite"] == 1
    assert np.isfinite(flat(ours.influence())).all()


def test_no_allocation_in_a_run():
    ours = session(rtrl.GRU(17), in_metric(), FILTER, batch_size=2)
    xs, ys = stream(400, 2)
    ours.run(xs, ys)
    blocks = ours.nbytes
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    ours.run(xs, ys)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20000 and ours.nbytes == blocks


# Invariance


def settled(net, optimizer, J, J_bias, estimator):
    """A session whose filter has seen much: with a metric of its own, beside which the tiny prior is nothing."""
    ours = rtrl.Session(net, estimator, optimizer, seed=4, batch_size=2, threads=1)
    a, b, quasi = ours._arrays, {}, optimizer.metric == "quasi-diagonal"
    a["optimizer.seen"][0] = 1000
    for name in net.parameters():
        kept = ["J", "inverse"] + ["J_bias", "slope"] * quasi
        views = {each: net._layout.view(a[f"optimizer.{each}"], name) for each in kept}
        views["J"][...] = J[name]
        b[name] = J_bias[name] / J[name][:, -1:] if quasi else 0 * J[name]
        views["inverse"][...] = np.where(J[name] > 0, 1 / np.where(J[name] > 0, J[name] - b[name] * J_bias[name], 1), 0)
        views["inverse"][:, -1] = 1 / J[name][:, -1]
        if quasi:
            views["J_bias"][...], views["slope"][...] = J_bias[name], b[name]
            views["slope"][:, -1] = 0
    return ours


def losses(cell, metric, kind, reduction="kalman", seed=2, state="propagated", fisher="outer"):
    """150 losses of a net, or of the same net with inputs (and relu units) in other coordinates."""
    n, rng = cell.hidden, np.random.default_rng(seed)
    net = network(cell)
    scale, shift = np.ones(n + 4), np.zeros(n + 4)
    if kind == "units":
        scale[:n] = rng.uniform(0.3, 3, n)
    if kind in ("inputs", "shifted"):
        scale[n : n + 3] = rng.uniform(0.3, 3, 3)
    if kind == "shifted":
        shift[n : n + 3] = rng.normal(size=3)
    J, J_bias = {}, {}
    for name, W in net.parameters().items():
        column, offset = (scale, shift) if name == "cell.0.weight" else (np.append(scale[:n], 1.0), np.zeros(n + 1))
        row = np.resize(scale[:n], len(W)) if name == "cell.0.weight" else np.ones(len(W))
        # Row factors: z of a relu unit is scaled with it, the gradient by its weights the other way.
        beta = 0.01 / row[:, None] ** 2
        exists = 1 if net._holes is None or name != "cell.0.weight" else net._layout.view(net._holes, name)
        J[name], J_bias[name] = exists * beta * (column**2 + offset**2), exists * beta * offset
        W[...] = row[:, None] * W / column
        W[:, -1] -= (W * offset).sum(axis=1)
    # Faster, a deep RHN is chaotic: one rounding of one weight then moves its losses by 0.1.
    optimizer = rtrl.Kalman(0.005, metric, fisher, decay=0.02, prior=1e-30, floor=0.0, warm_up=0)
    ours = settled(net, optimizer, J, J_bias, rtrl.NoBackTrack(reduction, state))
    data = np.random.default_rng(0)
    xs = scale[n : n + 3] * data.normal(size=(150, 2, 3)) + shift[n : n + 3]
    return ours.run(xs, data.integers(0, 4, (150, 2)))


@pytest.mark.parametrize("metric", ["diagonal", "quasi-diagonal"])
@pytest.mark.parametrize(("cell", "kind"), [("rnn relu leak", "units"), *((name, "inputs") for name in CELLS)])
def test_rescaling_changes_nothing(cell, kind, metric):
    plain = losses(CELLS[cell], metric, "plain")
    assert np.isfinite(plain).all()
    assert np.abs(losses(CELLS[cell], metric, kind) - plain).max() < 1e-11
    assert np.abs(losses(CELLS[cell], metric, kind, "euclidean") - losses(CELLS[cell], metric, "plain", "euclidean")).max() > 1e-4


@pytest.mark.parametrize("cell", CELLS)
def test_shifting_the_inputs_changes_nothing(cell):
    """In the quasi-diagonal metric; the diagonal one knows where 0 is."""
    difference = {
        metric: np.abs(losses(CELLS[cell], metric, "shifted") - losses(CELLS[cell], metric, "plain")).max()
        for metric in ("diagonal", "quasi-diagonal")
    }
    assert difference["quasi-diagonal"] < 1e-11 and difference["diagonal"] > 1e-3


@pytest.mark.parametrize("fisher", ["outer", "exact"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("cell", "kind", "metric"),
    [
        ("rnn relu leak", "units", "diagonal"),
        ("rnn relu leak", "units", "quasi-diagonal"),
        ("lstm", "inputs", "diagonal"),
        ("gru", "shifted", "quasi-diagonal"),
        ("rhn 3", "shifted", "quasi-diagonal"),
    ],
)
def test_invariance_of_every_kind_of_filter(cell, kind, metric, state, fisher):
    options = {"state": state, "fisher": fisher}
    plain = losses(CELLS[cell], metric, "plain", **options)
    assert np.abs(losses(CELLS[cell], metric, kind, **options) - plain).max() < 1e-10


@pytest.mark.parametrize("gate", [10.0, 17.0, 25.0])
@pytest.mark.parametrize("state", ["propagated", "local", "literal"])
def test_saturated_gates_do_not_let_the_noise_explode(state, gate):
    """Two of four units keep what they have while their newest term vanishes.  With the newest term alone as the metric of the
    state, the median error of the gradient afterwards was 41, 1,178 and 55,524 at these gates."""
    errors = []
    for seed in range(20):
        network = rtrl.Network(rtrl.GRU(4), 2, rtrl.Softmax(3), dtype="float64", seed=3)
        W = network.parameters()["cell.0.weight"]
        W[:, 5], W[4:6, 5] = 0, 1  # the second input drives the gates Z of two units
        ran = rtrl.Session(network, rtrl.NoBackTrack("kalman", state), rtrl.Kalman(0.0), seed=seed, threads=1, shadow=rtrl.RTRL())
        xs = 0.5 * np.random.default_rng(0).normal(size=(12, 2))
        xs[8, 1] += gate
        ran.run(xs[:9], np.arange(9) % 3)
        ran.run(xs[9:], np.arange(9, 12) % 3)
        errors.append(ran.shadows[0].relative_errors)
    assert np.median(errors, 0).max() < 8
