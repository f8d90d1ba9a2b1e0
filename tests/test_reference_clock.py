"""Signs, readouts and the clock of the reference: who is credited when, and who sees which W."""

import ast
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rtrl import reference as ref
from rtrl.reference.signs import GOLDEN, mix

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


def test_reference_imports_numpy_and_the_standard_library_only():
    for path in Path(ref.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= {"numpy"}, path.name
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or node.module in {"numpy.linalg", "math", "dataclasses"}, path.name


# Signs


def test_signs_are_those_of_the_specification():
    """Words computed by a C program for seed -7, step 5, lane 3, stage 1; and the first output of SplitMix64."""
    assert mix(GOLDEN) == 0xE220A8397B1DCDAF
    words = [0x29CED7CE904E9688, 0xAC2E9A346A0E19EE]
    expected = [1 if word >> i & 1 else -1 for word in words for i in range(64)]
    assert ref.random_signs(-7, 5, 3, 1, 100).tolist() == expected[:100]


def test_signs_are_a_function_of_every_argument():
    base = ref.random_signs(7, 5, 3, 1, 200)
    assert base.dtype == np.int8 and set(base) == {-1, 1}
    np.testing.assert_array_equal(base[:70], ref.random_signs(7, 5, 3, 1, 70))
    np.testing.assert_array_equal(base, ref.random_signs(7 + 2**64, 5, 3, 1, 200))
    for other in [(8, 5, 3, 1), (7, 6, 3, 1), (7, 5, 4, 1), (7, 5, 3, 0), (7, 3, 5, 1)]:
        assert (base != ref.random_signs(*other, 200)).any()


def test_signs_are_fair_and_independent():
    """Means and correlations of neighbours in every argument stay within 5 standard errors."""
    table = np.array(
        [
            [[[ref.random_signs(seed, step, lane, stage, 70) for stage in range(2)] for lane in range(3)] for step in range(30)]
            for seed in range(4)
        ],
        dtype=float,
    )
    assert abs(table.mean()) < 5 / np.sqrt(table.size)
    for axis in range(table.ndim):
        first = np.take(table, range(table.shape[axis] - 1), axis)
        second = np.take(table, range(1, table.shape[axis]), axis)
        assert abs((first * second).mean()) < 5 / np.sqrt(first.size)


# Readouts


@pytest.mark.parametrize(
    "readout, target, expected",
    [
        (ref.Softmax(3), 1, lambda y: np.log(np.exp(y).sum()) - y[1]),
        (ref.Softmax(3), -1, lambda y: 0.0),
        (ref.Linear(3), np.array([0.3, np.nan, -2.0]), lambda y: 0.5 * ((y[0] - 0.3) ** 2 + (y[2] + 2.0) ** 2)),
        (
            ref.Bernoulli(3),
            np.array([1.0, 0.0, np.nan]),
            lambda y: -np.log(1 / (1 + np.exp(-y[0]))) - np.log(1 / (1 + np.exp(y[1]))),
        ),
    ],
)
def test_readout_against_complex_step(readout, target, expected):
    rng, step = np.random.default_rng(2), 1e-30
    weights, h = rng.normal(size=(3, 5)), rng.normal(size=4)
    loss, delta, gradient = readout.loss_and_delta(weights, h, target)
    assert loss == pytest.approx(expected(weights @ np.append(h, 1)), rel=1e-14)

    def total(arrays):
        return np.complex128(expected(arrays[0] @ np.append(arrays[1], 1)))

    by_weights, by_h = ref.complex_step_gradient(total, [weights, h], step)
    np.testing.assert_allclose(gradient, by_weights, atol=1e-14)
    np.testing.assert_allclose(delta, by_h, atol=1e-14)


def test_readouts_survive_large_outputs():
    weights = np.array([[1e4, 0], [-1e4, 0]])
    assert ref.Softmax(2).loss_and_delta(weights, np.ones(1), 1)[0] == 2e4
    assert ref.Bernoulli(2).loss_and_delta(weights, np.ones(1), np.array([0.0, 0.0]))[0] == 1e4


# The clock


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
