"""The engine equals the plain-NumPy specification, sign for sign: losses, gradients, weights and influence."""

import numpy as np
import pytest
from common import OPTIMIZERS, distance, flat, reference_twin, reset_mask, session, stream
from drivers import (
    LANES,
    STEPS,
    TOLERANCE,
    assert_equal_calls,
    assert_equal_influence,
    assert_equal_on_wide_nets,
    assert_equal_runs,
    assert_equal_training,
    both_widths,
    dense_or_ids,
    every_cell,
    every_estimator,
    every_readout,
    influences,
    wide_cells,
)

import rtrl
from rtrl import reference


@both_widths
@dense_or_ids
@every_estimator
@every_cell
def test_training_run(cell, estimator, dense, dtype):
    """With an update at every step (every block for block TBPTT); a step without a target; the influence itself."""
    ours = session(cell, estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=LANES)
    twin, (xs, _) = assert_equal_training(ours, dense), stream(STEPS, LANES, dense=dense)
    assert np.isnan(ours.step(xs[0], np.full(LANES, -1))) and np.isnan(twin.step(xs[0], np.full(LANES, -1)))
    assert_equal_influence(ours, twin, 3 * TOLERANCE[dtype])


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
        for G, expected in influences(ours, twin):
            assert G.shape == expected.shape
            np.testing.assert_allclose(G, expected, rtol=0, atol=1e-12)

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
    assert_equal_calls(session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), readout=None, batch_size=LANES))


@pytest.mark.parametrize("update_every", [1, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@every_cell
def test_optimizers(cell, optimizer, update_every):
    ours = session(cell, rtrl.KFRTRL(), optimizer, batch_size=LANES, update_every=update_every)
    assert_equal_training(ours, dense=False)


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
@wide_cells
def test_sizes_around_the_vector_width(cell, estimator):
    assert_equal_on_wide_nets(cell, estimator, rtrl.SGD(0.05))


def test_signs_are_those_of_the_reference():
    for arguments in [(0, 0, 0, 0, 1), (7, 5, 3, 1, 200), (2**64 - 1, 2**40, 17, 63, 65), (5, 0, 0, 0, 0)]:
        signs = rtrl.random_signs(*arguments)
        assert signs.dtype == np.int8
        np.testing.assert_array_equal(signs, reference.random_signs(*arguments))
