"""SnAp and RFLO of the engine: equal to the reference, to exact RTRL at their limits, to themselves on any number of threads."""

import numpy as np
import pytest
from common import (
    CELLS,
    READOUTS,
    assert_same_bits,
    assert_same_session,
    distance,
    flat,
    reference_twin,
    reset_mask,
    session,
    stream,
)

import rtrl
from rtrl import reference

STEPS, LANES = 23, 3
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}
# Estimators with the sparsity of the net they run on.
KINDS = {
    "snap": (rtrl.SnAp(), None),
    "snap fresh": (rtrl.SnAp(fresh=True), None),
    "snap sparse": (rtrl.SnAp(), 0.5),
    "snap 2": (rtrl.SnAp(2), 0.6),
    "snap 3 fresh": (rtrl.SnAp(3, fresh=True), 0.7),
    "snap 99": (rtrl.SnAp(99), 0.6),
    "rflo": (rtrl.RFLO(), None),
    "rflo fresh": (rtrl.RFLO(fresh=True), 0.5),
    "rflo random": (rtrl.RFLO(random_feedback=True), None),
    "rflo random sparse": (rtrl.RFLO(random_feedback=True), 0.4),
}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
every_kind = pytest.mark.parametrize("estimator, sparsity", KINDS.values(), ids=KINDS)


def sparse_net(cell, sparsity, dtype="float64", readout=READOUTS["softmax"], seed=3):
    return rtrl.Network(cell, 3, readout, dtype=dtype, seed=seed, sparsity=sparsity)


def start(cell, estimator, sparsity, optimizer=None, *, dtype="float64", readout=READOUTS["softmax"], **options):
    options = {"threads": 1, "seed": 5, "batch_size": LANES, **options}
    return rtrl.Session(sparse_net(cell, sparsity, dtype, readout), estimator, optimizer, **options)


# Against the reference


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "ids"])
@every_kind
@every_cell
def test_training_run(cell, estimator, sparsity, dense, dtype):
    """With resets, missing targets and an update at every step; then the influence itself."""
    ours = start(cell, estimator, sparsity, rtrl.SGD(0.1), dtype=dtype)
    twin, tolerance, (xs, ys) = reference_twin(ours), TOLERANCE[dtype], stream(STEPS, LANES, dense=dense)
    resets = reset_mask(STEPS, LANES)
    np.testing.assert_allclose(ours.run(xs, ys, resets), twin.run(xs, ys, resets), rtol=tolerance, atol=tolerance)
    assert distance(ours.network.parameters(), twin.parameters) < tolerance
    ours.reset(np.zeros(LANES, bool))
    for G, expected in zip(ours.influence().values(), zip(*(each.influence() for each in twin.estimators))):
        assert distance([G], [np.stack(expected)]) < 3 * tolerance
        assert G.any()


@every_kind
def test_low_level_calls(estimator, sparsity):
    """advance, feedback (twice a step, or not at all), gradient, apply; feedback from outside is never redirected."""
    ours = start(rtrl.LSTM(4), estimator, sparsity, rtrl.SGD(0.1), readout=None)
    twin, rng, (xs, _) = reference_twin(ours), np.random.default_rng(0), stream(STEPS, LANES)
    for t, x in enumerate(xs):
        np.testing.assert_allclose(ours.advance(x), twin.advance(x), rtol=0, atol=1e-12)
        for credit in rng.normal(size=(t % 3, LANES, 4)):
            ours.feedback(credit)
            twin.feedback(credit)
        if t % 4 == 3:
            gradient, expected = ours.gradient(), twin.gradient()
            assert distance(gradient, expected) < 1e-12
            ours.apply(gradient)
            twin.apply(expected)
    assert distance(ours.network.parameters(), twin.parameters) < 1e-12


# Limits


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-4)])
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "eager"])
@every_cell
def test_long_reach_is_rtrl(cell, fresh, dtype, tolerance):
    """On a sparse net from 1 + the longest way on; one order less is not enough."""
    cell = cell.replace(hidden=9)
    masks = list(sparse_net(cell, 0.75).masks().values())[:-1]
    order = 1
    while any((a != b).any() for a, b in zip(reference.reachable(masks, 9, order), reference.reachable(masks, 9, order + 1))):
        order += 1
    assert order > 2 or len(masks) > 1
    xs, ys = stream(14, LANES)
    exact = start(cell, rtrl.RTRL(), 0.75, dtype=dtype)
    losses = exact.run(xs, ys)
    gradient = exact.gradient()
    for reach, low, high in ((order, 0, tolerance), (2**31 - 1, 0, tolerance), (1, 1e-3, 10)):
        near = start(cell, rtrl.SnAp(reach, fresh=fresh), 0.75, dtype=dtype)
        assert_same_bits(near.run(xs, ys), losses)
        assert low <= distance(near.gradient(), gradient) < high


