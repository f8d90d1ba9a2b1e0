"""One training step (predict, score, credit, Adam) of every estimator, cell and size, float32, one thread."""

import numpy as np
import pytest

import rtrl
from bench.workloads import CELLS, ESTIMATORS, carried_bytes, make, step_flops, stream

_MOST_FLOPS = 5e9  # of a step; beyond it exact RTRL takes seconds a round
_PADDING = 1.35  # rows and panels are filled up to whole cache lines


def cases():
    """Everything that can be measured in reasonable time: exact RTRL costs 2 n flops a carried number."""
    for cell in CELLS:
        for name, estimator in ESTIMATORS.items():
            for hidden in (32, 128, 256):
                for lanes in (1, 16):
                    numbers = carried_bytes(cell, hidden, estimator, lanes) / 4
                    if name != "RTRL" or 2 * hidden * numbers <= _MOST_FLOPS:
                        yield pytest.param(cell, hidden, estimator, lanes, id=f"{cell}-{name}-n{hidden}-B{lanes}")


@pytest.mark.parametrize(("cell", "hidden", "estimator", "lanes"), list(cases()))
def test_step(time_steps, cell, hidden, estimator, lanes):
    session = make(cell, hidden, estimator, lanes)
    xs, ys = stream(4096, lanes)
    losses = []

    def work(steps):
        losses.append(session.run(xs[:steps], ys[:steps]))

    time_steps(session, work, step_flops(session))
    assert all(np.isfinite(each).all() for each in losses)
    sizes = session.nbytes
    needed = carried_bytes(cell, hidden, estimator, lanes)
    assert needed <= sizes["influence"] + sizes["tape"] <= _PADDING * needed + 1024
    assert sizes["total"] == sum(size for name, size in sizes.items() if name != "total")
    assert session.health() | {"steps": 0, "updates": 0} == dict.fromkeys(session.health(), 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["KFRTRL", "UORO", "TBPTT25"])
def test_float_width(time_steps, name, dtype):
    session = make("RHN", 128, ESTIMATORS[name], 16, dtype=dtype)
    xs, ys = stream(4096, 16)
    losses = []
    time_steps(session, lambda steps: losses.append(session.run(xs[:steps], ys[:steps])), step_flops(session), "float width")
    assert np.isfinite(losses[0]).all()
    assert session.hidden.dtype == dtype


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads(time_steps, threads):
    session = make("RHN", 256, rtrl.KFRTRL(), 16, threads=threads)
    xs, ys = stream(4096, 16)
    losses = []
    time_steps(session, lambda steps: losses.append(session.run(xs[:steps], ys[:steps])), step_flops(session), "threads")
    twin = make("RHN", 256, rtrl.KFRTRL(), 16, threads=1)
    assert (twin.run(xs[:2], ys[:2]) == losses[0][:2]).all()
