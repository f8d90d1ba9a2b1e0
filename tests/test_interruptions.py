"""Exceptions of signal handlers (Ctrl-C, a time limit) at any moment: every call is done or not begun, and none is locked out.

An exception is raised at each of the instructions of Python that a call executes, and by a timer wherever it strikes.
"""

import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
from common import INPUTS, OUTPUTS, assert_same_bits, session

import rtrl

LANES, UNITS = 2, 4
XS = np.random.default_rng(0).normal(size=(12, LANES, INPUTS))
YS = np.random.default_rng(1).integers(-1, OUTPUTS, (12, LANES))
IDS = np.random.default_rng(2).integers(0, INPUTS, (12, LANES))
DELTA = np.random.default_rng(3).normal(size=(LANES, UNITS))
GRADIENTS = {name: np.ones(view.shape) for name, view in session(rtrl.LSTM(UNITS), rtrl.RTRL()).network.parameters().items()}

CALLS = {
    "step": lambda ran: ran.step(XS[0], YS[0]),
    "step with ids": lambda ran: ran.step(IDS[0], YS[0]),
    "step with lists": lambda ran: ran.step(XS[0].tolist(), YS[0].tolist()),
    "run": lambda ran: ran.run(XS, YS),
    "run with ids and resets": lambda ran: ran.run(IDS, YS, np.eye(12, LANES, dtype=bool)),
    "advance": lambda ran: ran.advance(XS[0]),
    "advance with lists": lambda ran: ran.advance(XS[0].tolist()),
    "feedback": lambda ran: ran.feedback(DELTA),
    "feedback with lists": lambda ran: ran.feedback(DELTA.tolist()),
    "gradient": lambda ran: ran.gradient(),
    "apply": lambda ran: ran.apply(GRADIENTS),
    "apply with lists": lambda ran: ran.apply({name: value.tolist() for name, value in GRADIENTS.items()}),
    "reset": lambda ran: ran.reset(),
    "reset of a lane": lambda ran: ran.reset([True, False]),
    "hidden": lambda ran: ran.hidden,
    "set hidden": lambda ran: setattr(ran, "hidden", DELTA),
    "state": lambda ran: ran.state(),
    "set_state": lambda ran: ran.set_state({"h": DELTA, "c": DELTA}),
    "predict": lambda ran: ran.predict(XS[0]),
    "predict with lists": lambda ran: ran.predict(XS[0].tolist()),
    "predict_run": lambda ran: ran.predict_run(XS),
    "evaluate": lambda ran: ran.evaluate(XS, np.maximum(YS, 0)),
    "influence": lambda ran: ran.influence(),
    "health": lambda ran: (ran.health(), ran.steps, ran.nbytes, repr(ran)),
    "shadow": lambda ran: ran.shadow(rtrl.UORO()),
}
LOOKS = {"hidden", "state", "predict", "predict with lists", "predict_run", "evaluate", "influence", "health"}
every_call = pytest.mark.parametrize("name", CALLS)


class Interrupt(BaseException):
    pass


def start(**options):
    """A session in the middle of a step, with credit that was not asked for."""
    options = {"batch_size": LANES, "update_every": 3, **options}
    ran = session(rtrl.LSTM(UNITS), rtrl.KFRTRL(fresh=True), rtrl.Adam(0.01), **options)
    ran.run(XS[:4], YS[:4])
    ran.advance(XS[4])
    ran.feedback(DELTA)
    return ran


def contents(ran):
    """Every bit that a checkpoint would hold, but for memory that is there and not used yet."""
    blocks = {name: block.tobytes() for name, block in ran._arrays.items() if block.any()}
    return blocks | {"weights": ran.network._flat.tobytes(), "shadows": len(ran.shadows)}


def is_whole(ran, before, twin, call):
    """Is a session, interrupted in a call, where it was before, or where its twin comes by the call or some of its steps?"""
    if contents(ran) == before:
        return True
    if call.startswith("run"):
        for t in range(ran.steps - twin.steps):
            resets = np.eye(12, LANES, dtype=bool)[t : t + 1] if "resets" in call else None
            twin.run((IDS if "ids" in call else XS)[t : t + 1], YS[t : t + 1], resets)
    else:
        CALLS[call](twin)
    return contents(ran) == contents(twin)


