"""The clock of the reference: who is credited when, and who sees which W."""

from functools import partial

import numpy as np
import pytest

from rtrl import reference as ref

INPUTS, CLASSES = 2, 3
EVERY_ESTIMATOR = {
    "RTRL": ref.RTRL,
    "UORO": ref.UORO,
    "KFRTRL": ref.KFRTRL,
    "Immediate": ref.Immediate,
    "TBPTT block": partial(ref.TBPTT, 3),
    "TBPTT sliding": partial(ref.TBPTT, 3, True),
}
every_estimator = pytest.mark.parametrize("make", EVERY_ESTIMATOR.values(), ids=EVERY_ESTIMATOR.keys())


def learner(make=ref.RTRL, cell=None, readout=None, optimizer=None, lanes=2, **options):
    """A small net with the same weights at every call."""
    rng = np.random.default_rng(0)
    cell, readout = cell or ref.GRU(4), readout or ref.Softmax(CLASSES)
    masks = [cell.mask(stage, INPUTS) for stage in range(cell.stages)]
    weights = [mask * rng.normal(size=mask.shape) / 2 for mask in masks]
    readout_weights = rng.normal(size=(readout.outputs, cell.n + 1)) / 2
    return ref.Learner(cell, make, weights, readout, readout_weights, optimizer, lanes, **options)


def stream(steps, lanes=2, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, lanes, INPUTS)), rng.integers(0, CLASSES, size=(steps, lanes))


def test_learner_gradient_is_bptt_over_lanes():
    xs, ys = stream(6)
    resets = np.zeros((6, 2), dtype=bool)
    resets[3, 1] = True
    exact = learner(partial(ref.TBPTT, 6), update_every=100)
    online = learner(update_every=100)
    np.testing.assert_allclose(exact.run(xs, ys, resets), online.run(xs, ys, resets), rtol=1e-14)
    for a, b in zip(exact.gradient(), online.gradient()):
        np.testing.assert_allclose(a, b, atol=1e-14)
    assert not any(g.any() for g in online.gradient())


@pytest.mark.parametrize("update_every", [1, 3])
def test_fresh_changes_the_order_and_not_the_result_of_rtrl(update_every):
    """Updates are large here: this holds only if both observe the step with the W of its forward pass."""
    xs, ys = stream(12)
    losses = [
        learner(partial(ref.RTRL, fresh=fresh), optimizer=ref.SGD(0.3), update_every=update_every).run(xs, ys)
        for fresh in (True, False)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-12)


@pytest.mark.parametrize("fresh", [True, False])
def test_signs_are_those_of_step_and_lane(fresh):
    """Steps count from 0 since the beginning, whatever is reset."""
    seen = []

    class Spy(ref.Immediate):
        def observe(self, records, signs):
            seen.append([signs(stage, 9).tolist() for stage in range(len(records))])

    Spy.fresh = fresh
    learner(Spy, ref.RHN(3, depth=2), seed=6).run(*stream(3), resets=np.arange(3)[:, None] == [2, 1])
    assert seen == [
        [ref.random_signs(6, step, lane, stage, 9).tolist() for stage in range(2)] for step in range(3) for lane in range(2)
    ]


@every_estimator
def test_lanes_are_independent(make):
    """Without updates, a lane of a batch does what the same stream does alone in that lane."""
    xs, ys = stream(7, lanes=3)
    together = learner(make, lanes=3, seed=4)
    together.run(xs, ys)
    missing = ys.copy()
    missing[:, [0, 2]] = -1
    alone = learner(make, lanes=3, seed=4)
    alone.run(xs, missing)
    expected = alone.estimators[1].gradient()
    for a, b in zip(together.estimators[1].gradient(), expected):
        np.testing.assert_array_equal(a, b)


@every_estimator
def test_run_is_repeated_step_and_a_reset_starts_afresh(make):
    xs, ys = stream(9)
    resets = np.arange(9)[:, None] == [3, 6]
    a, b = (learner(make, optimizer=ref.Adam(0.05), seed=2) for _ in range(2))
    losses = a.run(xs, ys, resets)
    assert losses.tolist() == [b.step(*arguments) for arguments in zip(xs, ys, resets)]
    for W, V in zip(a.parameters, b.parameters):
        np.testing.assert_array_equal(W, V)
    a.reset([True, False])
    assert not a.states[0].any() and a.states[1].any()
    assert not any(G.any() for G in a.estimators[0].influence())


