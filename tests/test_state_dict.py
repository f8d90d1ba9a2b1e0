"""`Network.state_dict` and `load_state_dict`: contiguous copies, and all or nothing."""

import threading

import numpy as np
import pytest
from common import CELLS, READOUTS, assert_same_bits, network, session, stream

import rtrl


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("readout", [*READOUTS.values(), None], ids=[*READOUTS, "none"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_round_trip(cell, readout, dtype):
    net, other = network(cell, readout, dtype), network(cell, readout, dtype, seed=4)
    state = net.state_dict()
    assert_same_bits(state, net.parameters())
    assert all(array.flags.c_contiguous and array.flags.owndata and array.flags.writeable for array in state.values())
    loaded = other.load_state_dict(state)
    assert loaded == ([], []) and loaded.missing_keys == loaded.unexpected_keys == []
    assert_same_bits(other.parameters(), net.parameters())
    assert_same_bits(other._flat, net._flat)  # the padding of rows too
    for array in state.values():
        array += 1
    assert_same_bits(other.parameters(), net.parameters())


def test_a_writer_that_ignores_strides_gets_right_numbers():
    """Memory handed on as it lies: right for `state_dict`, wrong for views of `parameters`."""
    net = network(rtrl.GRU(4), dtype="float32")
    for name, array in net.state_dict().items():
        raw = np.frombuffer(array.data, np.float32).reshape(array.shape)
        assert_same_bits(raw, net.parameters()[name])


def test_a_session_learns_on_from_it():
    ran, twin = (session(CELLS["gru"], rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=2) for _ in range(2))
    state = ran.network.state_dict()
    xs, ys = stream(9, 2)
    twin.network.load_state_dict({name: np.zeros_like(array) for name, array in state.items()})
    twin.network.load_state_dict(state)
    assert_same_bits(ran.run(xs, ys), twin.run(xs, ys))


def test_without_strict_what_fits_is_taken():
    net, other = network(rtrl.RNN(5)), network(rtrl.RNN(5), seed=4)
    before, state = net.state_dict(), other.state_dict()
    loaded = net.load_state_dict({"readout.weight": state["readout.weight"], "head.bias": np.ones(3)}, strict=False)
    assert loaded.missing_keys == ["cell.0.weight"] and loaded.unexpected_keys == ["head.bias"]
    assert_same_bits(net.state_dict(), {**before, "readout.weight": state["readout.weight"]})
    assert net.load_state_dict({}, strict=False).missing_keys == list(before)


def test_numbers_that_are_not_finite_come_back():
    net = network(rtrl.RNN(5))
    net.parameters()["cell.0.weight"][0, :2] = np.nan, np.inf
    other = network(rtrl.RNN(5))
    other.load_state_dict(net.state_dict())
    assert_same_bits(other.parameters(), net.parameters())


SHAPE = (5, 9)
REFUSED = {
    "missing": (lambda state: state.pop("cell.0.weight"), r"missing: 'cell\.0\.weight'"),
    "unexpected": (lambda state: state.update(a=1, b=2), r"unexpected: 'a', 'b'"),
    "both": (lambda state: state.update(a=state.pop("readout.weight")), r"missing: 'readout\.weight'; unexpected: 'a'"),
    "shape": (
        lambda state: state.update({"cell.0.weight": np.ones((9, 5))}),
        r"'cell\.0\.weight' must be .* \(5, 9\), got .* \(9, 5\)",
    ),
    "scalar": (lambda state: state.update({"cell.0.weight": 1.0}), r"'cell\.0\.weight' must be .* got float64 of shape \(\)"),
    "type": (lambda state: state.update({"cell.0.weight": np.ones(SHAPE, "f4")}), "must be float64 .* got float32"),
    "integers": (lambda state: state.update({"cell.0.weight": np.ones(SHAPE, int)}), "must be float64 .* got int64"),
    "order of bytes": (lambda state: state.update({"cell.0.weight": np.ones(SHAPE, ">f8")}), "must be float64 .* got >f8"),
    "masked": (lambda state: state.update({"cell.0.weight": np.ma.masked_all(SHAPE)}), "no missing values"),
    "two": (
        lambda state: state.update({"cell.0.weight": np.ones(2), "readout.weight": np.ones(3)}),
        r"'cell\.0\.weight' must .*; 'readout\.weight' must",
    ),
}
KINDS = {
    "text": lambda state: state.update({"cell.0.weight": "abc"}),
    "nothing": lambda state: state.update({"cell.0.weight": None}),
    "complex": lambda state: state.update({"cell.0.weight": np.ones(SHAPE, complex)}),
    "flags": lambda state: state.update({"cell.0.weight": np.ones(SHAPE, bool)}),
}


@pytest.mark.parametrize("change, message", REFUSED.values(), ids=REFUSED)
def test_refused_as_a_whole(change, message):
    net = network(rtrl.RNN(5))
    before, state = net.state_dict(), network(rtrl.RNN(5), seed=4).state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        net.load_state_dict(state)
    assert_same_bits(net.state_dict(), before)


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS)
def test_what_are_no_numbers(change):
    net = network(rtrl.RNN(5))
    before, state = net.state_dict(), network(rtrl.RNN(5), seed=4).state_dict()
    change(state)
    with pytest.raises(TypeError, match=r"state\['cell\.0\.weight'\] must be an array of numbers"):
        net.load_state_dict(state)
    for wrong in (None, [1], "abc", 3):
        with pytest.raises(TypeError, match="state must be a dict of arrays"):
            net.load_state_dict(wrong)
    assert_same_bits(net.state_dict(), before)


@pytest.mark.parametrize("net", [network(rtrl.GRU(4)), network(rtrl.RNN(5), sparsity=0.5)], ids=["holes of a cell", "mask"])
def test_weights_that_do_not_exist_must_be_zero(net):
    before = net.state_dict()
    place = tuple(int(i) for i in np.argwhere(~net.masks()["cell.0.weight"])[3])
    state = net.state_dict()
    state["cell.0.weight"][place] = 1e-30
    with pytest.raises(
        ValueError, match=rf"'cell\.0\.weight' must be 0 where there is no weight .* at index \({place[0]}, {place[1]}\)"
    ):
        net.load_state_dict(state)
    assert_same_bits(net.state_dict(), before)


def test_during_a_run():
    """From another thread, and from a schedule of its own session."""
    net = network(rtrl.RNN(5))
    state, seen = net.state_dict(), []

    def refused(use):
        with pytest.raises(RuntimeError, match="in use by another thread"):
            use()
        seen.append("refused")

    def look(step):
        seen.append(net.state_dict())
        for use in (net.state_dict, lambda: net.load_state_dict(state)):
            thread = threading.Thread(target=refused, args=[use])
            thread.start()
            thread.join()
        with pytest.raises(RuntimeError, match="would change something"):
            net.load_state_dict(state)
        return 0.1

    ran = rtrl.Session(net, rtrl.RTRL(), rtrl.SGD(look), batch_size=2, threads=1)
    twin = session(rtrl.RNN(5), rtrl.RTRL(), rtrl.SGD(0.1), batch_size=2, seed=0)
    xs, ys = stream(3, 2)
    assert_same_bits(ran.run(xs, ys), twin.run(xs, ys))
    assert len(seen) == 9
