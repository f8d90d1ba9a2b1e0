"""SnAp and RFLO of the engine: equal to the reference, to exact RTRL at their limits, to themselves on any number of threads."""

from functools import partial

import numpy as np
import pytest
from common import READOUTS, assert_same_bits, distance, flat, network, reset_mask, session, stream
from drivers import (
    LANES,
    STEPS,
    TOLERANCE,
    assert_equal_calls,
    assert_equal_influence,
    assert_equal_training,
    assert_goes_on_from_a_file,
    assert_same_on_threads,
    both_widths,
    dense_or_ids,
    every_cell,
    fresh_or_not,
)

import rtrl
from rtrl import reference

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
every_kind = pytest.mark.parametrize("estimator, sparsity", KINDS.values(), ids=KINDS)


def start(cell, estimator, sparsity, optimizer=None, **options):
    return session(cell, estimator, optimizer, sparsity=sparsity, **{"batch_size": LANES, **options})


# Against the reference


@both_widths
@dense_or_ids
@every_kind
@every_cell
def test_training_run(cell, estimator, sparsity, dense, dtype):
    """With an update at every step; then the influence itself."""
    ours = start(cell, estimator, sparsity, rtrl.SGD(0.1), dtype=dtype)
    twin = assert_equal_training(ours, dense)
    ours.reset(np.zeros(LANES, bool))
    assert_equal_influence(ours, twin, 3 * TOLERANCE[dtype])
    assert all(G.any() for G in ours.influence().values())


@every_kind
def test_low_level_calls(estimator, sparsity):
    """Feedback from outside is never redirected."""
    assert_equal_calls(start(rtrl.LSTM(4), estimator, sparsity, rtrl.SGD(0.1), readout=None))


# Limits


@both_widths
@fresh_or_not
@every_cell
def test_long_reach_is_rtrl(cell, fresh, dtype):
    """On a sparse net from 1 + the longest way on; one order less is not enough."""
    cell = cell.replace(hidden=9)
    masks = list(network(cell, sparsity=0.75).masks().values())[:-1]
    order = 1
    while any((a != b).any() for a, b in zip(reference.reachable(masks, 9, order), reference.reachable(masks, 9, order + 1))):
        order += 1
    assert order > 2 or len(masks) > 1
    xs, ys = stream(14, LANES)
    exact = start(cell, rtrl.RTRL(), 0.75, dtype=dtype)
    losses = exact.run(xs, ys)
    gradient = exact.gradient()
    for reach, low, high in ((order, 0, TOLERANCE[dtype]), (2**31 - 1, 0, TOLERANCE[dtype]), (1, 1e-3, 10)):
        near = start(cell, rtrl.SnAp(reach, fresh=fresh), 0.75, dtype=dtype)
        assert_same_bits(near.run(xs, ys), losses)
        assert low <= distance(near.gradient(), gradient) < high


def test_units_by_themselves():
    """Where units read only themselves order 1 is exact."""
    for cell in (rtrl.RNN(5), rtrl.GRU(5), rtrl.LSTM(5), rtrl.RHN(5, 2)):
        full = network(cell).masks()
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
    make = partial(start, cell, estimator, sparsity and 0.9, rtrl.Adam(0.01), dtype="float32", batch_size=lanes)
    assert_same_on_threads(make, *stream(7, lanes, dense=lanes != 2), reset_mask(7, lanes))


@every_kind
@pytest.mark.parametrize("cell", [rtrl.GRU(4), rtrl.LSTM(4), rtrl.RHN(5, 2)], ids=repr)
def test_save_and_load_in_the_middle(cell, estimator, sparsity, tmp_path):
    ran = start(cell, estimator, sparsity, rtrl.Adam(0.01), dtype="float32", update_every=3)
    xs, ys = stream(STEPS, LANES)
    ran.run(xs[:10], ys[:10])
    assert_goes_on_from_a_file(ran, xs[10:], ys[10:], tmp_path / "middle")


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