def test_reset_keeps_credit_and_cuts_it():
    """Two sequences in one stream, parted by a reset, have the gradient of two streams."""
    xs, ys = stream(8, lanes=1)
    resets = np.arange(8)[:, None] == 5
    for make in (ref.RTRL, partial(ref.TBPTT, 8), partial(ref.TBPTT, 8, True)):
        joined, first, second = (learner(make, lanes=1, update_every=100) for _ in range(3))
        joined.run(xs, ys, resets)
        first.run(xs[:5], ys[:5])
        second.run(xs[5:], ys[5:])
        for g, g1, g2 in zip(joined.gradient(), first.gradient(), second.gradient()):
            np.testing.assert_allclose(g, g1 + g2, atol=1e-14)


def test_gradients_asked_for_within_a_block_add_up():
    xs, ys = stream(7)
    whole, parts = (learner(partial(ref.TBPTT, 4)) for _ in range(2))
    whole.run(xs, ys)
    asked = [(parts.step(x, y), parts.gradient())[1] for x, y in zip(xs, ys)]
    for total, *pieces in zip(whole.gradient(), *asked):
        np.testing.assert_allclose(sum(pieces), total, atol=1e-14)


@every_estimator
def test_influence_is_what_credit_multiplies(make):
    ran = learner(make, ref.LSTM(3))
    ran.run(*stream(5))
    estimator, delta = ran.estimators[1], np.arange(6.0)
    for credit, G in zip(estimator.credit(delta), estimator.influence()):
        np.testing.assert_allclose(credit, np.tensordot(delta, G, 1), atol=1e-13)


def test_missing_targets():
    xs, ys = stream(1)
    full, half, none = learner(update_every=9), learner(update_every=9), learner(update_every=9)
    full_loss = full.step(xs[0], ys[0])
    half_loss = half.step(xs[0], [ys[0, 0], -1])
    other = learner(update_every=9)
    assert full_loss == pytest.approx((half_loss + other.step(xs[0], [-1, ys[0, 1]])) / 2)
    assert np.isnan(none.step(xs[0], [-1, -1]))
    for g, g1, g2, g0 in zip(full.gradient(), half.gradient(), other.gradient(), none.gradient()):
        np.testing.assert_allclose(g, g1 + g2, atol=1e-15)
        assert not g0.any()


def test_updates_are_due_at_multiples():
    xs, ys = stream(7)
    seen = []
    learner(partial(ref.TBPTT, 3), optimizer=ref.SGD(lambda step: seen.append(step) or 0.1)).run(xs, ys)
    assert seen == [2, 5]
    seen.clear()
    learner(partial(ref.TBPTT, 3, True), optimizer=ref.SGD(lambda step: seen.append(step) or 0.1)).run(xs, ys)
    assert seen == list(range(7))


def test_ids_are_one_hot_and_masked_weights_stay_zero():
    ids, ys = np.random.default_rng(3).integers(0, INPUTS, size=(6, 2)), stream(6)[1]
    a, b = (learner(ref.KFRTRL, optimizer=ref.SGD(0.5, 0.9, weight_decay=0.1)) for _ in range(2))
    assert a.run(ids, ys).tolist() == b.run(np.eye(INPUTS)[ids], ys).tolist()
    assert not a.weights[0][~a.masks[0]].any()
    with pytest.raises(ValueError, match="weights"):
        ref.Learner(a.cell, ref.RTRL, [np.ones_like(a.weights[0])])


def test_step_is_advance_feedback_gradient_apply():
    xs, ys = stream(5)
    whole, parts = (learner(ref.UORO, optimizer=ref.SGD(0.2), seed=5) for _ in range(2))
    losses = []
    for x, y in zip(xs, ys):
        parts.advance(x)
        losses.append(parts.score(y))
        parts.apply(parts.gradient())
    assert whole.run(xs, ys).tolist() == losses
