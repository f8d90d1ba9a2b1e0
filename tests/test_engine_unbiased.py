"""NoBackTrack, UORO with a memory, averaged and reversed KF-RTRL in the engine: what they compute.

    reference   sign for sign the specification, all cells, both widths, ids and numbers, resets, missing targets
    windows     gradients, resets and updates anywhere in a window; a long one is exact

Threads, checkpoints, guards and options are in test_engine_unbiased_session.py.
"""

import numpy as np
import pytest
from common import distance, flat, reference_twin, session, stream
from drivers import (
    LANES,
    TOLERANCE,
    assert_equal_calls,
    assert_equal_influence,
    assert_equal_on_wide_nets,
    assert_equal_training,
    both_widths,
    dense_or_ids,
    every_cell,
    influences,
    wide_cells,
)

import rtrl

ESTIMATORS = {
    "nobacktrack": rtrl.NoBackTrack(),
    "nobacktrack eager": rtrl.NoBackTrack(fresh=False),
    "uoro 2": rtrl.UORO(2),
    "uoro 5 eager": rtrl.UORO(5, fresh=False),
    "kfrtrl 3": rtrl.KFRTRL(average=3),
    "kfrtrl 2 eager": rtrl.KFRTRL(average=2, fresh=False),
    "reversed": rtrl.ReversedKFRTRL(),
    "reversed eager": rtrl.ReversedKFRTRL(fresh=False),
}
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
with_memory = pytest.mark.parametrize("estimator", [rtrl.UORO(4), rtrl.UORO(4, fresh=False)], ids=["fresh", "eager"])


# Reference


@both_widths
@dense_or_ids
@every_estimator
@every_cell
def test_training_run(cell, estimator, dense, dtype):
    """With an update at every step; then the influence itself."""
    ours = session(cell, estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=LANES)
    twin = assert_equal_training(ours, dense)
    twin.observe()
    ours.reset(np.zeros(LANES, bool))
    assert_equal_influence(ours, twin, 3 * TOLERANCE[dtype])


@both_widths
@pytest.mark.parametrize("update_every", [2, 5])
@every_estimator
def test_updates_every_few_steps(estimator, update_every, dtype):
    """In step with the windows, and across them."""
    assert_equal_training(
        session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=LANES, update_every=update_every)
    )


@every_estimator
@wide_cells
def test_sizes_around_the_vector_width(cell, estimator):
    assert_equal_on_wide_nets(cell, estimator, rtrl.SGD(0.05))


@every_estimator
@every_cell
def test_influence_after_every_step(cell, estimator):
    """Also while the step is open, and after the reset of one lane in the middle of a window."""
    ours = session(cell, estimator, readout=None, batch_size=LANES)
    twin, (xs, _) = reference_twin(ours), stream(11, LANES)
    for t, x in enumerate(xs):
        ours.advance(x)
        twin.advance(x)
        opened = flat(ours.influence())
        mask = np.arange(LANES) == (1 if t == 6 else LANES)
        ours.reset(mask)
        twin.reset(mask)
        for G, expected in influences(ours, twin):
            np.testing.assert_allclose(G, expected, rtol=0, atol=1e-12)
        assert opened.any() and (t != 6 or not any(G[1].any() for G in ours.influence().values()))


@every_estimator
def test_low_level_calls(estimator):
    assert_equal_calls(session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), readout=None, batch_size=LANES))


# Windows


@every_cell
def test_long_memory_is_exact(cell):
    """With a window as long as the stream; a reset in the middle; gradients asked for twice."""
    xs, ys = stream(12, 2)
    resets = np.zeros((12, 2), bool)
    resets[5, 0] = True
    runs = [session(cell, each, batch_size=2) for each in (rtrl.UORO(12), rtrl.UORO(40, fresh=False), rtrl.RTRL())]
    for part in (slice(0, 7), slice(7, 12)):
        for ran in runs:
            ran.run(xs[part], ys[part], resets[part])
        *gradients, expected = [ran.gradient() for ran in runs]
        for gradient in gradients:
            assert distance(gradient, expected) < 1e-12


@with_memory
def test_credit_is_swept_once(estimator):
    """The sum of gradients does not depend on when they are asked for, down to once a step and once in all."""
    xs, ys = stream(14, 2)
    totals = []
    for pieces in ([], [3, 4, 9], range(1, 14)):
        ran, total = session(rtrl.GRU(4), estimator, batch_size=2), 0
        for x, y in zip(np.split(xs, pieces), np.split(ys, pieces)):
            ran.run(x, y)
            total = total + flat(ran.gradient())
        totals.append(total)
    assert distance([totals[1]], [totals[0]]) < 1e-12 and distance([totals[2]], [totals[0]]) < 1e-12


@with_memory
@pytest.mark.parametrize("silent", range(4))
def test_apply_steps_along_what_it_was_given(estimator, silent):
    """Credit that the window still owes has no part in it, wherever in the window the step is applied."""
    ran = session(rtrl.GRU(4), estimator, rtrl.SGD(1.0), readout=None)
    for t in range(4 + silent):
        ran.advance(np.ones(3))
        if t < 5:
            ran.feedback(np.ones((1, 4)))
    before = {name: view.copy() for name, view in ran.network.parameters().items()}
    given = {name: np.full_like(view, 0.25) for name, view in before.items()}
    ran.apply(given)
    holes = {name: session(rtrl.GRU(4), estimator, readout=None).network.parameters()[name] == 0 for name in before}
    for name, view in ran.network.parameters().items():
        np.testing.assert_array_equal(view[~holes[name]], (before[name] - given[name])[~holes[name]])


def test_memory_grows_by_records_alone():
    """Each further step of a window takes one record, one credit and room for one term; and ids are never vectors."""
    cell, lanes = rtrl.LSTM(16), 2
    sizes = [session(cell, rtrl.UORO(T), dtype="float32", batch_size=lanes).nbytes for T in (2, 3, 4)]
    record = lanes * 4 * (16 + 2 * 64 + 4 * 16 + 1)
    credit, cut = lanes * 4 * 32, lanes * 4
    for before, after in zip(sizes, sizes[1:]):
        assert before["influence"] == after["influence"]
        assert abs(after["tape"] - before["tape"] - record - credit - cut) <= 6 * 64
    assert session(cell, rtrl.UORO(1), batch_size=lanes).nbytes["tape"] == 0
