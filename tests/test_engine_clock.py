"""What belongs to which step and lane: the four calls of a step, missing targets, resets, lanes."""

import numpy as np
import pytest
from common import (
    ESTIMATORS,
    INPUTS,
    OPTIMIZERS,
    READOUTS,
    assert_same_bits,
    assert_same_session,
    distance,
    flat,
    reset_mask,
    session,
    stream,
)
from drivers import both_widths, every_cell, every_estimator, every_readout

import rtrl

LEARNED = {rtrl.KeRNL: dict(lr=0.0, kernel_lr=0.0), rtrl.DNI: dict(lr=0.0)}  # what a reset keeps is learned at these rates
DETERMINISTIC = {name: spec for name, spec in ESTIMATORS.items() if spec.kind != "unbiased"}


# A step is four calls


@both_widths
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@every_estimator
def test_step_is_four_calls_bit_for_bit(estimator, optimizer, dtype):
    """With h itself as the output the credit h - y has one rounding only, so NumPy gives it to the last bit."""
    optimizer, units = optimizer.replace(clip_norm=None), 5
    whole, parts = (
        session(rtrl.RHN(units, 2), estimator, optimizer, readout=rtrl.Linear(units), dtype=dtype, batch_size=3, update_every=1)
        for _ in range(2)
    )
    xs, ys = stream(12, 3, rtrl.Linear(units), missing=0)
    ys = ys.astype(dtype)
    for x, y in zip(xs, ys):
        for each in (whole, parts):
            each.network.parameters()["readout.weight"][...] = np.eye(units, units + 1)
        whole.step(x, y)
        parts.feedback(parts.advance(x) - y)
        parts.apply(parts.gradient())
        for name in ("cell.0.weight", "cell.1.weight"):
            assert_same_bits(whole.network.parameters()[name], parts.network.parameters()[name])
        assert_same_bits(whole.hidden, parts.hidden)
    assert_same_bits(whole.influence(), parts.influence())


@every_estimator
@every_cell
def test_step_is_four_calls_for_any_readout(cell, estimator):
    """The readout worked out by hand, its gradient included: equal to rounding."""
    readout, lanes = READOUTS["softmax"], 3
    whole, parts = (session(cell, estimator, OPTIMIZERS["adam"], batch_size=lanes, update_every=1) for _ in range(2))
    xs, ys = stream(10, lanes, readout)
    for x, y in zip(xs, ys):
        whole.step(x, y)
        V = parts.network.parameters()["readout.weight"].copy()
        extended = np.hstack([parts.advance(x), np.ones((lanes, 1))])
        error = np.exp(extended @ V.T)
        error /= error.sum(1, keepdims=True)
        error[np.arange(lanes), y] -= 1
        error[y == -1] = 0
        parts.feedback(error @ V[:, :-1])
        gradient = parts.gradient()
        assert not gradient["readout.weight"].any()
        gradient["readout.weight"] = error.T @ extended / lanes
        parts.apply(gradient)
    assert distance(parts.network.parameters(), whole.network.parameters()) < 1e-11


@every_estimator
def test_credit_adds_up_and_is_cleared(estimator):
    """Feedback is linear; gradient() clears; what was never credited has no gradient."""
    rng, lanes = np.random.default_rng(0), 2
    xs, credits = rng.normal(size=(7, lanes, INPUTS)), rng.normal(size=(7, lanes, 4))
    once, twice, never = (session(rtrl.GRU(4), estimator, readout=None, batch_size=lanes) for _ in range(3))
    for x, credit in zip(xs, credits):
        for each in (once, twice, never):
            each.advance(x)
        once.feedback(credit)
        twice.feedback(3 * credit)
        twice.feedback(-2 * credit)
    assert not flat(never.gradient()).any()
    first = once.gradient()
    assert flat(first).any() and distance(first, twice.gradient()) < 1e-12
    assert not flat(once.gradient()).any()


def test_apply_leaves_what_was_not_asked_for():
    """Documented: credit that `gradient` was not asked for stays through `apply`."""
    for estimator in ESTIMATORS.values():
        ran, twin = (session(rtrl.GRU(4), estimator, rtrl.SGD(0.0), readout=None) for _ in range(2))
        for credit in np.ones((3, 1, 4)):
            for each in (ran, twin):
                each.advance(np.ones(INPUTS))
                each.feedback(credit)
        ran.apply({name: np.ones_like(view) for name, view in ran.network.parameters().items()})
        assert_same_bits(ran.gradient(), twin.gradient())


# Missing targets


@every_readout
@every_estimator
def test_missing_targets(estimator, readout):
    """A lane without a target adds nothing; the loss is the mean over the others; the gradient is still over B."""
    xs, ys = stream(6, 2, readout, missing=0)
    masks = {"both": [False, False], "first": [False, True], "second": [True, False], "none": [True, True]}
    losses, gradients = {}, {}
    for name, hidden in masks.items():
        ran = session(rtrl.LSTM(4), estimator, readout=readout, batch_size=2)
        seen = ys.copy()
        seen[:, hidden] = -1 if isinstance(readout, rtrl.Softmax) else np.nan
        losses[name] = ran.run(xs, seen)
        gradients[name] = flat(ran.gradient())
    np.testing.assert_allclose(losses["both"], (losses["first"] + losses["second"]) / 2, rtol=1e-13)
    assert np.isnan(losses["none"]).all() and not gradients["none"].any()
    assert distance([gradients["first"] + gradients["second"]], [gradients["both"]]) < 1e-12


