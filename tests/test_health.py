"""The guards: whatever overflows is stopped, counted and told, lane by lane; never a silent NaN."""

import warnings

import numpy as np
import pytest
from common import (
    CELLS,
    ESTIMATORS,
    INPUTS,
    READOUTS,
    as_reference,
    assert_same_bits,
    distance,
    flat,
    reference_twin,
    session,
    stream,
)

import rtrl
from rtrl import reference

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
NO_TROUBLE = dict.fromkeys(
    ("influence_capped", "influence_not_finite", "state_not_finite", "loss_not_finite", "updates_skipped"), 0
)


def troubles(of):
    return {name: count for name, count in of.health().items() if name in NO_TROUBLE and count}


def growing(estimator, optimizer=None, *, factor=2.0, dtype="float32", lanes=1, readout=rtrl.Linear(2), **options):
    """A relu net whose state and influence grow by `factor` at every step."""
    net = rtrl.Network(rtrl.RNN(3, "relu"), INPUTS, readout, dtype=dtype, seed=0)
    net.parameters()["cell.0.weight"][...] = np.hstack([factor * np.eye(3), np.ones((3, INPUTS + 1))])
    return rtrl.Session(net, estimator, optimizer, batch_size=lanes, threads=1, **options)


def test_counts_of_a_healthy_run():
    ran = session(rtrl.GRU(4), rtrl.TBPTT(4), rtrl.SGD(0.1), batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ran.run(*stream(23, 2))
    assert ran.health() == {"steps": 23, "updates": 5, **NO_TROUBLE}


@every_estimator
def test_a_state_that_overflows(estimator):
    """The lane starts afresh, its step counts for nothing; how often is what float32 in NumPy says."""
    steps, state, expected = 400, np.zeros(3, np.float32), []
    for t in range(steps):
        with np.errstate(over="ignore"):
            state = np.float32(2) * state + np.float32(INPUTS + 1)
        expected.append(not np.isfinite(np.linalg.norm(state.astype(float))))
        state = np.zeros(3, np.float32) if expected[-1] else state
    ran = growing(estimator, rtrl.SGD(0.0))
    with pytest.warns(RuntimeWarning, match=r"session\.health"):
        losses = ran.run(np.ones((steps, 1, INPUTS)), np.zeros((steps, 1, 2)))
    assert np.isnan(losses).tolist() == expected
    assert ran.health()["state_not_finite"] == sum(expected) == 3
    assert np.isfinite(ran.hidden).all() and np.isfinite(flat(ran.influence())).all() and np.isfinite(flat(ran.gradient())).all()


@every_estimator
def test_learning_through_an_explosion(estimator):
    """A growing net, whatever it learns: weights, state and influence stay finite, and every odd loss is accounted for."""
    ran = growing(estimator, rtrl.SGD(1e-3), factor=10.0, lanes=2)
    growth = ran.network.parameters()["cell.0.weight"].copy()
    rng = np.random.default_rng(0)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(20):
            ran.network.parameters()["cell.0.weight"][...] = growth
            losses = ran.run(rng.normal(size=(50, 2, INPUTS)), rng.normal(size=(50, 2, 2)))
            for array in (ran.hidden, flat(ran.network.parameters()), flat(ran.influence())):
                assert np.isfinite(array).all()
            health = ran.health()
            if not np.isfinite(losses).all():
                assert health["state_not_finite"] + health["loss_not_finite"] > 0
    assert troubles(ran) and health["updates"] + health["updates_skipped"] == 1000 // ran.update_every
    assert [str(each.category) for each in heard] == [str(RuntimeWarning)]  # once


def test_only_the_bad_lane_is_dropped():
    """An input that overflows resets its own lane; the others do not notice."""
    for estimator in ESTIMATORS.values():
        bad, good = (session(rtrl.RNN(5, "relu"), estimator, rtrl.SGD(0.0), dtype="float32", batch_size=3) for _ in range(2))
        bad.network.parameters()["cell.0.weight"][...] *= 5
        good.network.parameters()["cell.0.weight"][...] *= 5
        xs, ys = stream(9, 3)
        spoilt = xs.copy()
        spoilt[5, 1] = 3e38 * np.array([1, -1, 1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bad.run(spoilt, ys)
        good.run(xs, ys, np.arange(9)[:, None] == [99, 5, 99])
        assert troubles(bad) == {"state_not_finite": 1}
        assert_same_bits(bad.hidden[[0, 2]], good.hidden[[0, 2]])
        for name, G in bad.influence().items():
            assert_same_bits(G[[0, 2]], good.influence()[name][[0, 2]])
        assert np.isfinite(bad.hidden).all() and np.isfinite(flat(bad.gradient())).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38], ids=["nan", "inf", "overflow"])
@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_a_readout_that_overflows(readout, value):
    """The loss is reported as infinite, not as missing; nothing is learned from it, and the cell stays as it is."""
    ran = session(rtrl.RNN(5), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=readout, dtype="float32", batch_size=2)
    ran.network.parameters()["readout.weight"][...] = value
    before = {name: view.copy() for name, view in ran.network.parameters().items()}
    ys = np.zeros((4, 2), int) if isinstance(readout, rtrl.Softmax) else np.zeros((4, 2, readout.outputs))
    xs = np.random.default_rng(3).normal(size=(4, 2, INPUTS))
    if value == 3e38:
        # Of the sign of h, so that the sums overflow whatever the other units do.
        ran.network.parameters()["readout.weight"][...] *= np.sign(ran.advance(xs[0])[0, 0])
        xs[:] = xs[0]
    with pytest.warns(RuntimeWarning, match="health"):
        losses = ran.run(xs, ys)
    assert np.isinf(losses).any() and not np.isnan(losses).any()
    assert troubles(ran)["loss_not_finite"] >= np.isinf(losses).sum()
    if value != 3e38:
        assert troubles(ran)["loss_not_finite"] == 8 and np.isinf(losses).all()
        assert_same_bits(ran.network.parameters(), before)


def test_a_gradient_that_overflows():
    """The update is skipped and counted; weights and moments stay as they were."""
    ran = session(rtrl.RNN(5), rtrl.KFRTRL(), rtrl.Adam(0.1), readout=rtrl.Linear(4), dtype="float32")
    ran.network.parameters()["readout.weight"][...] = 1e25
    before = {name: view.copy() for name, view in ran.network.parameters().items()}
    with pytest.warns(RuntimeWarning, match="health"):
        loss = ran.step(np.ones(INPUTS), np.zeros(4))
    assert loss > 1e45 and troubles(ran) == {"updates_skipped": 1} and ran.health()["updates"] == 0
    assert_same_bits(ran.network.parameters(), before)
    assert not flat(ran.gradient()).any()


def test_nothing_is_silent_on_the_low_level():
    """Credit that is finite but overflows the gradient must be told, since no update will skip it."""
    ran = session(rtrl.RNN(5), rtrl.RTRL(), readout=None, dtype="float32")
    ran.advance(np.ones(INPUTS))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(20):
            ran.feedback(np.full((1, 5), 3e38))
        gradient = flat(ran.gradient())
    assert np.isfinite(gradient).all() or heard


def test_evaluate_does_not_leave_out_what_overflows():
    """A mean over the good steps only would look like a result."""
    ran = growing(rtrl.Immediate(), readout=rtrl.Softmax(2))
    xs, ys = np.ones((400, 1, INPUTS)), np.zeros((400, 1), int)
    assert np.isfinite(ran.evaluate(xs[:50], ys[:50]))
    assert not np.isfinite(ran.evaluate(xs, ys))


# The cap of the influence


def capped(make, cap, counted):
    """A reference estimator whose influence is scaled down to `cap` wherever the engine's guard looks at it."""

    class Capped(make.func):
        def observe(self, records, signs):
            for stage, record in enumerate(records):
                H = reference.jacobian(record)
                for block in range(len(records)):
                    self.carry(block, H, stage == block)
                if isinstance(self, reference.RTRL):
                    self.G[stage] = self.G[stage] + reference.immediate(record)
                else:
                    count = 2 if isinstance(self, reference.KFRTRL) else len(H)
                    chosen = signs(stage, count).astype(float)
                    self.reduce(stage, record, *(chosen if count == 2 and isinstance(self, reference.KFRTRL) else [chosen]))

        def carry(self, block, H, own):
            name, other = {"RTRL": ("G", None), "KFRTRL": ("A", "u"), "UORO": ("v", "w")}[make.func.__name__]
            moved = np.tensordot(H, getattr(self, name)[block], 1)
            norm = np.linalg.norm(moved) * (1 if other is None else np.linalg.norm(getattr(self, other)[block]))
            if norm > cap and (own or name != "v"):
                moved = moved * (cap / norm)
                counted.append(block)
            getattr(self, name)[block] = moved

    return lambda: Capped(**make.keywords)


@pytest.mark.parametrize("estimator", [each for each in ESTIMATORS.values() if each.kind in ("exact", "unbiased")], ids=repr)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_cap(cell, estimator):
    """Equal to the reference with the same cap, and counted where it cuts."""
    cap, counted = 0.6, []
    ours = session(cell, estimator, readout=None, batch_size=2, influence_cap=cap)
    ours.network.parameters()["cell.0.weight"][...] *= 3
    twin = reference_twin(ours)
    make = capped(as_reference(estimator), cap, counted)
    twin.estimators = [make() for _ in range(2)]
    for each in twin.estimators:
        each.begin([(twin.cell.k * twin.cell.n, *W.shape) for W in twin.weights])
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for x in rng.normal(size=(15, 2, INPUTS)):
            ours.advance(x)
            twin.advance(x)
        ours.reset(np.zeros(2, bool))
    twin.observe()
    for G, expected in zip(ours.influence().values(), zip(*(each.influence() for each in twin.estimators))):
        assert distance([G], [np.stack(expected)]) < 1e-11
    assert troubles(ours) == {"influence_capped": len(counted)} and len(counted) > 5


@pytest.mark.parametrize("estimator", [rtrl.RTRL(), rtrl.UORO(), rtrl.KFRTRL()], ids=repr)
def test_default_cap_keeps_float32_finite(estimator):
    """The state is kept small by resets of nothing: only the influence grows, by 2 a step."""
    ran = growing(estimator, readout=None)
    ran.network.parameters()["cell.0.weight"][:, 3:] = 0  # no input reaches the state, which stays at 0 ...
    ran.network.parameters()["cell.0.weight"][:, -1] = 1e-30  # ... but for a trace that keeps the relu open
    with pytest.warns(RuntimeWarning, match="health"):
        for _ in range(120):
            ran.advance(np.ones(INPUTS))
    norm = np.linalg.norm(flat(ran.influence()))
    assert set(troubles(ran)) == {"influence_capped"} and 1e6 < norm < 1e10
    assert ran.health()["influence_capped"] > 80


@pytest.mark.parametrize("estimator", [rtrl.RTRL(), rtrl.UORO(), rtrl.KFRTRL()], ids=repr)
def test_an_influence_beyond_all_caps_is_dropped(estimator):
    """With the cap out of reach the influence overflows, is set to 0, counted, and grows again."""
    ran = growing(estimator, readout=None, influence_cap=1e300)
    ran.network.parameters()["cell.0.weight"][...] = np.hstack([1e3 * np.eye(3), np.zeros((3, INPUTS)), np.full((3, 1), 1e-30)])
    with pytest.warns(RuntimeWarning, match="health"):
        for _ in range(100):
            ran.advance(np.ones(INPUTS))
            if ran.steps % 8 == 0:
                # Only the influence is to overflow; no public call sets back the state alone.
                ran._arrays["session.s"][:] = 0
    assert set(troubles(ran)) == {"influence_not_finite"}
    for name, block in ran._arrays.items():
        if name.startswith("estimator."):
            assert np.isfinite(block).all(), name
