"""The guards: whatever overflows is stopped, counted and told, lane by lane; never a silent NaN."""

import warnings

import numpy as np
import pytest
from common import (
    ESTIMATORS,
    INPUTS,
    NO_TROUBLE,
    assert_same_bits,
    flat,
    growing,
    session,
    stream,
    troubles,
)
from drivers import every_estimator, every_readout

import rtrl


def test_counts_of_a_healthy_run():
    ran = session(rtrl.GRU(4), rtrl.TBPTT(4), rtrl.SGD(0.1), batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ran.run(*stream(23, 2))
    assert ran.health() == {"steps": 23, "updates": 5, **NO_TROUBLE}


@every_estimator
def test_a_state_that_overflows(estimator):
    """The lane starts afresh, its step counts for nothing; how often is what float32 in NumPy says."""
    steps, state, expected = 400, np.zeros(3, np.float32), []
    for t in range(steps):
        with np.errstate(over="ignore"):
            state = np.float32(2) * state + np.float32(INPUTS + 1)
        expected.append(not np.isfinite(np.linalg.norm(state.astype(float))))
        state = np.zeros(3, np.float32) if expected[-1] else state
    ran = growing(estimator, rtrl.SGD(0.0))
    with pytest.warns(RuntimeWarning, match=r"session\.health") as heard:
        losses = ran.run(np.ones((steps, 1, INPUTS)), np.zeros((steps, 1, 2)))
    assert [each.filename for each in heard] == [__file__]  # it points at the caller
    assert np.isnan(losses).tolist() == expected
    assert ran.health()["state_not_finite"] == sum(expected) == 3
    assert np.isfinite(ran.hidden).all() and np.isfinite(flat(ran.influence())).all() and np.isfinite(flat(ran.gradient())).all()


@every_estimator
def test_learning_through_an_explosion(estimator):
    """A growing net, whatever it learns: weights, state and influence stay finite, and every odd loss is accounted for."""
    ran = growing(estimator, rtrl.SGD(1e-3), factor=10.0, lanes=2)
    growth = ran.network.parameters()["cell.0.weight"].copy()
    rng = np.random.default_rng(0)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(20):
            ran.network.parameters()["cell.0.weight"][...] = growth
            losses = ran.run(rng.normal(size=(50, 2, INPUTS)), rng.normal(size=(50, 2, 2)))
            for array in (ran.hidden, flat(ran.network.parameters()), flat(ran.influence())):
                assert np.isfinite(array).all()
            health = ran.health()
            if not np.isfinite(losses).all():
                assert health["state_not_finite"] + health["loss_not_finite"] > 0
    assert troubles(ran) and health["updates"] + health["updates_skipped"] == 1000 // ran.update_every
    assert [str(each.category) for each in heard] == [str(RuntimeWarning)]  # once


def test_only_the_bad_lane_is_dropped():
    """An input that overflows resets its own lane; the others do not notice."""
    for estimator in ESTIMATORS.values():
        bad, good = (session(rtrl.RNN(5, "relu"), estimator, rtrl.SGD(0.0), dtype="float32", batch_size=3) for _ in range(2))
        bad.network.parameters()["cell.0.weight"][...] *= 5
        good.network.parameters()["cell.0.weight"][...] *= 5
        xs, ys = stream(9, 3)
        spoilt = xs.copy()
        spoilt[5, 1] = 3e38 * np.array([1, -1, 1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bad.run(spoilt, ys)
        good.run(xs, ys, np.arange(9)[:, None] == [99, 5, 99])
        assert troubles(bad) == {"state_not_finite": 1}
        assert_same_bits(bad.hidden[[0, 2]], good.hidden[[0, 2]])
        for name, G in bad.influence().items():
            assert_same_bits(G[[0, 2]], good.influence()[name][[0, 2]])
        assert np.isfinite(bad.hidden).all() and np.isfinite(flat(bad.gradient())).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38], ids=["nan", "inf", "overflow"])
@every_readout
def test_a_readout_that_overflows(readout, value):
    """The loss is reported as infinite, not as missing; nothing is learned from it, and the cell stays as it is."""
    ran = session(rtrl.RNN(5), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=readout, dtype="float32", batch_size=2)
    ran.network.parameters()["readout.weight"][...] = value
    before = {name: view.copy() for name, view in ran.network.parameters().items()}
    ys = np.zeros((4, 2), int) if isinstance(readout, rtrl.Softmax) else np.zeros((4, 2, readout.outputs))
    xs = np.random.default_rng(3).normal(size=(4, 2, INPUTS))
    if value == 3e38:
        # Of the sign of h, so that the sums overflow whatever the other units do.
        ran.network.parameters()["readout.weight"][...] *= np.sign(ran.advance(xs[0])[0, 0])
        xs[:] = xs[0]
    with pytest.warns(RuntimeWarning, match="health"):
        losses = ran.run(xs, ys)
    assert np.isinf(losses).any() and not np.isnan(losses).any()
    assert troubles(ran)["loss_not_finite"] >= np.isinf(losses).sum()
    if value != 3e38:
        assert troubles(ran)["loss_not_finite"] == 8 and np.isinf(losses).all()
        assert_same_bits(ran.network.parameters(), before)


def test_a_gradient_that_overflows():
    """The update is skipped and counted; weights and moments stay as they were."""
    ran = session(rtrl.RNN(5), rtrl.KFRTRL(), rtrl.Adam(0.1), readout=rtrl.Linear(4), dtype="float32")
    ran.network.parameters()["readout.weight"][...] = 1e25
    before = {name: view.copy() for name, view in ran.network.parameters().items()}
    with pytest.warns(RuntimeWarning, match="health"):
        loss = ran.step(np.ones(INPUTS), np.zeros(4))
    assert loss > 1e45 and troubles(ran) == {"updates_skipped": 1} and ran.health()["updates"] == 0
    assert_same_bits(ran.network.parameters(), before)
    assert not flat(ran.gradient()).any()


def test_nothing_is_silent_on_the_low_level():
    """Credit that is finite but overflows the gradient must be told, since no update will skip it."""
    ran = session(rtrl.RNN(5), rtrl.RTRL(), readout=None, dtype="float32")
    ran.advance(np.ones(INPUTS))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(20):
            ran.feedback(np.full((1, 5), 3e38))
        gradient = flat(ran.gradient())
    assert np.isfinite(gradient).all() or heard


def test_evaluate_does_not_leave_out_what_overflows():
    """A mean over the good steps only would look like a result."""
    ran = growing(rtrl.Immediate(), readout=rtrl.Softmax(2))
    xs, ys = np.ones((400, 1, INPUTS)), np.zeros((400, 1), int)
    assert np.isfinite(ran.evaluate(xs[:50], ys[:50]))
    assert not np.isfinite(ran.evaluate(xs, ys))


def test_predict_tells_what_overflows():
    ran = growing(rtrl.Immediate(), factor=1e30)
    ran.network.parameters()["cell.0.weight"][:, 3:] = 3e38
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert np.isfinite(ran.predict(np.ones((1, INPUTS)))).all() or heard


def test_apply_skips_a_gradient_that_is_not_finite():
    """`session.apply(session.gradient())` does what `step` does: skipped, counted, told."""
    ran = session(rtrl.RNN(5), rtrl.RTRL(), rtrl.Adam(0.1), readout=None)
    before = {name: view.copy() for name, view in ran.network.parameters().items()}
    with pytest.warns(RuntimeWarning, match="health"):
        ran.apply({name: view * np.nan for name, view in before.items()})
    assert troubles(ran) == {"updates_skipped": 1}
    assert_same_bits(ran.network.parameters(), before)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_a_bad_lane_of_a_deep_cell_stays_alone(estimator):
    """What entered the later stages of a lane that overflowed must not reach the gradient of the others."""
    net = rtrl.Network(rtrl.RHN(4, 2), 32, rtrl.Softmax(4), seed=3)
    net.parameters()["cell.0.weight"][:, 4:-1] = 2 * (-1.0) ** np.arange(32)
    ran = rtrl.Session(net, estimator, rtrl.SGD(0.1), batch_size=2)
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(9, 2, 32)), rng.integers(0, 4, (9, 2))
    xs[4, 0] = 3e38  # inf - inf
    with pytest.warns(RuntimeWarning, match="health"):
        ran.run(xs, ys)
    assert troubles(ran) == {"state_not_finite": 1}
    assert np.isfinite(flat(ran.network.parameters())).all()


def test_a_bad_state_is_told_on_the_low_level():
    ran = session(rtrl.RNN(4), rtrl.Immediate(), rtrl.SGD(0.1), readout=None)
    ran.network.parameters()["cell.0.weight"][...] = np.nan
    with pytest.warns(RuntimeWarning, match="health"):
        ran.advance(np.ones(INPUTS))
    assert troubles(ran) == {"state_not_finite": 1}


def test_guards_on_shadows_are_told():
    ran = session(rtrl.RNN(4), rtrl.TBPTT(4), rtrl.SGD(0.0), shadow=rtrl.RTRL(), influence_cap=1e-3)
    with pytest.warns(RuntimeWarning, match="health"):
        ran.run(*stream(9, 1))
    assert troubles(ran)["shadows_capped"] > 0
