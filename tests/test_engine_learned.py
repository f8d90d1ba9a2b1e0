"""KeRNL and DNI of the engine: equal to the reference, to themselves on any number of threads and after a file; guards."""

from functools import partial

import numpy as np
import pytest
from common import CELLS, assert_same_bits, distance, flat, reset_mask, session, stream
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
)
from test_engine_local import start

import rtrl

KINDS = {
    "kernl": (rtrl.KeRNL(), None),
    "kernl fast": (rtrl.KeRNL(0.3, 0.2, leak=0.5), None),
    "kernl still": (rtrl.KeRNL(0.0, 0.0), None),
    "kernl sparse": (rtrl.KeRNL(noise=0.5), 0.5),
    "dni": (rtrl.DNI(), None),
    "dni fast": (rtrl.DNI(1.0), 0.5),
}
every_kind = pytest.mark.parametrize("estimator, sparsity", KINDS.values(), ids=KINDS)


@both_widths
@dense_or_ids
@every_kind
@every_cell
def test_training_run(cell, estimator, sparsity, dense, dtype):
    """With an update at every step; then what was learned, and the influence."""
    ours, tolerance = start(cell, estimator, sparsity, rtrl.SGD(0.1), dtype=dtype), TOLERANCE[dtype]
    twin = assert_equal_training(ours, dense)
    assert_equal_influence(ours, twin, 3 * tolerance)
    assert all(G.any() for G in ours.influence().values())
    if isinstance(estimator, rtrl.KeRNL):
        learned = np.stack([each.A[-1] for each in twin.estimators])
        alphas = np.stack([each.alpha[-1] for each in twin.estimators])
        small = ours._arrays[f"estimator.small{len(ours.network.masks()) - 2}"].reshape(LANES, 4, -1)
        assert distance([small[:, 3]], [alphas]) < 3 * tolerance
        name = f"estimator.A{len(ours.network.masks()) - 2}"
    else:
        learned, name = np.stack([each.A for each in twin.estimators]), "estimator.A"
        assert learned.any()
    assert distance([ours._arrays[name]], [learned]) < 3 * tolerance


@every_kind
def test_low_level_calls(estimator, sparsity):
    """With a reset between credit and credit; asking for the influence changes nothing."""
    ours = start(rtrl.LSTM(4), estimator, sparsity, rtrl.SGD(0.1), readout=None)

    def credited(t, twin):
        ours.influence()
        if t == 11:
            for each in (ours, twin):
                each.reset(np.arange(LANES) == 1)
                each.feedback(np.ones((LANES, 4)))

    assert_equal_calls(ours, credited=credited)


def test_still_dni_is_immediate():
    for cell in CELLS.values():
        runs = [session(cell, each, rtrl.SGD(0.1), batch_size=LANES) for each in (rtrl.DNI(0.0), rtrl.Immediate())]
        for ran in runs:
            ran.run(*stream(STEPS, LANES), reset_mask(STEPS, LANES))
        assert distance(runs[0].network.parameters(), runs[1].network.parameters()) < 1e-12


@pytest.mark.parametrize("lanes", [1, 2, 3, 5])
@every_kind
@pytest.mark.parametrize("cell", [rtrl.RNN(33), rtrl.GRU(17), rtrl.LSTM(18), rtrl.RHN(35, 2)], ids=repr)
def test_threads(cell, estimator, sparsity, lanes):
    make = partial(start, cell, estimator, sparsity, rtrl.Adam(0.01), dtype="float32", batch_size=lanes)
    assert_same_on_threads(make, *stream(7, lanes, dense=lanes != 2), reset_mask(7, lanes))


