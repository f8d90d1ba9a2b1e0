"""Bad input: a Python error that names the argument, raised before anything is changed."""

import numpy as np
import pytest
from common import INPUTS, OUTPUTS, READOUTS, assert_same_bits, assert_same_session, session, stream

import rtrl

NAN, INF = float("nan"), float("inf")
LANES, UNITS = 2, 4


class Awkward:
    """An object that NumPy cannot turn into an array."""

    def __array__(self, *arguments, **options):
        raise ZeroDivisionError("no array today")


def x_of(*shape, value=0.5):
    return np.full(shape, value)


def ids_of(*shape, value=1):
    return np.full(shape, value)


# What may come as one step of input (ids or numbers) of two lanes, and what must be said about it.
BAD_X = {
    "no lanes": (ids_of(), ValueError, "shape"),
    "too few lanes": (ids_of(1), ValueError, "shape"),
    "too many lanes": (ids_of(3), ValueError, "shape"),
    "no lane axis": (x_of(INPUTS), ValueError, "shape"),
    "too narrow": (x_of(LANES, INPUTS - 1), ValueError, r"shape \[.*2\] \(ids\)|must have shape \[.*2, 3\]; got \(.*2, 2\)"),
    "too wide": (x_of(LANES, INPUTS + 1), ValueError, "shape"),
    "lanes last": (x_of(INPUTS, LANES), ValueError, "shape"),
    "too many axes": (x_of(1, 1, LANES, INPUTS), ValueError, "shape"),
    "empty": (np.empty(0), ValueError, "shape"),
    "empty ids": (np.empty(0, int), ValueError, "shape"),
    "empty lanes": (x_of(0, INPUTS), ValueError, "shape"),
    "no columns": (x_of(LANES, 0), ValueError, "shape"),
    "negative id": (ids_of(LANES, value=-1), ValueError, "ids from 0 to 2; got -1"),
    "id too large": (np.array([0, INPUTS]), ValueError, "ids from 0 to 2; got 3"),
    "id that wraps": (np.array([0, 2**32]), ValueError, "ids from 0 to 2; got 4294967296"),
    "unsigned id": (np.array([0, 2**64 - 1], np.uint64), ValueError, "ids from 0 to 2; got 18446744073709551615"),
    "huge whole number": ([0, 2**70], TypeError, "integer ids or numbers"),
    "nan": (np.array([[0, 0, 0], [0, NAN, 0]]), ValueError, r"finite; got .*nan.* at index \(.*1, 1\)"),
    "inf": (x_of(LANES, INPUTS, value=INF), ValueError, "finite"),
    "beyond float32": (x_of(LANES, INPUTS, value=1e300), ValueError, "finite"),
    "booleans": (np.ones(LANES, bool), TypeError, "integer ids or numbers; got an array of bool"),
    "complex": (x_of(LANES, INPUTS) * 1j, TypeError, "complex"),
    "text": (np.array(["a", "b"]), TypeError, "integer ids or numbers"),
    "a string": ("abc", TypeError, "integer ids or numbers"),
    "objects": (np.array([None, {}]), TypeError, "object"),
    "none": (None, TypeError, "object"),
    "a dict": ({"a": 1}, TypeError, "object"),
    "ragged": ([[1.0, 2.0, 3.0], [1.0]], TypeError, "integer ids or numbers"),
    "dates": (np.zeros(LANES, "M8[s]"), TypeError, "datetime"),
    "awkward": (Awkward(), TypeError, "no array today"),
}
BAD_LABELS = {
    "shape": (ids_of(LANES + 1), ValueError, r"must have shape \[.*2\]"),
    "numbers": (x_of(LANES), TypeError, "integer ids; got an array of float64"),
    "too low": (ids_of(LANES, value=-2), ValueError, "ids from -1 to 3; got -2"),
    "too high": (ids_of(LANES, value=OUTPUTS), ValueError, "ids from -1 to 3; got 4"),
    "none": (None, TypeError, "integer ids"),
    "empty": (np.empty(0, int), ValueError, "shape"),
    "one-hot": (np.eye(OUTPUTS, dtype=int)[:LANES], ValueError, "shape"),
}
BAD_TARGETS = {
    "shape": (x_of(LANES, OUTPUTS - 1), ValueError, r"must have shape \[.*2, 4\]"),
    "ids": (ids_of(LANES), ValueError, "shape"),
    "inf": (x_of(LANES, OUTPUTS, value=INF), ValueError, "finite or NaN"),
    "text": ("a", TypeError, "numbers"),
    "complex": (x_of(LANES, OUTPUTS) * 1j, TypeError, "numbers"),
    "empty": (np.empty((0, OUTPUTS)), ValueError, "shape"),
}
BAD_CREDIT = {
    "shape": (x_of(LANES, UNITS + 1), "must have shape"),
    "lanes": (x_of(UNITS), "must have shape"),
    "nan": (x_of(LANES, UNITS, value=NAN), "finite"),
    "empty": (np.empty((0, UNITS)), "must have shape"),
}
BAD_MASKS = {
    "shape": (np.ones(LANES + 1, bool), ValueError),
    "scalar": (True, ValueError),
    "empty": (np.ones(0, bool), ValueError),
    "text": ("all", TypeError),
    "masked": (np.ma.array([True, False], mask=[True, False]), ValueError),
    "gap": ([None, True], ValueError),
}
BAD_RESETS = BAD_MASKS | {
    "neither 0 nor 1": (np.array([0, 2]), ValueError),
    "between": (np.array([0, 0.5]), ValueError),
    "nan": (np.array([0, NAN]), ValueError),
}
BAD_LANES = BAD_MASKS | {
    "numbers": (np.ones(LANES), TypeError),
    "too large": ([0, LANES], ValueError),
    "negative": (-1, ValueError),
    "two axes": ([[0, 1]], ValueError),
}


