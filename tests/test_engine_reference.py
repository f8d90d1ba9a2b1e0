"""The engine equals the plain-NumPy specification, sign for sign: losses, gradients, weights and influence."""

import numpy as np
import pytest
from common import (
    CELLS,
    ESTIMATORS,
    OPTIMIZERS,
    READOUTS,
    distance,
    flat,
    reference_twin,
    reset_mask,
    session,
    stream,
)

import rtrl

STEPS, LANES = 23, 3
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}

every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
every_readout = pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
both_widths = pytest.mark.parametrize("dtype", TOLERANCE)


def assert_equal_runs(ours, xs, ys, resets=None):
    """Losses, weights and state of a session and of its twin after the same stream."""
    twin, tolerance = reference_twin(ours), TOLERANCE[ours.network.dtype.name]
    np.testing.assert_allclose(ours.run(xs, ys, resets), twin.run(xs, ys, resets), rtol=tolerance, atol=tolerance)
    assert distance(ours.network.parameters(), twin.parameters) < tolerance
    np.testing.assert_allclose(ours.hidden, twin.states[:, 0], rtol=0, atol=tolerance)
    return twin


@both_widths
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "ids"])
@every_estimator
@every_cell
def test_training_run(cell, estimator, dense, dtype):
    """With resets, missing targets, and an update at every step (every block for block TBPTT)."""
    ours = session(cell, estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=LANES)
    xs, ys = stream(STEPS, LANES, dense=dense)
    twin = assert_equal_runs(ours, xs, ys, reset_mask(STEPS, LANES))
    assert np.isnan(ours.step(xs[0], np.full(LANES, -1))) and np.isnan(twin.step(xs[0], np.full(LANES, -1)))
    for G, expected in zip(ours.influence().values(), zip(*(each.influence() for each in twin.estimators))):
        assert distance([G], [np.stack(expected)]) < 3 * TOLERANCE[dtype]


@both_widths
@every_readout
@every_estimator
def test_readouts(estimator, readout, dtype):
    ours = session(rtrl.GRU(4), estimator, rtrl.SGD(0.1), readout=readout, dtype=dtype, batch_size=LANES)
    assert_equal_runs(ours, *stream(STEPS, LANES, readout), reset_mask(STEPS, LANES))


@both_widths
@every_estimator
@every_cell
def test_gradient_of_several_steps(cell, estimator, dtype):
    """Without an optimizer the credit gathers; asked for twice, in the middle of a block as well."""
    ours = session(cell, estimator, dtype=dtype, batch_size=LANES)
    twin, (xs, ys) = reference_twin(ours), stream(STEPS, LANES)
    for part in (slice(0, 9), slice(9, STEPS)):
        ours.run(xs[part], ys[part])
        twin.run(xs[part], ys[part])
        gradient, expected = ours.gradient(), twin.gradient()
        assert [value.shape for value in gradient.values()] == [value.shape for value in expected]
        assert distance(gradient, expected) < TOLERANCE[dtype]
    assert not flat(ours.gradient()).any()


@every_estimator
@every_cell
def test_influence(cell, estimator):
    """At the start, with the step open or closed, and after the reset of one lane."""
    ours = session(cell, estimator, readout=None, batch_size=LANES)
    twin, (xs, _) = reference_twin(ours), stream(8, LANES)

    def compare():
        twin.observe()
        for name, expected in zip(ours.influence(), zip(*(each.influence() for each in twin.estimators))):
            G = ours.influence()[name]
            assert G.shape == np.stack(expected).shape
            np.testing.assert_allclose(G, np.stack(expected), rtol=0, atol=1e-12)

    compare()
    for x in xs:
        ours.advance(x)
        twin.advance(x)
    ours.reset(np.zeros(LANES, bool))
    compare()
    ours.reset(np.arange(LANES) == 1)
    twin.reset(np.arange(LANES) == 1)
    compare()
    assert not any(G[1].any() for G in ours.influence().values())


@every_estimator
def test_low_level_calls(estimator):
    """advance, feedback (twice a step, or not at all), gradient, apply."""
    ours = session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), readout=None, batch_size=LANES)
    twin, rng, (xs, _) = reference_twin(ours), np.random.default_rng(0), stream(STEPS, LANES)
    for t, x in enumerate(xs):
        np.testing.assert_allclose(ours.advance(x), twin.advance(x), rtol=0, atol=1e-12)
        for credit in rng.normal(size=(t % 3, LANES, 4)):
            ours.feedback(credit)
            twin.feedback(credit)
        if t % 4 == 3:
            gradient, expected = ours.gradient(), twin.gradient()
            assert distance(gradient, expected) < 1e-12
            ours.apply(gradient)
            twin.apply(expected)
    assert distance(ours.network.parameters(), twin.parameters) < 1e-12


@pytest.mark.parametrize("update_every", [1, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@every_cell
def test_optimizers(cell, optimizer, update_every):
    ours = session(cell, rtrl.KFRTRL(), optimizer, batch_size=LANES, update_every=update_every)
    assert_equal_runs(ours, *stream(STEPS, LANES, dense=False), reset_mask(STEPS, LANES))


def test_schedules():
    """The learning rate of a step is asked for once, with the index of the step, and only where an update is due."""
    asked = []
    ours = session(rtrl.RNN(5), rtrl.TBPTT(4), rtrl.SGD(lambda step: asked.append(step) or 0.3 / (1 + step)), batch_size=LANES)
    xs, ys = stream(STEPS, LANES)
    ours.run(xs[:6], ys[:6])
    for x, y in zip(xs[6:], ys[6:]):
        ours.step(x, y)
    assert asked == [3, 7, 11, 15, 19]
    twin = reference_twin(session(rtrl.RNN(5), rtrl.TBPTT(4), rtrl.SGD(lambda step: 0.3 / (1 + step)), batch_size=LANES))
    twin.run(xs, ys)
    assert distance(ours.network.parameters(), twin.parameters) < 1e-12


@pytest.mark.parametrize("estimator", [rtrl.RTRL(), rtrl.UORO(), rtrl.KFRTRL(), rtrl.TBPTT(5)], ids=repr)
@pytest.mark.parametrize("cell", [rtrl.RNN(17), rtrl.GRU(19), rtrl.LSTM(16), rtrl.RHN(33), rtrl.RHN(18, 2)], ids=repr)
def test_sizes_around_the_vector_width(cell, estimator):
    """More units than one vector holds, with and without a remainder; a wide input and many outputs."""
    net = rtrl.Network(cell, 21, rtrl.Softmax(37), dtype="float64", seed=1)
    ours = rtrl.Session(net, estimator, rtrl.SGD(0.05), batch_size=2, seed=8, threads=1)
    xs, ys = stream(7, 2, net.readout, inputs=21)
    assert_equal_runs(ours, xs, ys)


def test_signs_are_those_of_the_reference():
    from rtrl import reference

    for arguments in [(0, 0, 0, 0, 1), (7, 5, 3, 1, 200), (2**64 - 1, 2**40, 17, 63, 65), (5, 0, 0, 0, 0)]:
        signs = rtrl.random_signs(*arguments)
        assert signs.dtype == np.int8
        np.testing.assert_array_equal(signs, reference.random_signs(*arguments))