@every_kind
@pytest.mark.parametrize("cell", [rtrl.GRU(4), rtrl.LSTM(4), rtrl.RHN(5, 2)], ids=repr)
def test_save_and_load_in_the_middle(cell, estimator, sparsity, tmp_path):
    ran = start(cell, estimator, sparsity, rtrl.Adam(0.01), dtype="float32", update_every=3)
    xs, ys = stream(STEPS, LANES)
    ran.run(xs[:10], ys[:10])
    assert_goes_on_from_a_file(ran, xs[10:], ys[10:], tmp_path / "middle")


@every_kind
def test_a_step_allocates_nothing(estimator, sparsity):
    ran = start(rtrl.GRU(20), estimator, sparsity)
    ran.run(*stream(3, LANES))
    before = (ran.nbytes, [id(arena) for arena in ran._engine.arenas()])
    ran.run(*stream(9, LANES))
    assert (ran.nbytes, [id(arena) for arena in ran._engine.arenas()]) == before
    assert ran.nbytes["influence"] > 0


@pytest.mark.parametrize(
    "name, estimator",
    [
        ("A0", rtrl.KeRNL()),
        ("B0", rtrl.KeRNL()),
        ("small0", rtrl.KeRNL()),
        ("A", rtrl.DNI()),
    ],
)
def test_guards(name, estimator):
    """What is not finite is dropped together with what was learned from it, and counted; the other lanes go on."""
    ran, twin = (start(rtrl.GRU(5), estimator, None) for _ in range(2))
    xs, ys = stream(9, LANES)
    for each in (ran, twin):
        each.run(xs, ys)
    block = ran._arrays[f"estimator.{name}"]
    block[: block.size // LANES] = np.nan
    with pytest.warns(RuntimeWarning, match="influence"):
        ran.step(xs[0], ys[0])
    twin.step(xs[0], ys[0])
    assert ran.health()["influence_not_finite"] == 1
    for block, expected in ((each._arrays[f"estimator.{name}"].reshape(LANES, -1) for each in (ran, twin)),):
        assert np.isfinite(block).all()
        assert_same_bits(block[1:], expected[1:])
    assert np.isfinite(flat(ran.influence())).all()


def test_the_cap():
    """The bound |A||B| of KeRNL's influence, and the norm of DNI's map, stay below the cap, counted."""
    for estimator in (rtrl.KeRNL(), rtrl.DNI(1.0)):
        ran = start(rtrl.RHN(5), estimator, None, influence_cap=0.05)
        with pytest.warns(RuntimeWarning, match="influence"):
            ran.run(*stream(20, LANES))
        assert ran.health()["influence_capped"] > 0
        if isinstance(estimator, rtrl.DNI):
            norms = np.linalg.norm(ran._arrays["estimator.A"].reshape(LANES, -1), axis=1)
        else:
            norms = np.linalg.norm(ran.influence()["cell.0.weight"].reshape(LANES, -1), axis=1)
        assert (norms <= 0.05 * (1 + 1e-12)).all() and norms.any()


def test_options():
    numbers = [(rtrl.KeRNL, "lr"), (rtrl.KeRNL, "kernel_lr"), (rtrl.KeRNL, "noise"), (rtrl.KeRNL, "leak"), (rtrl.DNI, "lr")]
    for make, name in numbers:
        values = [(bad, ValueError) for bad in (-0.1, float("nan"), float("inf"))]
        for bad, error in [*values, *((bad, TypeError) for bad in ("0.1", None, True))]:
            with pytest.raises(error, match=name):
                make(**{name: bad})
    refused = ((rtrl.KeRNL, {"noise": 0}), (rtrl.KeRNL, {"leak": 0}), (rtrl.KeRNL, {"leak": 1.1}), (rtrl.DNI, {"lr": 2}))
    for make, options in refused:
        with pytest.raises(ValueError, match=next(iter(options))):
            make(**options)
    assert rtrl.KeRNL.kind == rtrl.DNI.kind == "biased"
    for spec in (rtrl.KeRNL(0.1, noise=2), rtrl.DNI(0)):
        assert eval(f"rtrl.{spec!r}") == spec