def used(readout=READOUTS["softmax"], dtype="float32", estimator=None):
    """A session in the middle of a step, with credit that was not asked for."""
    options = {"readout": readout, "dtype": dtype, "batch_size": LANES, "update_every": 4}
    ran = session(rtrl.GRU(UNITS), estimator or rtrl.UORO(), rtrl.Adam(0.1), **options)
    ran.run(*stream(6, LANES, readout))
    ran.feedback(np.ones((LANES, UNITS)))
    ran.advance(stream(1, LANES)[0][0])
    return ran


def refused(error, match, call, readout=READOUTS["softmax"], **options):
    """The call raises, and the session is bit for bit the twin that was never asked."""
    ran, twin = used(readout, **options), used(readout, **options)
    with pytest.raises(error, match=match):
        call(ran)
    assert_same_bits(ran._arrays, twin._arrays)
    xs, ys = stream(5, LANES, readout, seed=8)
    assert_same_bits(ran.run(xs, ys), twin.run(xs, ys))
    assert_same_session(ran, twin)
    assert_same_bits(ran.gradient(), twin.gradient())


@pytest.mark.parametrize("x, error, match", BAD_X.values(), ids=BAD_X)
@pytest.mark.parametrize("call", ["step", "advance", "predict", "predict_run", "run", "evaluate"])
def test_inputs(call, x, error, match):
    if call == "predict_run":
        xs = [x, x] if isinstance(x, (list, dict, str, Awkward)) or x is None else np.stack([x, x])
        refused(error, f"^xs .*{match}", lambda ran: ran.predict_run(xs))
    elif call in ("run", "evaluate"):
        xs = [x, x] if isinstance(x, (list, dict, str, Awkward)) or x is None else np.stack([x, x])
        refused(error, f"^xs .*{match}", lambda ran: getattr(ran, call)(xs, ids_of(2, LANES)))
    elif call == "step":
        refused(error, f"^x .*{match}", lambda ran: ran.step(x, ids_of(LANES)))
    else:
        refused(error, f"^x .*{match}", lambda ran: getattr(ran, call)(x))


@pytest.mark.parametrize("kind", ["softmax", "linear", "bernoulli"])
def test_targets(kind):
    readout, x = READOUTS[kind], x_of(LANES, INPUTS)
    cases = BAD_LABELS if kind == "softmax" else BAD_TARGETS
    if kind == "bernoulli":
        cases = {
            **cases,
            "beyond 1": (x_of(LANES, OUTPUTS, value=1.5), ValueError, "between 0"),
            "below 0": (x_of(LANES, OUTPUTS, value=-0.1), ValueError, "between 0"),
        }
    for y, error, match in cases.values():
        refused(error, f"^y .*{match}", lambda ran: ran.step(x, y), readout)
        ys = y if y is None or isinstance(y, str) else np.stack([y, y])
        for call in ("run", "evaluate"):
            refused(error, f"^ys .*{match}", lambda ran: getattr(ran, call)(np.stack([x, x]), ys), readout)


