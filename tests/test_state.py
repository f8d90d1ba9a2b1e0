"""The state of a session can be read and set: hidden units, and all components."""

import numpy as np
import pytest
from common import assert_same_bits, assert_same_session, distance, reference_twin, session, stream
from drivers import every_cell

import rtrl

LANES = 3


def learning(cell, estimator=rtrl.RTRL(), **options):
    ran = session(cell, estimator, rtrl.SGD(0.1), batch_size=LANES, **options)
    ran.run(*stream(5, LANES))
    return ran


def contents(ran):
    return {name: block.copy() for name, block in ran._arrays.items()} | ran.network.parameters()


@pytest.mark.parametrize("opened", [False, True])
@every_cell
def test_steps_go_on_from_a_state_that_was_set(cell, opened):
    """As those of the reference do; the influence stays, in the middle of a step too."""
    ours = session(cell, rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=LANES)
    twin = reference_twin(ours)
    xs, ys = stream(12, LANES)
    for each in (ours, twin):
        each.run(xs[:6], ys[:6])
    credit = np.random.default_rng(1).normal(size=(LANES, cell.hidden))
    if opened:
        for each in (ours, twin):
            each.advance(xs[0])
            each.feedback(credit)
    before, state = (
        ours.influence(),
        {name: np.random.default_rng(0).normal(size=each.shape) for name, each in ours.state().items()},
    )
    ours.set_state(state)
    twin.states = np.stack(list(state.values()), 1)
    assert_same_bits(ours.influence(), before)
    assert_same_bits(ours.hidden, state["h"])
    if opened:
        for each in (ours, twin):
            each.feedback(credit)
    np.testing.assert_allclose(ours.run(xs[6:], ys[6:]), twin.run(xs[6:], ys[6:]), rtol=1e-11)
    assert distance(ours.network.parameters(), twin.parameters) < 1e-11


def test_hidden_units_alone():
    """Setting them leaves the cells of an LSTM and all else."""
    ran, twin = learning(rtrl.LSTM(4)), learning(rtrl.LSTM(4))
    ran.hidden = np.full((LANES, 4), 0.25)
    assert (ran.hidden == 0.25).all()
    assert_same_bits(ran.state()["c"], twin.state()["c"])
    twin.set_state({**twin.state(), "h": np.full((LANES, 4), 0.25)})
    assert_same_session(ran, twin)
    ran.hidden = ran.hidden * 0 + [0, 1, 2, 3]
    assert (ran.hidden == [0, 1, 2, 3]).all()


def test_one_lane_may_be_left_out():
    ran = session(rtrl.GRU(4), rtrl.RTRL())
    ran.hidden = [1, 2, 3, 4]
    assert ran.hidden.tolist() == [[1, 2, 3, 4]]
    ran.set_state({"h": np.zeros(4)})
    assert not ran.hidden.any()


@pytest.mark.parametrize("cell", [rtrl.RNN(4), rtrl.LSTM(4)], ids=repr)
def test_what_is_read_is_a_copy_that_cannot_be_written_to(cell):
    """So that `session.hidden[...] = 1` is not lost without a word."""
    ran = learning(cell)
    kept = ran.hidden
    before = kept.copy()
    for array in (ran.hidden, *ran.state().values()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    ran.run(*stream(2, LANES))
    assert_same_bits(kept, before)
    assert ran.hidden.flags.c_contiguous and list(ran.state()) == (["h", "c"] if cell == rtrl.LSTM(4) else ["h"])


@pytest.mark.parametrize(
    ("error", "value"),
    [
        (ValueError, np.zeros((LANES, 5))),
        (ValueError, np.zeros((4, LANES))),
        (ValueError, np.zeros(4)),
        (ValueError, 1),
        (ValueError, np.full((LANES, 4), np.nan)),
        (ValueError, np.full((LANES, 4), np.inf)),
        (ValueError, np.full((LANES, 4), 1e39)),
        (TypeError, "h"),
        (TypeError, None),
        (TypeError, np.full((LANES, 4), 1j)),
    ],
)
def test_a_state_that_is_refused_changes_nothing(error, value):
    ran = learning(rtrl.LSTM(4), dtype="float32")
    before, state = contents(ran), ran.state()
    with pytest.raises(error, match="^hidden must"):
        ran.hidden = value
    with pytest.raises(error, match=r"^state\['c'\] must"):
        ran.set_state({**state, "c": value})
    with pytest.raises(ValueError, match="state must have the keys"):
        ran.set_state({"h": state["h"]})
    with pytest.raises(ValueError, match="state must have the keys"):
        ran.set_state({**state, "d": state["h"]})
    with pytest.raises(TypeError, match="state must be a dict"):
        ran.set_state(5)
    with pytest.raises(AttributeError):
        del ran.hidden
    assert_same_bits(contents(ran), before)


def test_a_reset_drops_the_influence_of_before():
    ran = learning(rtrl.GRU(4))
    ran.reset()
    ran.hidden = np.ones((LANES, 4))
    assert not any(each.any() for each in ran.influence().values()) and (ran.hidden == 1).all()


def test_state_survives_a_file(tmp_path):
    ran = learning(rtrl.LSTM(4))
    ran.hidden = np.ones((LANES, 4))
    ran.save(tmp_path / "file")
    assert_same_bits(rtrl.Session.load(tmp_path / "file").state(), ran.state())
