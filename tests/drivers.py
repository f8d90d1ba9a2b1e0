"""What many tests do with sessions, and the cases that they do it with.

engine and reference side by side   training, the four calls of a step, the influence
one session and another             any number of threads, on from a file
"""

import numpy as np
import pytest
from common import (
    CELLS,
    ESTIMATORS,
    READOUTS,
    assert_same_bits,
    assert_same_session,
    distance,
    reference_twin,
    reset_mask,
    session,
    stream,
)

import rtrl

STEPS, LANES = 23, 3
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}
# Sizes around the width of a vector and the group of units that a thread takes, one of them without a remainder.
SIZES = [rtrl.RNN(33), rtrl.GRU(17), rtrl.LSTM(16), rtrl.RHN(33), rtrl.RHN(18, 2)]

every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
every_readout = pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
wide_cells = pytest.mark.parametrize("cell", [rtrl.RNN(17), rtrl.GRU(19), rtrl.LSTM(16), rtrl.RHN(33), rtrl.RHN(18, 2)], ids=repr)
both_widths = pytest.mark.parametrize("dtype", TOLERANCE)
dense_or_ids = pytest.mark.parametrize("dense", [True, False], ids=["dense", "ids"])
fresh_or_not = pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "eager"])


# Engine and reference


def assert_equal_runs(ours, xs, ys, resets=None, tolerance=None):
    """Losses, weights and state of a session and of its twin, which is returned, after the same stream."""
    twin, tolerance = reference_twin(ours), tolerance or TOLERANCE[ours.network.dtype.name]
    np.testing.assert_allclose(ours.run(xs, ys, resets), twin.run(xs, ys, resets), rtol=tolerance)
    assert distance(ours.network.parameters(), twin.parameters) < tolerance
    np.testing.assert_allclose(ours.hidden, twin.states[:, 0], rtol=0, atol=tolerance)
    return twin


def assert_equal_training(ours, dense=True, tolerance=None):
    """With resets and missing targets; returns the twin."""
    return assert_equal_runs(ours, *stream(STEPS, LANES, dense=dense), reset_mask(STEPS, LANES), tolerance)


def influences(ours, twin):
    """(engine's, reference's) influence [B, k*n, r*n, m] of every stage."""
    expected = zip(*(each.influence() for each in twin.estimators))
    return [(G, np.stack(each)) for G, each in zip(ours.influence().values(), expected, strict=True)]


def assert_equal_influence(ours, twin, tolerance):
    for G, expected in influences(ours, twin):
        assert distance([G], [expected]) < tolerance


def assert_equal_calls(ours, resets=None, credited=None, applied=None):
    """advance, feedback (twice a step, or not at all), gradient and apply; no readout, four units, an optimizer.

    Parameters
    ----------
    ours : rtrl.Session
        A fresh session of `LANES` lanes.
    resets : ndarray of bool or None
        Which lanes [T, B] are reset before which steps.
    credited, applied : callable or None
        Called with the step and the twin: after the credit of every step, and after every update.
    """
    twin, rng, (xs, _) = reference_twin(ours), np.random.default_rng(0), stream(STEPS, LANES)
    for t, x in enumerate(xs):
        if resets is not None and resets[t].any():
            ours.reset(resets[t])
            twin.reset(resets[t])
        np.testing.assert_allclose(ours.advance(x), twin.advance(x), rtol=0, atol=1e-12)
        for credit in rng.normal(size=(t % 3, LANES, 4)):
            ours.feedback(credit)
            twin.feedback(credit)
        if credited:
            credited(t, twin)
        if t % 4 == 3:
            gradient, expected = ours.gradient(), twin.gradient()
            assert distance(gradient, expected) < 1e-12
            ours.apply(gradient)
            twin.apply(expected)
            if applied:
                applied(t, twin)
    assert distance(ours.network.parameters(), twin.parameters) < 1e-12


def assert_equal_on_wide_nets(cell, estimator, optimizer, tolerance=1e-12):
    """More units than one vector holds, with and without a remainder; a wide input and many outputs."""
    net = rtrl.Network(cell, 21, rtrl.Softmax(37), dtype="float64", seed=1)
    ours = rtrl.Session(net, estimator, optimizer, batch_size=2, seed=8, threads=1)
    assert_equal_runs(ours, *stream(7, 2, net.readout, inputs=21), tolerance=tolerance)


# One session and another


def remains(ran):
    """Everything that a session leaves behind, before and after its gradient is asked for; copies."""

    def copies(of, arrays):
        return {f"{of} {name}": array.copy() for name, array in arrays.items()}

    return {
        "hidden": ran.hidden,
        "health": np.array(list(ran.health().values())),
        **{f"cosines {i}": shadow.cosines for i, shadow in enumerate(ran.shadows)},
        **copies("W", ran.network.parameters()),
        **copies("block", ran._arrays),
        **copies("gradient", ran.gradient()),
        **copies("block afterwards", ran._arrays),
    }


def assert_same_on_threads(make, xs, ys, resets=None):
    """The same bits from sessions on one, two and three threads, which are returned; `make(threads=...)` makes them."""
    teams = [make(threads=threads) for threads in (1, 2, 3)]
    alone, *others = ({"losses": ran.run(xs, ys, resets), **remains(ran)} for ran in teams)
    for other in others:
        assert_same_bits(other, alone)
    return teams


def assert_goes_on_from_a_file(ran, xs, ys, path, threads=2):
    """What is saved now, and loaded on another number of threads, goes on bit for bit."""
    ran.save(path)
    resumed = rtrl.Session.load(path, threads=threads)
    assert repr(resumed) == repr(ran)
    assert_same_bits(resumed.run(xs, ys), ran.run(xs, ys))
    assert_same_session(resumed, ran)
    assert_same_bits(resumed.network.masks(), ran.network.masks())
    assert_same_bits(resumed.gradient(), ran.gradient())


def assert_ids_and_numbers_mix(estimator):
    """Ids, then the one-hot vectors that they stand for: the records of a block may be of both kinds."""
    by_id, mixed = (session(rtrl.GRU(4), estimator, rtrl.SGD(0.1), batch_size=2) for _ in range(2))
    ids, ys = stream(14, 2, dense=False)
    parts = ((ids[:3], ys[:3]), (np.eye(3)[ids[3:6]], ys[3:6]), (ids[6:9], ys[6:9]), (np.eye(3)[ids[9:]], ys[9:]))
    losses = np.concatenate([mixed.run(*part) for part in parts])
    np.testing.assert_allclose(losses, by_id.run(ids, ys), rtol=1e-10)
