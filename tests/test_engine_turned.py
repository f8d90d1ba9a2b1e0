"""W transposed, within a `run`, while it stays as it is for some steps: the bits of single steps, for any lanes and threads."""

import numpy as np
import pytest
from common import reset_mask, stream
from drivers import assert_equal_runs, both_widths, wide_cells

import rtrl

LANES = [13, 16, 37]  # a block that is not full, a full one, and two with a rest


def start(cell, lanes, dtype, threads=1):
    net = rtrl.Network(cell, 5, rtrl.Softmax(5), dtype=dtype, seed=1)
    return rtrl.Session(net, rtrl.TBPTT(6), rtrl.Adam(0.01), batch_size=lanes, seed=8, threads=threads)


@both_widths
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("lanes", LANES)
@wide_cells
def test_reference(cell, lanes, dense, dtype):
    ours = start(cell, lanes, dtype)
    assert_equal_runs(ours, *stream(20, lanes, ours.network.readout, inputs=5, dense=dense), reset_mask(20, lanes, rate=0.1))


@both_widths
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("lanes", LANES)
@wide_cells
def test_same_bits(cell, lanes, dense, dtype):
    """One run, shorter runs by three threads, single steps; the user writes to the weights in between."""
    whole, parts, steps = start(cell, lanes, dtype), start(cell, lanes, dtype, threads=3), start(cell, lanes, dtype)
    xs, ys = stream(26, lanes, whole.network.readout, inputs=5, dense=dense)
    for first, last in ((0, 20), (20, 26)):
        want = whole.run(xs[first:last], ys[first:last])
        cuts = sorted({first, first + 3, first + 4, *range(first + 5, last, 7), last})
        found = [parts.run(xs[a:b], ys[a:b]) for a, b in zip(cuts, cuts[1:])]
        np.testing.assert_array_equal(np.concatenate(found), want)
        np.testing.assert_array_equal([steps.step(x, y) for x, y in zip(xs[first:last], ys[first:last])], want)
        for each in (whole, parts, steps):
            for weights in each.network.parameters().values():
                weights *= 1.5
    assert whole.evaluate(xs, ys) == parts.evaluate(xs, ys)


@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize("lanes", [16, 37])
def test_same_bits_of_large_networks(lanes, sliding):
    """Large enough for a matrix unit: one run, three threads, single steps; and the reference."""

    def large(threads=1):
        net = rtrl.Network(rtrl.RHN(157), 5, rtrl.Softmax(5), dtype="float32", seed=1)
        return rtrl.Session(net, rtrl.TBPTT(6, sliding), rtrl.SGD(0.1), batch_size=lanes, seed=8, threads=threads)

    whole, parts, steps = large(), large(threads=3), large()
    xs, ys = stream(15, lanes, whole.network.readout, inputs=5)
    resets = reset_mask(15, lanes, rate=0.1)
    want = whole.run(xs, ys, resets)
    np.testing.assert_array_equal(parts.run(xs, ys, resets), want)
    for t in range(15):
        assert steps.run(xs[t : t + 1], ys[t : t + 1], resets[t : t + 1]) == want[t]
    assert_equal_runs(large(), xs, ys, resets)