def test_units_by_themselves():
    """Where units read only themselves order 1 is exact."""
    for cell in (rtrl.RNN(5), rtrl.GRU(5), rtrl.LSTM(5), rtrl.RHN(5, 2)):
        full = sparse_net(cell, None).masks()
        masks = {name: mask.copy() for name, mask in full.items() if name != "readout.weight"}
        for mask in masks.values():
            mask[:, :5] &= np.tile(np.eye(5, dtype=bool), (len(mask) // 5, 1))
        runs = [
            rtrl.Session(rtrl.Network(cell, 3, READOUTS["softmax"], dtype="float64", mask=masks), each, batch_size=LANES)
            for each in (rtrl.SnAp(), rtrl.RTRL(), rtrl.RFLO())
        ]
        for ran in runs:
            ran.run(*stream(14, LANES))
        snap, exact, rflo = (ran.gradient() for ran in runs)
        assert distance(snap, exact) < 1e-12 and distance(rflo, exact) > 1e-4


# Determinism and files


@pytest.mark.parametrize("lanes", [1, 2, 3, 5])
@every_kind
@pytest.mark.parametrize("cell", [rtrl.RNN(33), rtrl.GRU(17), rtrl.LSTM(18), rtrl.RHN(35, 2)], ids=repr)
def test_threads(cell, estimator, sparsity, lanes):
    sparsity = sparsity and 0.9
    outcomes = []
    for threads in (1, 2, 3):
        ran = start(cell, estimator, sparsity, rtrl.Adam(0.01), dtype="float32", batch_size=lanes, threads=threads)
        xs, ys = stream(7, lanes, dense=lanes != 2)
        losses = ran.run(xs, ys, reset_mask(7, lanes))
        outcomes.append({"losses": losses, **ran.network.parameters(), **ran._arrays})
    for other in outcomes[1:]:
        assert_same_bits(other, outcomes[0])


@every_kind
@pytest.mark.parametrize("cell", [rtrl.GRU(4), rtrl.LSTM(4), rtrl.RHN(5, 2)], ids=repr)
def test_save_and_load_in_the_middle(cell, estimator, sparsity, tmp_path):
    whole = start(cell, estimator, sparsity, rtrl.Adam(0.01), dtype="float32", update_every=3)
    xs, ys = stream(STEPS, LANES)
    whole.run(xs[:10], ys[:10])
    whole.save(tmp_path / "middle")
    half = rtrl.Session.load(tmp_path / "middle", threads=2)
    assert repr(half) == repr(whole)
    assert_same_bits(half.run(xs[10:], ys[10:]), whole.run(xs[10:], ys[10:]))
    assert_same_session(half, whole)
    assert_same_bits(half.network.masks(), whole.network.masks())


# Guards, memory, refusals


@every_kind
def test_guards(estimator, sparsity):
    """A block beyond the cap is scaled down to it; one that is not finite is dropped; both are counted."""
    ran = start(rtrl.RHN(5, 2), estimator, sparsity, influence_cap=0.5)
    xs, ys = stream(9, LANES)
    with pytest.warns(RuntimeWarning, match="influence"):
        ran.run(xs, ys)
    ran.reset(np.zeros(LANES, bool))
    norms = [np.linalg.norm(G[b]) for G in ran.influence().values() for b in range(LANES)]
    assert max(norms) <= 0.5 * (1 + 1e-12) and min(norms) > 0.1
    assert ran.health()["influence_capped"] > 0
    ran._arrays["estimator.J0"][:3] = np.inf
    ran.step(xs[0], ys[0])
    ran.reset(np.zeros(LANES, bool))
    assert ran.health()["influence_not_finite"] > 0
    assert np.isfinite(flat(ran.influence())).all()


def test_memory_is_in_proportion_to_the_pattern():
    """One number per kept entry and lane; a step allocates nothing (every block is in the arena from the start)."""
    cell = rtrl.GRU(40)
    for estimator in (rtrl.SnAp(), rtrl.SnAp(2), rtrl.SnAp(3), rtrl.RFLO()):
        ran = start(cell, estimator, 0.95)
        (mask,) = list(ran.network.masks().values())[:-1]
        (pattern,) = reference.reachable([mask], 40, getattr(estimator, "order", 1))
        weights = mask.reshape(4, 40, -1).sum((0, 2))
        assert ran._arrays["estimator.J0"].size == LANES * int((pattern.sum(0) * weights).sum())
        before = (ran.nbytes, [id(arena) for arena in ran._engine.arenas()])
        ran.run(*stream(9, LANES, dense=False))
        assert (ran.nbytes, [id(arena) for arena in ran._engine.arenas()]) == before
    dense = start(cell, rtrl.SnAp(), None)
    assert dense._arrays["estimator.J0"].size == LANES * (dense.network.parameter_count - 4 * 41)


@pytest.mark.parametrize("mask", [None, "inputs only"])
def test_a_dense_net_with_a_higher_order_is_refused(mask):
    """At once, before anything is allocated, and with a way out; nothing else is refused."""
    ones = np.ones((3000, 3004), bool)
    ones[:, 3000] = False
    net = rtrl.Network(rtrl.RNN(3000), 3, mask=None if mask is None else ones)
    for order in (2, 7):
        with pytest.raises(ValueError, match=rf"SnAp\(order={order}\).*sparsity=.*RTRL\(\)"):
            rtrl.Session(net, rtrl.SnAp(order), batch_size=10_000)
    small = session(rtrl.RNN(4), rtrl.SnAp())
    with pytest.raises(ValueError, match="sparse"):
        small.shadow(rtrl.SnAp(2))
    assert small.shadows == ()


def test_options():
    values = [(bad, ValueError) for bad in (0, -1, 2**31)]
    for bad, error in [*values, *((bad, TypeError) for bad in (1.5, "1", True, None))]:
        with pytest.raises(error, match="order"):
            rtrl.SnAp(bad)
    for make, name in ((rtrl.SnAp, "fresh"), (rtrl.RFLO, "fresh"), (rtrl.RFLO, "random_feedback")):
        for bad in (1, None, "no"):
            with pytest.raises(TypeError, match=name):
                make(**{name: bad})
    with pytest.raises(ValueError, match="random_feedback"):
        rtrl.RFLO(fresh=True, random_feedback=True)
    assert rtrl.SnAp.kind == rtrl.RFLO.kind == "biased"
    for spec in (rtrl.SnAp(3, fresh=True), rtrl.RFLO(random_feedback=True)):
        assert eval(f"rtrl.{spec!r}") == spec