def interrupted_at(place, call, ran):
    """Raise at the instruction number `place` of Python that a call executes; whether there are so many."""
    left = place

    def trace(frame, event, _):
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_code.co_filename != __file__:
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise Interrupt
        return trace

    traced = sys.gettrace()
    sys.settrace(trace)
    try:
        call(ran)
    except Interrupt:
        return True
    finally:
        sys.settrace(traced)
    return False


@every_call
def test_an_exception_at_any_instruction_leaves_a_call_done_or_not_begun(name):
    ran, twin = start(), start()
    place, most = 0, 3 if name == "shadow" else 1000
    while interrupted_at(place, CALLS[name], ran) and len(ran.shadows) < most:
        before = contents(twin)
        assert is_whole(ran, before, twin, name), f"after an exception at instruction {place}"
        if contents(ran) != before and name in LOOKS:
            pytest.fail("a look changed the session")
        place += 1 if place < 40 else 7
    assert place >= 4


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_thousands_of_interruptions():
    """Some seconds of random ones, over all calls."""
    rng, struck = random.Random(0), 0
    sessions = {name: (start(), start()) for name in CALLS}
    names, until = list(CALLS), time.monotonic() + 4

    def strike(*_):
        raise Interrupt

    def once(name, ran, delay):
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            CALLS[name](ran)
            for _ in range(10_000):  # the timer is yet to come
                time.sleep(0.001)
        except Interrupt:
            return
        pytest.fail(f"an exception was lost in {name}")

    previous = signal.signal(signal.SIGALRM, strike)
    try:
        while time.monotonic() < until and struck < 5000:
            name = rng.choice(names)
            ran, twin = sessions[name]
            before = contents(twin)
            once(name, ran, rng.random() * (2e-3 if name in ("influence", "shadow") else 2e-4) + 2e-6)
            assert is_whole(ran, before, twin, name), f"{name} was left half done"
            if len(ran.shadows) > 2:
                sessions[name] = start(), start()
            struck += 1
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert struck > 500


def wait_for_work(ran):
    """Return when another thread is in the middle of a call of this session."""
    until = time.monotonic() + 60
    with pytest.raises(RuntimeError, match="another thread"):
        while time.monotonic() < until:
            time.sleep(0.001)
            _ = ran.hidden


def heard_during(call, handler, ran):
    """Let a signal come while a call of a session is at work; what the handler raises ends the call."""

    def send():
        wait_for_work(ran)
        signal.raise_signal(signal.SIGINT)

    previous, sender = signal.signal(signal.SIGINT, handler), threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(Interrupt):
            call(ran)
    finally:
        sender.join()
        signal.signal(signal.SIGINT, previous)


LONG = np.zeros(2**18, np.int32)  # converted at once, before the first step
INSIDE = {
    "run": lambda ran: ran.run(LONG, LONG),
    "evaluate": lambda ran: ran.evaluate(LONG, LONG),
    "predict_run": lambda ran: ran.predict_run(LONG),
}