@pytest.mark.parametrize("call", ["run", "evaluate"])
def test_lengths_and_resets(call):
    xs, ys = stream(5, LANES)
    refused(ValueError, "^ys must have as many steps as xs, 5; got 4", lambda ran: getattr(ran, call)(xs, ys[:4]))
    refused(ValueError, "^xs is empty", lambda ran: getattr(ran, call)(xs[:0], ys[:0]))
    for mask, error in BAD_RESETS.values():
        resets = mask if np.ndim(mask) == 0 else np.ma.stack([mask] * 5) if np.ma.isMA(mask) else np.array([mask] * 5)
        refused(error, "^resets must", lambda ran: getattr(ran, call)(xs, ys, resets))
    refused(ValueError, "^resets must have as many steps", lambda ran: getattr(ran, call)(xs, ys, np.ones((4, LANES), bool)))
    refused(ValueError, "^resets is empty", lambda ran: getattr(ran, call)(xs, ys, np.ones((0, LANES), bool)))


def test_no_target_to_evaluate():
    refused(ValueError, "no target", lambda ran: ran.evaluate(x_of(3, LANES, INPUTS), ids_of(3, LANES, value=-1)))


def test_masks_of_reset():
    for mask, error in BAD_LANES.values():
        refused(error, "^lanes must", lambda ran: ran.reset(mask))


def test_credit():
    for credit, match in BAD_CREDIT.values():
        refused(ValueError, f"^dL_dh .*{match}", lambda ran: ran.feedback(credit))
    for credit in (None, "a", np.ones((LANES, UNITS), bool), x_of(LANES, UNITS) * 1j, Awkward()):
        refused(TypeError, "^dL_dh must be numbers", lambda ran: ran.feedback(credit))
    fresh = session(rtrl.GRU(UNITS), rtrl.RTRL(), batch_size=LANES)
    with pytest.raises(RuntimeError, match="advance first"):
        fresh.feedback(np.ones((LANES, UNITS)))


def test_gradients():
    good = {name: np.ones_like(view) for name, view in used().network.parameters().items()}
    name = "cell.0.weight"
    for bad, error, match in [
        (None, TypeError, "^gradients must be a dict"),
        (3, TypeError, "dict"),
        ("ab", (TypeError, ValueError), "gradients"),
        ({}, ValueError, "keys"),
        ({name: good[name]}, ValueError, "keys"),
        ({**good, "other": 1}, ValueError, "keys.*other"),
        ({**good, name: good[name][:-1]}, ValueError, r"gradients\['cell.0.weight'\] must have shape \(16, 8\); got \(15, 8\)"),
        ({**good, name: good[name] * 1j}, TypeError, "numbers"),
        ({**good, name: None}, TypeError, "numbers"),
        ({**good, name: 1.0}, ValueError, "shape"),
    ]:
        refused(error, match, lambda ran: ran.apply(bad))
    without = session(rtrl.GRU(UNITS), rtrl.RTRL(), batch_size=LANES)
    with pytest.raises(RuntimeError, match="optimizer"):
        without.apply(good)


def test_a_network_without_readout():
    ran = session(rtrl.GRU(UNITS), rtrl.RTRL(), rtrl.SGD(0.1), readout=None, batch_size=LANES)
    x, y = x_of(LANES, INPUTS), ids_of(LANES)
    for call in (lambda: ran.step(x, y), lambda: ran.run([x], [y]), lambda: ran.predict(x), lambda: ran.evaluate([x], [y])):
        with pytest.raises(RuntimeError, match="no readout"):
            call()
    assert ran.steps == 0 and not ran.hidden.any()


@pytest.mark.parametrize("rate", [lambda step: -1.0, lambda step: NAN, lambda step: INF], ids=["negative", "nan", "inf"])
def test_schedules(rate):
    """The whole run is refused, even where the rate goes wrong only later."""
    ran, twin = (session(rtrl.RNN(5), rtrl.RTRL(), rtrl.SGD(lambda step: 0.1 if step < 4 else rate(step))) for _ in range(2))
    xs, ys = stream(8, 1)
    with pytest.raises(ValueError, match="schedule gave .* at step 4"):
        ran.run(xs, ys)
    assert_same_bits(ran.run(xs[:4], ys[:4]), twin.run(xs[:4], ys[:4]))
    for broken in (lambda step: "fast", lambda step: None, lambda step: 1 / 0):
        ran = session(rtrl.RNN(5), rtrl.RTRL(), rtrl.SGD(broken))
        with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
            ran.step(xs[0], ys[0])
        assert ran.steps == 0