@pytest.mark.parametrize("readout", [READOUTS["linear"], READOUTS["bernoulli"]], ids=["linear", "bernoulli"])
def test_single_missing_outputs(readout):
    """NaN in some outputs only: their weights get no gradient, the others are scored."""
    ran = session(rtrl.RNN(5), rtrl.RTRL(), readout=readout)
    loss = ran.run(np.ones((3, 1, INPUTS)), np.tile([0.5, np.nan, 1.0, np.nan], (3, 1, 1)))
    gradient = ran.gradient()["readout.weight"]
    assert np.isfinite(loss).all() and gradient[[0, 2]].any(1).all() and not gradient[[1, 3]].any()


# Resets and lanes


@every_estimator
@every_cell
def test_a_reset_lane_has_no_past(cell, estimator):
    """Two sessions with different pasts: the lanes that were reset go on alike, bit for bit, and only those."""
    estimator = estimator.replace(**LEARNED.get(type(estimator), {}))
    a, b = (session(cell, estimator, readout=None, batch_size=3) for _ in range(2))
    rng = np.random.default_rng(0)
    for _ in range(5):
        for each in (a, b):
            each.advance(rng.normal(size=(3, INPUTS)))
    for each in (a, b):
        each.reset(np.array([True, False, True]))
        assert not each.hidden[[0, 2]].any() and each.hidden[1].any()
    for x in rng.normal(size=(6, 3, INPUTS)):
        for each in (a, b):
            each.advance(x)
    for lane, same in enumerate([True, False, True]):
        for G, F in zip(a.influence().values(), b.influence().values()):
            assert np.array_equal(G[lane], F[lane]) is same or isinstance(estimator, rtrl.Immediate)
        assert np.array_equal(a.hidden[lane], b.hidden[lane]) is same


@pytest.mark.parametrize("estimator", DETERMINISTIC.values(), ids=DETERMINISTIC)
@every_cell
def test_a_reset_session_is_a_fresh_one(cell, estimator):
    """Without signs the step number does not matter (but for where the blocks of TBPTT begin)."""
    estimator = estimator.replace(**LEARNED.get(type(estimator), {}))
    used, fresh = (session(cell, estimator, rtrl.SGD(0.0), batch_size=2) for _ in range(2))
    xs, ys = stream(8, 2)
    used.run(xs, ys)
    used.gradient()
    used.reset()
    assert_same_bits(used.run(xs[::-1], ys[::-1]), fresh.run(xs[::-1], ys[::-1]))
    assert_same_bits(used.gradient(), fresh.gradient())
    assert_same_bits(used.influence(), fresh.influence())


@every_estimator
def test_resets_of_run_are_resets_before_steps(estimator):
    together, stepwise = (session(rtrl.GRU(4), estimator, rtrl.SGD(0.1), batch_size=3) for _ in range(2))
    (xs, ys), resets = stream(15, 3), reset_mask(15, 3, rate=0.3)
    losses = together.run(xs, ys, resets)
    for t in range(15):
        stepwise.reset(resets[t])
        assert stepwise.step(xs[t], ys[t]) == losses[t] or np.isnan(losses[t])
    assert_same_session(together, stepwise)


@every_estimator
def test_reset_ends_a_step_on_the_matrix_unit_too(estimator):
    """What `reset` computes of a step that `advance` has left open needs the unit's registers as much as `run` does."""
    estimator = estimator.replace(**LEARNED.get(type(estimator), {}))
    ran, advanced = (session(rtrl.RNN(128), estimator, rtrl.SGD(0.0), dtype="float32", batch_size=2) for _ in range(2))
    (xs, ys), resets = stream(9, 2), reset_mask(9, 2, rate=0.3)
    ran.run(xs, ys, resets)
    for x, mask in zip(xs, resets):
        advanced.reset(mask)
        advanced.advance(x)
    advanced.reset(np.zeros(2, bool))
    assert_same_bits(ran.influence(), advanced.influence())


@every_estimator
@every_cell
def test_lanes_do_not_touch_each_other(cell, estimator):
    """Lane 1 is the same whatever its neighbours get; lane 0 of a batch is a batch of its own."""
    rng = np.random.default_rng(0)
    xs, others = rng.normal(size=(2, 7, 3, INPUTS))
    a, b = (session(cell, estimator, readout=None, batch_size=3) for _ in range(2))
    single = session(cell, estimator, readout=None)
    for x, other in zip(xs, others):
        a.advance(x)
        other[1] = x[1]
        b.advance(other)
        single.advance(x[:1])
    assert_same_bits(a.hidden[1], b.hidden[1])
    assert_same_bits({name: G[1] for name, G in a.influence().items()}, {name: G[1] for name, G in b.influence().items()})
    assert distance({name: G[:1] for name, G in a.influence().items()}, single.influence()) < 1e-13
