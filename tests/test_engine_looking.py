"""What looks at a session without touching it: predict, evaluate, influence, shadows and the rest."""

import numpy as np
import pytest
from common import (
    INPUTS,
    OPTIMIZERS,
    assert_same_bits,
    assert_same_session,
    flat,
    reset_mask,
    session,
    stream,
)
from drivers import every_cell, every_estimator, every_readout

import rtrl


@every_estimator
def test_looking_changes_nothing(estimator):
    """predict, evaluate, influence, health and the rest between the calls of a step, against a twin that never looks."""
    looks, twin = (session(rtrl.LSTM(4), estimator, OPTIMIZERS["adam"], batch_size=2) for _ in range(2))
    (xs, ys), (others, targets) = stream(12, 2), stream(5, 2, seed=9, dense=False)

    def look():
        looks.predict(xs[0])
        looks.evaluate(others, targets, reset_mask(5, 2))
        assert looks.influence() and looks.health() and looks.nbytes and looks.hidden.shape == (2, 4) and repr(looks)

    for x, y in zip(xs, ys):
        for each in (looks, twin):
            each.step(x, y)
        look()
        for each in (looks, twin):
            each.advance(x)
        look()
        for each in (looks, twin):
            each.feedback(np.ones((2, 4)))
        look()
    assert_same_session(looks, twin)
    assert_same_bits(looks.gradient(), twin.gradient())


@every_readout
def test_predict_and_evaluate_foresee_the_run(readout):
    """At a learning rate of 0 evaluate is the mean loss of the run; predictions are the probabilities it is scored by."""
    ran = session(rtrl.GRU(4), rtrl.RTRL(), rtrl.SGD(0.0), readout=readout, batch_size=2)
    xs, ys = stream(20, 2, readout, missing=0)
    ran.run(xs, ys)
    resets = reset_mask(20, 2, rate=0.2)
    foreseen, prediction = ran.evaluate(xs, ys, resets), ran.predict(xs[0])
    if isinstance(readout, rtrl.Softmax):
        np.testing.assert_allclose(prediction.sum(1), 1, rtol=1e-13)
        expected = -np.log(prediction[np.arange(2), ys[0]]).mean()
    elif isinstance(readout, rtrl.Linear):
        expected = ((prediction - ys[0]) ** 2).sum(1).mean() / 2
    else:
        expected = -(ys[0] * np.log(prediction) + (1 - ys[0]) * np.log(1 - prediction)).sum(1).mean()
    assert ran.evaluate(xs[:1], ys[:1]) == pytest.approx(expected, rel=1e-12)
    assert ran.run(xs, ys, resets).mean() == pytest.approx(foreseen, rel=1e-13)


@every_readout
@pytest.mark.parametrize("lanes", [1, 3])
def test_predict_run_is_predict_after_each_advance(readout, lanes):
    """From wherever the session is, in the middle of a window too; longer than what the engine does in one piece."""
    ahead = session(rtrl.GRU(4), rtrl.TBPTT(4), rtrl.SGD(0.0), readout=readout, batch_size=lanes)
    walks = session(rtrl.GRU(4), rtrl.Immediate(), rtrl.SGD(0.0), readout=readout, batch_size=lanes)
    xs, ys = stream(606, lanes, readout)
    for each in (ahead, walks):
        each.run(xs[:6], ys[:6])
    foreseen = ahead.predict_run(xs[6:])
    assert foreseen.shape == (600, *ahead.predict(xs[0]).shape)
    for x, prediction in zip(xs[6:], foreseen):
        assert_same_bits(walks.predict(x), prediction)
        walks.advance(x)


# Shadows


@every_estimator
@every_cell
def test_shadow_is_a_second_session_without_weights(cell, estimator):
    """Its gradient is that of a session with this estimator; the session itself does not notice."""
    xs, ys = stream(9, 2)
    watched, alone, other = (
        session(cell, each, rtrl.SGD(0.0), batch_size=2, update_every=3) for each in (rtrl.KFRTRL(), rtrl.KFRTRL(), estimator)
    )
    shadow = watched.shadow(estimator)
    for part in (slice(0, 3), slice(3, 6)):
        assert_same_bits(watched.run(xs[part], ys[part]), alone.run(xs[part], ys[part]))
        other.run(xs[part], ys[part])
    for each in (watched, alone, other):
        each.run(xs[6:8], ys[6:8])
    own, expected = watched.gradient(), other.gradient()
    assert_same_bits(own, alone.gradient())
    cell_of = {name: value for name, value in expected.items() if name != "readout.weight"}
    assert_same_bits(shadow.gradient(), cell_of)
    a, b = flat({name: own[name] for name in cell_of}), flat(cell_of)
    np.testing.assert_allclose(shadow.cosines, [a @ b / np.linalg.norm(a) / np.linalg.norm(b)], rtol=1e-12)
    np.testing.assert_allclose(shadow.relative_errors, [np.linalg.norm(a - b) / np.linalg.norm(b)], rtol=1e-7, atol=1e-7)


def test_shadow_of_low_level_calls():
    """The gradient that `gradient` compared stays readable after `apply`."""
    ran = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=None, shadow=rtrl.RTRL())
    for x in np.random.default_rng(0).normal(size=(4, 1, INPUTS)):
        ran.advance(x)
        ran.feedback(np.ones((1, 4)))
    gradient = ran.gradient()
    before = ran.shadows[0].gradient()
    assert flat(before).any() and len(ran.shadows[0].cosines) == 1
    ran.apply(gradient)
    assert_same_bits(ran.shadows[0].gradient(), before)
