"""What the engine was built from cannot be changed behind its back."""

import numpy as np
import pytest
from common import INPUTS, assert_same_bits, flat, session, stream

import rtrl


@pytest.mark.parametrize(
    "name", ["network", "estimator", "optimizer", "batch_size", "seed", "first_lane", "update_every", "shadows"]
)
def test_attributes_of_a_session_are_fixed(name):
    ran, twin = (session(rtrl.RNN(4), rtrl.RTRL(), rtrl.SGD(0.1), batch_size=3) for _ in range(2))
    with pytest.raises(AttributeError, match=f"{name} is fixed"):
        setattr(ran, name, None)
    with pytest.raises(AttributeError, match=f"{name} is fixed"):
        delattr(ran, name)
    assert_same_bits(ran.run(*stream(5, 3)), twin.run(*stream(5, 3)))


def test_attributes_that_do_not_exist_are_told_from_fixed_ones():
    ran = session(rtrl.RNN(4), rtrl.RTRL(), rtrl.SGD(0.1))
    with pytest.raises(AttributeError, match="a Session has no attribute 'lr': .*optimizer's.*callable"):
        ran.lr = 0.01
    with pytest.raises(AttributeError, match="a Session has no attribute 'x'$"):
        ran.x = 1
    with pytest.raises(AttributeError, match="a Session has no attribute 'x'$"):
        del ran.x
    with pytest.raises(AttributeError, match="a Network has no attribute 'units'$"):
        ran.network.units = 5
    with pytest.raises(AttributeError, match="step is fixed"):
        ran.step = None


@pytest.mark.parametrize("name", ["cell", "inputs", "readout", "dtype"])
def test_attributes_of_a_network_are_fixed(name):
    network = rtrl.Network(rtrl.RNN(4), INPUTS)
    with pytest.raises(AttributeError, match=f"{name} is fixed"):
        setattr(network, name, 10**6)


def test_arrays_that_change_while_they_are_read():
    """Ids are copied: a schedule (or a thread) that refills the buffer changes nothing."""
    xs, ys = (np.zeros((300, 1), np.int32) for _ in range(2))

    def schedule(step):
        xs[:] = ys[:] = 2**30
        return 0.1

    ran = rtrl.Session(rtrl.Network(rtrl.RNN(4), 3, rtrl.Softmax(3)), rtrl.RTRL(), rtrl.SGD(schedule))
    assert np.isfinite(ran.run(xs, ys)).all()


def test_feedback_after_the_step_is_over():
    """The same for an estimator that carries nothing as for one that carries a window of one step."""
    late = {}
    for estimator in (rtrl.Immediate(), rtrl.TBPTT(1), rtrl.TBPTT(1, sliding=True), rtrl.RTRL()):
        ran = session(rtrl.GRU(4), estimator, rtrl.SGD(0.1), readout=None)
        ran.advance(np.ones(INPUTS))
        ran.feedback(np.ones((1, 4)))
        ran.apply(ran.gradient())
        ran.feedback(np.ones((1, 4)))
        late[estimator] = flat(ran.gradient())
    first, *others = late.values()
    assert np.abs(first).max() > 0.01
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-12, atol=1e-15)


def test_updates_keep_their_beat():
    """An update by hand moves neither the blocks of TBPTT nor the steps at which updates come."""
    ran = session(rtrl.GRU(4), rtrl.TBPTT(4), rtrl.SGD(0.1))
    weights = ran.network.parameters()["cell.0.weight"]
    xs, ys = stream(12, 1)
    ran.run(xs[:3], ys[:3])
    ran.apply(ran.gradient())
    changed = []
    for x, y in zip(xs[3:], ys[3:]):
        before = weights.copy()
        ran.step(x, y)
        changed.append(not np.array_equal(before, weights))
    assert [step for step, change in enumerate(changed, 4) if change] == [4, 8, 12]


def test_eps_that_vanishes_is_refused():
    network = rtrl.Network(rtrl.RNN(4), INPUTS, rtrl.Linear(2))
    with pytest.raises(ValueError, match="eps must be at least"):
        rtrl.Session(network, rtrl.RTRL(), rtrl.Adam(1e-3, eps=1e-40))