@pytest.mark.parametrize("call", INSIDE)
def test_a_handler_may_look_and_save(call, tmp_path):
    """Between two steps; what it saves goes on as a session does that was stopped there."""
    ran, twin = (session(rtrl.GRU(UNITS), rtrl.KFRTRL(), rtrl.SGD(0.1)) for _ in range(2))
    other = rtrl.Session(ran.network, rtrl.RTRL(), rtrl.SGD(0.1))
    seen, refused = {}, {}

    def handler(*_):
        ran.save(tmp_path / "session")
        other.save(tmp_path / "other")
        seen.update(steps=ran.steps, hidden=ran.hidden, influence=ran.influence(), health=ran.health(), nbytes=ran.nbytes)
        seen.update(predict=ran.predict([1]), ahead=ran.predict_run([1, 2]), loss=ran.evaluate([1, 2], [0, 1]))
        seen.update(dense=ran.predict_run(XS[:2, 0]), state=ran.state())
        changes = {
            "step": lambda: ran.step(0, 0),
            "step with lists": lambda: ran.step([0], [0]),
            "run": lambda: ran.run([0], [0]),
            "advance": lambda: ran.advance(0),
            "feedback": lambda: ran.feedback(np.ones((1, UNITS))),
            "gradient": ran.gradient,
            "apply": lambda: ran.apply(ran.network.parameters()),
            "reset": ran.reset,
            "hidden": lambda: setattr(ran, "hidden", np.ones((1, UNITS))),
            "shadow": lambda: ran.shadow(rtrl.RTRL()),
            "step of a session with the same network": lambda: other.step(0, 0),
        }
        for name, change in changes.items():
            try:
                change()
            except RuntimeError as error:
                refused[name] = str(error)
        seen["changes"] = list(changes)
        raise Interrupt

    heard_during(INSIDE[call], handler, ran)
    assert list(refused) == seen["changes"]
    assert all("inside a run of this session" in words and "thread" not in words for words in refused.values())
    assert ran.steps == seen["steps"] and (ran.steps > 0) == (call == "run")
    if ran.steps:
        twin.run(LONG[: ran.steps], LONG[: ran.steps])
    sessions = ran, rtrl.Session.load(tmp_path / "session"), twin
    for each in sessions:
        assert_same_bits(each.hidden, seen["hidden"])
        assert_same_bits(each.influence(), seen["influence"])
        assert_same_bits(each.predict(1)[None], seen["ahead"][:1])
    losses = [each.run([0, 1, 2], [0, 1, 2]) for each in sessions]
    assert_same_bits(losses[0], losses[2])
    assert_same_bits(losses[1], losses[2])


@pytest.mark.parametrize("call", ["evaluate", "predict_run"])
def test_looking_ahead_within_looking_ahead(call):
    """A handler that looks ahead does not disturb what it comes into."""
    ran = session(rtrl.GRU(UNITS), rtrl.RTRL(), rtrl.SGD(0.1))
    ids = np.random.default_rng(0).integers(0, INPUTS, 200_000)
    look = {"evaluate": lambda: ran.evaluate(ids, ids), "predict_run": lambda: ran.predict_run(ids)[-1]}[call]
    expected, heard = look(), []

    def handler(*_):
        heard.append(ran.predict(1))
        ran.evaluate([1, 2], [0, 1])

    previous = signal.signal(signal.SIGINT, handler)

    def send():
        for times in range(3):
            wait_for_work(ran)
            signal.raise_signal(signal.SIGINT)
            until = time.monotonic() + 60
            while len(heard) <= times and time.monotonic() < until:
                time.sleep(0.001)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        while sender.is_alive():
            assert_same_bits(look(), expected)
    finally:
        sender.join()
        signal.signal(signal.SIGINT, previous)
    assert len(heard) == 3


@pytest.mark.parametrize("arguments", [(np.zeros((1, INPUTS)), np.zeros(1, int)), (0, 0)], ids=["numbers", "ids"])
@pytest.mark.parametrize("call", ["step", "run"])
def test_a_schedule_may_look_at_its_session(call, arguments):
    """And does not disturb the step that waits for it, nor is it told about threads when it wants more."""

    def schedule(step):
        if looks:
            ran.predict(np.ones((1, INPUTS)))
            ran.predict(1)
            ran.evaluate([1], [1])
            assert ran.steps == step and ran.hidden.shape == (1, UNITS)
        if step == 2 and looks:
            ran.reset()
        return 0.1

    losses = []
    for looks in (False, True):
        ran = session(rtrl.GRU(UNITS), rtrl.UORO(), rtrl.SGD(schedule))
        x, y = (arguments[0], arguments[1]) if call == "step" else ([arguments[0]], [arguments[1]])
        losses.append([getattr(ran, call)(x, y), getattr(ran, call)(x, y)])
    assert_same_bits(*losses)
    with pytest.raises(RuntimeError, match="inside a run of this session.*a schedule may look"):
        getattr(ran, call)(x, y)
    assert ran.steps == 2


def test_a_long_run_of_slow_steps_is_heard_soon():
    """However slow a step is, only few of them pass before a signal is heard."""
    ran = session(rtrl.RNN(60), rtrl.RTRL(), rtrl.SGD(0.1), batch_size=8, dtype="float32")
    ids = np.zeros((10_000, 8), int)

    def handler(*_):
        raise Interrupt

    heard_during(lambda ran: ran.run(ids, ids), handler, ran)
    assert 0 < ran.steps < 200
