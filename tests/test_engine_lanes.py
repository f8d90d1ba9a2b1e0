"""Estimators whose one pass takes several lanes at once: equal to the reference for any number of lanes, waiting or not."""

import numpy as np
import pytest
from common import distance, reference_twin, reset_mask, stream
from drivers import TOLERANCE, assert_equal_influence, assert_equal_runs, both_widths, wide_cells

import rtrl

KINDS = {
    "uoro": (rtrl.UORO(), None),
    "uoro eager": (rtrl.UORO(fresh=False), None),
    "nobacktrack": (rtrl.NoBackTrack(), None),
    "snap": (rtrl.SnAp(), None),
    "snap fresh": (rtrl.SnAp(fresh=True), None),
    "snap sparse": (rtrl.SnAp(), 0.5),
    "rflo": (rtrl.RFLO(), None),
}
every_kind = pytest.mark.parametrize("estimator, sparsity", KINDS.values(), ids=KINDS)


def start(cell, estimator, sparsity, lanes, dtype="float64"):
    net = rtrl.Network(cell, 21, rtrl.Softmax(5), dtype=dtype, seed=1, sparsity=sparsity)
    return rtrl.Session(net, estimator, rtrl.SGD(0.05), batch_size=lanes, seed=8, threads=1)


@both_widths
@pytest.mark.parametrize("lanes", [1, 7])
@every_kind
@wide_cells
def test_any_number_of_lanes(cell, estimator, sparsity, lanes, dtype):
    """With resets, so that a step waits for some lanes and not for others; then the influence itself."""
    ours = start(cell, estimator, sparsity, lanes, dtype)
    twin = assert_equal_runs(ours, *stream(6, lanes, ours.network.readout, inputs=21), reset_mask(6, lanes, rate=0.2))
    ours.reset(np.zeros(lanes, bool))
    assert_equal_influence(ours, twin, 3 * TOLERANCE[dtype])


@every_kind
@wide_cells
def test_steps_without_credit(cell, estimator, sparsity):
    """What waits is taken in by the next step where no delta comes, and only once where several come."""
    ours, rng = start(cell, estimator, sparsity, 5), np.random.default_rng(0)
    twin = reference_twin(ours)
    for t, x in enumerate(stream(6, 5, ours.network.readout, inputs=21)[0]):
        for each in (ours, twin):
            each.reset(np.arange(5) == t % 4)
            each.advance(x)
        for credit in rng.normal(size=(t % 3, 5, cell.hidden)):
            ours.feedback(credit)
            twin.feedback(credit)
    assert distance(ours.gradient(), twin.gradient()) < 1e-12
