"""No allocation and no silent overflow, for estimators with every option (see test_every_estimator.py)."""

import warnings

import numpy as np
import pytest
from common import INPUTS, assert_same_bits, flat, stream, troubles
from test_every_estimator import EVERY, both_widths, every_estimator, every_variant, needs_filter, start
from test_memory import child, counter, needs_counter  # noqa: F401 (counter is a fixture)

import rtrl

# Allocation


@needs_counter
@pytest.mark.parametrize("threads", [1, 2])
def test_no_step_allocates(counter, threads):  # noqa: F811
    """A call of 250 steps allocates as often as one of 150; with the filter, whose Fisher information is exact."""
    code = """
from test_every_estimator import EVERY, EXACT, start
found = {}
for name, estimator in EVERY.items():
    ran = start(estimator, rtrl.LSTM(4), EXACT["quasi-diagonal"], threads=int(sys.argv[1]))
    streams = {steps: (*stream(steps, 2), reset_mask(steps, 2)) for steps in (150, 250)}
    for repeat in range(3):
        counts = {}
        for steps, (xs, ys, resets) in streams.items():
            before = calls()
            ran.run(xs, ys, resets)
            counts[str(steps)] = calls() - before
    found[name] = counts
print(json.dumps(found))
"""
    found = child(code, counter, threads)
    assert len(found) == len(EVERY)
    for name, counts in found.items():
        assert abs(counts["250"] - counts["150"]) < 10, (name, counts)


@needs_counter
def test_calls_leave_nothing_behind(counter):  # noqa: F811
    code = """
from test_every_estimator import VARIANTS, start
found = {}
for name, estimator in VARIANTS.items():
    xs, ys = stream(4, 2)
    def everything(ran):
        ran.step(xs[0], ys[0]), ran.run(xs, ys, reset_mask(4, 2)), ran.predict(xs[0]), ran.influence(), ran.nbytes
        ran.feedback(ran.advance(xs[1])), ran.reset()
    for _ in range(0 if found else 50):  # what Python itself keeps of the first objects of a kind
        everything(start(estimator, rtrl.LSTM(4), OPTIMIZERS["adam"]))
    ran = start(estimator, rtrl.LSTM(4), OPTIMIZERS["adam"])
    for _ in range(20):
        everything(ran)
    before = used()
    for _ in range(200):
        everything(ran)
    for _ in range(50):
        everything(start(estimator, rtrl.LSTM(4), OPTIMIZERS["adam"]))
    found[name] = used() - before
print(json.dumps(found))
"""
    for name, growth in child(code, counter).items():
        assert growth < 20_000, (name, growth)


# Guards


def expanding(estimator, lanes, lr, factor=2.0, dtype="float32"):
    """relu units by themselves, each `factor` times itself a step: a sparse net, which suits all of them."""
    mask = np.hstack([np.eye(3, dtype=bool), np.ones((3, INPUTS + 1), bool)])
    optimizer = rtrl.Kalman(lr) if needs_filter(estimator) else rtrl.SGD(lr)
    readout = rtrl.Linear(2)
    ran = start(estimator, rtrl.RNN(3, "relu"), optimizer, readout=readout, dtype=dtype, mask=mask, batch_size=lanes)
    ran.network.parameters()["cell.0.weight"][...] = np.where(np.arange(3 + INPUTS + 1) < 3, factor, 1) * mask
    return ran


@every_variant
def test_a_state_that_overflows(estimator):
    ran = expanding(estimator, 1, 0.0)
    with pytest.warns(RuntimeWarning, match=r"session\.health"):
        losses = ran.run(np.ones((400, 1, INPUTS)), np.zeros((400, 1, 2)))
    assert ran.health()["state_not_finite"] == np.isnan(losses).sum() == 3
    for array in (ran.hidden, flat(ran.influence()), flat(ran.gradient()), *ran._arrays.values()):
        assert np.isfinite(array).all()


@both_widths
@every_estimator
def test_learning_through_an_explosion(estimator, dtype):
    """A growing net, whatever it learns: weights, state and influence stay finite, told once, every update accounted for."""
    ran = expanding(estimator, 2, 1e-3, 10.0, dtype)
    growth, rng = ran.network.parameters()["cell.0.weight"].copy(), np.random.default_rng(0)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for t in range(900):
            if t % 180 == 0:
                ran.network.parameters()["cell.0.weight"][...] = growth
            ran.step(rng.normal(size=(2, INPUTS)), rng.normal(size=(2, 2)))
            assert np.isfinite(ran.hidden).all() and np.isfinite(flat(ran.network.parameters())).all()
            # TBPTT carries none; that of a window which explodes is truly beyond float32.
            assert isinstance(estimator, rtrl.TBPTT) or np.isfinite(flat(ran.influence())).all()
    assert troubles(ran) and ran.health()["updates"] + ran.health()["updates_skipped"] == 900 // ran.update_every
    assert [str(each.category) for each in heard] == [str(RuntimeWarning)]


@pytest.mark.parametrize("cell", [rtrl.RNN(5, "relu"), rtrl.RHN(4, 2)], ids=repr)
@every_variant
def test_only_the_bad_lane_is_dropped(estimator, cell):
    """An input that overflows resets its own lane; the others do not notice, in the later stages either."""
    optimizer = rtrl.Kalman(0.0) if needs_filter(estimator) else rtrl.SGD(0.0)
    bad, good = (start(estimator, cell, optimizer, dtype="float32", batch_size=3) for _ in range(2))
    for each in (bad, good):
        each.network.parameters()["cell.0.weight"][...] *= 5
    xs, ys = stream(9, 3)
    spoilt = xs.copy()
    spoilt[5, 1] = 3e38 * np.array([1, -1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bad.run(spoilt, ys)
    good.run(xs, ys, np.arange(9)[:, None] == [99, 5, 99])
    if "state_not_finite" in troubles(bad):
        assert troubles(bad) == {"state_not_finite": 1}
    assert np.isfinite(bad.hidden).all() and np.isfinite(flat(bad.gradient())).all()
    if not needs_filter(estimator):  # the filter, shared by all lanes, has seen another gradient
        assert_same_bits(bad.hidden[[0, 2]], good.hidden[[0, 2]])
        for name, G in bad.influence().items():
            assert_same_bits(G[[0, 2]], good.influence()[name][[0, 2]])
