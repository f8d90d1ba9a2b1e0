"""Arguments of the usual form take a short way through compiled code: the same bits as the long way, the same refusals."""

import numpy as np
import pytest
from common import INPUTS, OUTPUTS, READOUTS, assert_same_bits, assert_same_session, flat, session, stream

import rtrl

STEPS, UNITS = 12, 4


def twins(readout="softmax", lanes=1, **options):
    readout = READOUTS[readout]
    made = [session(rtrl.GRU(UNITS), rtrl.UORO(), rtrl.SGD(0.1), readout=readout, batch_size=lanes, **options) for _ in range(2)]
    for each in made:  # dense inputs take their memory the long way
        each.predict(np.zeros((lanes, INPUTS)))
    return made


def same_steps(short, long, pairs, strange):
    """Every step of the first is taken the short way, of the second the long way, where `strange` makes an argument odd."""
    for x, y in pairs:
        loss = short._engine.quick_step(x, y)
        assert type(loss) is float
        assert long._engine.quick_step(strange(x), strange(y)) is None
        np.testing.assert_equal(loss, long.step(strange(x), strange(y)))
    assert_same_session(short, long)
    assert_same_bits(short.gradient(), long.gradient())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("readout", READOUTS)
def test_both_ways_give_the_same(readout, lanes, dtype):
    """Ids and numbers in, ids and numbers out, some targets missing, both widths of numbers and of ids."""
    for given in (np.float32, np.float64):
        short, long = twins(readout, lanes, dtype=dtype)
        xs, ys = stream(STEPS, lanes, READOUTS[readout])
        ids = stream(STEPS, lanes, READOUTS[readout], dense=False)[0]
        whole = np.int32 if given is np.float32 else np.int64
        ys = ys.astype(whole if ys.dtype.kind == "i" else given)
        pairs = [*zip(xs.astype(given), ys), *zip(ids.astype(whole), ys)]
        if lanes == 1:
            pairs += [(x[0], y[0]) for x, y in zip(xs.astype(given), ys) if y.dtype.kind == "f"]
        same_steps(short, long, pairs, lambda value: value.tolist())


def test_single_ids_in_any_type():
    short, long = twins()
    types = [int, *(np.dtype(code).type for code in "bBhHiIlLqQ")]
    same_steps(short, long, [(kind(i % INPUTS), kind(i % OUTPUTS)) for i, kind in enumerate(types)], lambda value: [value])


@pytest.mark.parametrize("update_every", [1, 3])
def test_schedules(update_every):
    """A schedule is asked for the same time steps, and once."""
    asked = [], []
    made = []
    for steps in asked:
        rate = rtrl.SGD(lambda step, steps=steps: steps.append(step) or 0.1 / (1 + step))
        made.append(session(rtrl.GRU(UNITS), rtrl.UORO(), rate, update_every=update_every))
    for i in range(STEPS):
        made[0].step(i % INPUTS, 1)
        made[1].step([i % INPUTS], [1])
    for each in made:
        each.apply(each.gradient())
    assert asked[0] == asked[1] and len(asked[0]) == STEPS // update_every + 1
    assert_same_session(*made)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("estimator", [rtrl.UORO(), rtrl.TBPTT(3), rtrl.KFRTRL()], ids=repr)
def test_the_four_calls(estimator, lanes):
    """Also where credit is still owed when a gradient is applied: then the long way keeps it."""
    short, long = (session(rtrl.GRU(UNITS), estimator, rtrl.SGD(0.1), readout=None, batch_size=lanes) for _ in range(2))
    xs, credits = stream(STEPS, lanes)[0], np.random.default_rng(0).normal(size=(STEPS, lanes, UNITS))
    for each in (short, long):
        each.advance(xs[0])
    for t in range(STEPS):
        assert_same_bits(short._engine.quick_advance(xs[t]), long.advance(xs[t].tolist()))
        assert short._engine.quick_feedback(credits[t]) and not long._engine.quick_feedback(credits[t].tolist())
        long.feedback(credits[t].tolist())
        if t % 4 == 3:
            continue
        gradients = short.gradient(), long.gradient()
        assert_same_bits(*gradients)
        if t % 4 == 1:
            for each in (short, long):
                each.feedback(credits[t])
        short.apply(gradients[0])
        long.apply({name: value.tolist() for name, value in gradients[1].items()})
        assert_same_session(short, long)
    assert_same_bits(short.gradient(), long.gradient())


def test_predictions():
    short, long = twins("linear", 3)
    for x in stream(STEPS, 3)[0]:
        out = np.empty((3, OUTPUTS), short.network.dtype)
        assert short._engine.quick_predict(x, out) is True
        assert_same_bits(out, long.predict(x.tolist()))
    short.network.parameters()["readout.weight"][0, 0] = np.inf
    with pytest.warns(RuntimeWarning, match="prediction is not finite") as told:
        short.predict(np.ones((3, INPUTS)))
    assert told[0].filename == __file__


def test_what_is_unusual_changes_nothing():
    """Answered None or False; the long way then takes or refuses it (test_bad_input, test_good_input)."""
    ran, twin = twins(lanes=2)
    good = np.zeros((2, INPUTS)), np.zeros(2, int)
    odd = [
        1,
        True,
        np.True_,
        "a",
        None,
        2**70,
        np.zeros((2, INPUTS), ">f8"),
        np.zeros((2, 2 * INPUTS))[:, ::2],
        np.zeros((INPUTS, 2)).T,
        np.zeros((2, INPUTS), np.float16),
        np.full((2, INPUTS), np.nan),
        np.full(2, 5),
        np.full(2, -2),
        np.zeros(2, bool),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "m8[s]"),
        np.timedelta64(1),
        np.zeros(()),
        np.ma.array(good[1]),
        np.frombuffer(bytes(17), np.int64, 2, 1),
        np.zeros(2, [("a", int)]),
    ]
    for value in odd:
        assert ran._engine.quick_step(value, good[1]) is None and ran._engine.quick_step(good[0], value) is None
        assert ran._engine.quick_advance(value) is None
        assert ran._engine.quick_feedback(value) is False and ran._engine.quick_apply(value) is False
    gradients = {name: np.zeros(view.shape) for name, view in ran.network.parameters().items()}
    name = "cell.0.weight"
    for value in (*odd, gradients[name][:-1], gradients[name][:, :-1], gradients[name].T, gradients[name].ravel()):
        assert ran._engine.quick_apply({**gradients, name: value}) is False
    assert ran._engine.quick_apply({name: gradients[name]}) is False
    assert ran._engine.quick_apply({**gradients, "other": 0}) is False
    assert_same_session(ran, twin)
    assert not flat(ran.gradient()).any() and ran.steps == 0
    assert ran._engine.quick_step(*good) is not None


def test_warnings_name_the_callers_line():
    ran, _ = twins("linear")
    ran.network.parameters()["cell.0.weight"][0, 0] = np.inf
    with pytest.warns(RuntimeWarning, match="health") as told:
        for _ in range(3):
            ran.step(np.ones((1, INPUTS)), np.ones((1, OUTPUTS)))
    assert told[0].filename == __file__ and len(told) == 1
