"""Shadows in Python: estimators of the reference equal their compiled twins, and nothing that they do disturbs a session."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
from common import (
    CELLS,
    ESTIMATORS,
    INPUTS,
    OPTIMIZERS,
    as_reference,
    assert_same_bits,
    assert_same_session,
    distance,
    flat,
    network,
    reset_mask,
    session,
    stream,
)
from drivers import both_widths, every_cell, every_estimator, every_readout

import rtrl
from rtrl import reference

STEPS, LANES = 15, 3
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}
FILTER = rtrl.Kalman(0.05, "quasi-diagonal", decay=0.05, prior=0.02, warm_up=2)
DIAGONAL = rtrl.Kalman(0.02, "diagonal", "exact", 0.05, 0.02, warm_up=2)
WITH_PAST = {name: estimator for name, estimator in ESTIMATORS.items() if name != "immediate"}
VARIANTS = {
    "snap 2": rtrl.SnAp(2),
    "snap 3 fresh": rtrl.SnAp(3, fresh=True),
    "rflo random": rtrl.RFLO(random_feedback=True),
    "nobacktrack kalman": rtrl.NoBackTrack("kalman"),
    "nobacktrack kalman local": rtrl.NoBackTrack("kalman", "local", fresh=False),
    "nobacktrack kalman literal": rtrl.NoBackTrack("kalman", "literal"),
}


def watched(estimator, cell=rtrl.GRU(4), optimizer=OPTIMIZERS["adam"], *, own=rtrl.UORO(), **options):
    """A session with two shadows: the estimator and its twin of the reference."""
    shadows = [estimator, as_reference(estimator)]
    return session(cell, own, optimizer, **{"batch_size": LANES, "shadow": shadows, **options})


def assert_equal_shadows(ran, tolerance=1e-12):
    """Gradients of the last update, and what the last call compared; there is something to compare."""
    compiled, twin = ran.shadows
    assert len(compiled.cosines) == len(twin.cosines) > 0 and np.isfinite(compiled.cosines).any()
    np.testing.assert_allclose(twin.cosines, compiled.cosines, rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(twin.relative_errors, compiled.relative_errors, rtol=1e-5, atol=10 * tolerance**0.5)
    assert distance(twin.gradient(), compiled.gradient()) < tolerance


# The reference as a shadow


@pytest.mark.parametrize(("dtype", "dense"), [("float64", True), ("float32", False)], ids=["float64 dense", "float32 ids"])
@every_estimator
@every_cell
def test_same_gradients_in_a_run(cell, estimator, dense, dtype):
    """With resets and missing targets, in runs of several lengths and by steps; every update of a run."""
    ran, resets = watched(estimator, cell, dtype=dtype), reset_mask(STEPS, LANES)
    xs, ys = stream(STEPS, LANES, dense=dense)
    for part in (slice(0, 7), slice(7, 11)):
        ran.run(xs[part], ys[part], resets[part])
        assert_equal_shadows(ran, TOLERANCE[dtype])
    for x, y in zip(xs[11:], ys[11:]):
        ran.step(x, y)
        assert_equal_shadows(ran, TOLERANCE[dtype])


@every_estimator
@every_cell
def test_twin_of_the_session_has_cosine_one(cell, estimator):
    ran = session(cell, estimator, rtrl.SGD(0.1), batch_size=LANES, shadow=as_reference(estimator))
    ran.run(*stream(STEPS, LANES), reset_mask(STEPS, LANES))
    (shadow,) = ran.shadows
    assert len(shadow.cosines) == STEPS // ran.update_every
    np.testing.assert_allclose(shadow.cosines, 1, rtol=0, atol=1e-13)
    np.testing.assert_allclose(shadow.relative_errors, 0, rtol=0, atol=1e-7)


@every_readout
@every_estimator
def test_same_gradients_of_several_steps(estimator, readout):
    """An update every five steps, and `gradient` in the middle."""
    ran = watched(estimator, optimizer=rtrl.SGD(0.1), readout=readout, update_every=5)
    xs, ys = stream(STEPS, LANES, readout)
    ran.run(xs[:12], ys[:12])
    assert_equal_shadows(ran)
    ran.gradient()
    assert_equal_shadows(ran)
    ran.run(xs[12:], ys[12:])
    assert_equal_shadows(ran)


@pytest.mark.parametrize("cell", ["lstm", "rhn 3"])
@every_estimator
def test_same_gradients_of_low_level_calls(cell, estimator):
    """Credit twice a step or not at all, before and after an update, and after a reset; gradients within a block."""
    ran, generator = watched(estimator, CELLS[cell], rtrl.SGD(0.1), readout=None), np.random.default_rng(0)

    def credit(times):
        for delta in generator.normal(size=(times, LANES, 4)):
            ran.feedback(delta)

    for t, x in enumerate(stream(STEPS, LANES)[0]):
        ran.advance(x)
        credit(t % 3)
        if t % 4 == 2:
            ran.reset(np.arange(LANES) == t % LANES)
            credit(1)
        if t % 5 == 3:
            ran.apply(ran.gradient())
            assert_equal_shadows(ran)
            credit(1)
    ran.gradient()
    assert_equal_shadows(ran)


@pytest.mark.parametrize("opened", [True, False], ids=["open", "over"])
@pytest.mark.parametrize("estimator", WITH_PAST.values(), ids=WITH_PAST)
def test_attached_in_the_middle_of_a_step(estimator, opened):
    ran, (xs, ys) = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=LANES), stream(STEPS, LANES)
    ran.run(xs[:6], ys[:6])
    if opened:
        ran.advance(xs[6])
    for each in (estimator, as_reference(estimator)):
        ran.shadow(each)
    ran.feedback(np.ones((LANES, 4)))
    ran.gradient()
    compiled, twin = ran.shadows
    np.testing.assert_allclose(flat(twin.gradient()), flat(compiled.gradient()), rtol=1e-12)
    ran.run(xs[7:], ys[7:])
    assert_equal_shadows(ran)


@pytest.mark.parametrize("optimizer", [FILTER, DIAGONAL], ids=["quasi-diagonal", "exact"])
@pytest.mark.parametrize("estimator", VARIANTS.values(), ids=VARIANTS)
def test_same_gradients_on_sparse_nets_and_in_a_metric(estimator, optimizer):
    ran = watched(estimator, rtrl.LSTM(4), optimizer, sparsity=0.5)
    ran.run(*stream(STEPS, LANES), reset_mask(STEPS, LANES))
    assert_equal_shadows(ran, 1e-10)


def test_lanes_may_have_other_numbers():
    """The signs of a session that is a part of a larger one."""
    ran = session(rtrl.GRU(4), rtrl.UORO(), rtrl.SGD(0.1), batch_size=LANES, first_lane=2, shadow=reference.UORO)
    ran.run(*stream(STEPS, LANES))
    np.testing.assert_allclose(ran.shadows[0].cosines, 1, rtol=0, atol=1e-13)


def test_inputs_may_change_their_kind():
    ran = watched(rtrl.TBPTT(4, sliding=True))
    ids, ys = stream(STEPS, LANES, dense=False)
    ran.run(ids[:5], ys[:5])
    ran.run(np.eye(INPUTS)[ids[5:10]], ys[5:10])
    ran.run(ids[10:], ys[10:])
    assert_equal_shadows(ran)


# One's own


class Duck:
    """Nothing of the reference: the gradient of the present step, of one stage."""

    fresh = False

    def begin(self, shapes):
        self.shapes, self.total = shapes, np.zeros(shapes[0][1:])

    def reset(self):
        self.record = None

    def observe(self, records, signs):
        (self.record,) = records

    def redirect(self, seed, error, delta):
        return delta

    def feedback(self, records, delta):
        assert records is None
        self.total += reference.immediate_gradient(self.record, delta)

    def gradient(self):
        total, self.total = self.total, np.zeros_like(self.total)
        return [total]


def test_an_idea_of_ones_own():
    ran = session(rtrl.RNN(5), rtrl.Immediate(), rtrl.SGD(0.1), batch_size=2, shadow=Duck)
    ran.run(*stream(STEPS, 2))
    np.testing.assert_allclose(ran.shadows[0].cosines, 1, atol=1e-13)


def test_the_example_of_the_document():
    """Where a leaky unit keeps `fade` of its state, the fading trace is RFLO."""
    text = (Path(__file__).parents[1] / "docs" / "adding-an-estimator.md").read_text()
    (code,) = re.findall(r"```python\n(import numpy.*?)```", text, re.S)
    (xs, ys), printed = stream(STEPS, 1), []
    example = {"network": network(rtrl.RNN(5, leak=0.2)), "xs": xs, "ys": ys, "print": lambda *values: printed.append(values[1:])}
    exec(code, example)
    assert printed[1] == pytest.approx(printed[2], abs=1e-7)
    ran = session(rtrl.RNN(5, leak=0.2), rtrl.RFLO(fresh=True), batch_size=2, shadow=lambda: example["Fading"](0.8))
    ran.run(*stream(STEPS, 2))
    ran.gradient()
    np.testing.assert_allclose(ran.shadows[0].cosines, 1, atol=1e-13)


# The session does not notice


class Spoiler(reference.KFRTRL):
    """Writes into everything that it is given."""

    def observe(self, records, signs):
        super().observe(records, signs)
        for record in records:
            for array in (record.W, record.D, record.E, record.h_hat):
                array[...] = np.nan

    def feedback(self, records, delta):
        delta[...] = 0.0
        for mask in self.masks:
            mask[...] = False


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("lanes", [1, LANES])
@both_widths
@pytest.mark.parametrize("estimator", [rtrl.KFRTRL(), rtrl.KFRTRL(block=4), rtrl.TBPTT(4), rtrl.UORO(), rtrl.RFLO()], ids=str)
def test_session_keeps_its_bits(estimator, dtype, lanes, threads):
    options = {"dtype": dtype, "batch_size": lanes, "threads": threads}
    plain, watched = (
        session(rtrl.RHN(4, 2), estimator, OPTIMIZERS["adam"], shadow=shadow, **options)
        for shadow in (None, [reference.KFRTRL, Spoiler, as_reference(estimator)])
    )
    (xs, ys), resets = stream(STEPS, lanes), reset_mask(STEPS, lanes)
    assert_same_bits(watched.run(xs, ys, resets), plain.run(xs, ys, resets))
    for each in (plain, watched):
        each.step(xs[0], ys[0])
        each.advance(xs[1])
        each.feedback(np.ones((lanes, 4)))
        each.reset(np.arange(lanes) == 0)
    assert_same_session(watched, plain)
    assert_same_bits(watched.gradient(), plain.gradient())
    assert_same_bits(watched.shadows[0].cosines.shape, (1,))


def test_records_see_the_weights_of_the_moment():
    """As the engine does: weights that the caller changes between two steps, and denormal numbers."""
    ran = watched(rtrl.TBPTT(4), optimizer=rtrl.SGD(0.1))
    xs, ys = stream(STEPS, LANES)
    for t in range(3):
        ran.run(xs[t : t + 4], ys[t : t + 4])
        assert_equal_shadows(ran)
        for view in ran.network.parameters().values():
            view *= 0.9
    floats = []

    class Looks(Duck):
        def feedback(self, records, delta):
            floats.append(np.float64(5e-324) * 1.0)

    session(rtrl.RNN(3), rtrl.RTRL(), rtrl.SGD(0.1), shadow=Looks).run(*stream(2, 1))
    assert floats == [5e-324] * 2  # denormal numbers count as 0 for the engine only


# Failures


def failing(method, at, error=ZeroDivisionError):
    """A class whose method raises at its call number `at`, of all objects."""

    class Fails(reference.UORO):
        calls = 0

    def fails(self, *arguments):
        Fails.calls += 1
        if Fails.calls == Fails.at:
            raise error
        return getattr(reference.UORO, method)(self, *arguments)

    Fails.at = at
    setattr(Fails, method, fails)
    return Fails


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt()], ids=["bug", "interrupt"])
@pytest.mark.parametrize(("method", "at"), [("observe", 5), ("redirect", 6), ("feedback", 5), ("gradient", 6), ("reset", 4)])
def test_what_a_shadow_raises_ends_a_run_after_a_whole_step(method, at, error, threads):
    """The session is where a run of that many steps would have left it, and goes on without the shadow."""
    options = {"batch_size": 2, "threads": threads}
    ran, twin = (session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), shadow=rtrl.RTRL(), **options) for _ in range(2))
    (xs, ys), resets = stream(STEPS, 2), np.arange(STEPS)[:, None] % 3 == [2, 9]
    failed = ran.shadow(failing(method, at, error))
    assert failed.failure is None
    with pytest.raises(type(error)) as raised:
        ran.run(xs, ys, resets)
    assert raised.value is error is failed.failure
    done = ran.steps
    assert 2 <= done < STEPS
    twin.run(xs[:done], ys[:done], resets[:done])
    assert_same_session(ran, twin)
    assert_same_bits(ran.run(xs[done:], ys[done:]), twin.run(xs[done:], ys[done:]))
    assert_same_session(ran, twin)
    assert_same_bits(ran.shadows[0].cosines, twin.shadows[0].cosines)
    assert np.isnan(failed.cosines).all() and len(failed.cosines) == STEPS - done
    assert not any(g.any() for g in failed.gradient().values())


CALLS = {
    "advance": ("observe", lambda ran: ran.advance(np.ones((2, INPUTS)))),
    "feedback": ("feedback", lambda ran: ran.feedback(np.ones((2, 4)))),
    "gradient": ("gradient", lambda ran: ran.gradient()),
    "apply": ("observe", lambda ran: ran.apply({name: np.ones(view.shape) for name, view in ran.network.parameters().items()})),
    "reset": ("observe", lambda ran: ran.reset()),
    "after a reset": ("reset", lambda ran: ran.step(np.ones((2, INPUTS)), np.zeros(2, int))),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_a_shadow_raises_comes_out_of_a_call_that_is_done(call):
    """`gradient` alone has to be called again for its arrays."""
    method, act = CALLS[call]
    failing_now = failing(method, 0)
    shadows = [functools.partial(failing_now, fresh=call != "advance")]
    ran, twin = (session(rtrl.RNN(4), rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=2, shadow=shadows) for _ in range(2))
    for each in (ran, twin):
        each.advance(np.ones((2, INPUTS)))
        each.feedback(np.ones((2, 4)))
        if call == "after a reset":
            each.reset()
    if call != "gradient":
        act(twin)
    failing_now.at = failing_now.calls + 1
    with pytest.raises(ZeroDivisionError):
        act(ran)
    assert_same_session(ran, twin)
    failing_now.at = 0
    assert_same_bits(ran.gradient(), twin.gradient())


def test_a_call_of_the_session_inside_a_shadow_is_refused():
    class Calls(Duck):
        def observe(self, records, signs):
            ran.reset()

    ran = session(rtrl.RNN(4), rtrl.KFRTRL(), rtrl.SGD(0.1), shadow=Calls)
    with pytest.raises(RuntimeError):
        ran.step(*(each[0] for each in stream(1, 1)))
    ran.step(*(each[0] for each in stream(1, 1)))


class NoReset(Duck):
    reset = None


class NoBool(Duck):
    fresh = "no"


class WrongShape(Duck):
    def gradient(self):
        return [self.total.T]


SAME = Duck()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (reference.KFRTRL(), TypeError, "class"),
        (rtrl.KFRTRL, TypeError, "object"),
        (lambda: rtrl.KFRTRL(), TypeError, "begin"),
        (lambda: reference.KFRTRL, TypeError, "makes such an estimator"),
        (dict, TypeError, "observe"),
        (NoReset, TypeError, "reset"),
        (NoBool, TypeError, "fresh"),
        (WrongShape, ValueError, "shapes"),
        (lambda: SAME, ValueError, "new object"),
        (reference.TBPTT, TypeError, "horizon"),
        ("KFRTRL", TypeError, "spec"),
    ],
    ids=str,
)
def test_what_is_no_estimator_is_refused(given, error, said):
    ran = session(rtrl.RNN(4), rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=2)
    with pytest.raises(error, match=said):
        ran.shadow(given)
    assert ran.shadows == ()
    with pytest.raises(error):
        session(rtrl.RNN(4), rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=2, shadow=[rtrl.RTRL(), given])
    ran.run(*stream(2, 2))


def test_files_leave_shadows_in_python_out(tmp_path):
    """Among compiled ones, with dense inputs; both sessions go on bit for bit."""
    shadows = [reference.KFRTRL, rtrl.UORO(), Duck, rtrl.TBPTT(3)]
    ran = session(rtrl.GRU(4), rtrl.KFRTRL(), OPTIMIZERS["adam"], batch_size=2, shadow=shadows)
    xs, ys = stream(STEPS, 2)
    ran.run(xs[:7], ys[:7])
    ran.save(tmp_path / "session")
    resumed = rtrl.Session.load(tmp_path / "session")
    assert [each.estimator for each in resumed.shadows] == [rtrl.UORO(), rtrl.TBPTT(3)]
    assert_same_bits(resumed.run(xs[7:], ys[7:]), ran.run(xs[7:], ys[7:]))
    assert_same_session(resumed, ran)
    for ours, theirs in zip(resumed.shadows, ran.shadows[1::2]):
        assert_same_bits(ours.cosines, theirs.cosines)
        assert_same_bits(ours.gradient(), theirs.gradient())


def test_a_shadow_in_python_is_no_spec():
    assert not hasattr(rtrl.estimators, "Foreign")
