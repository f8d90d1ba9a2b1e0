"""OK and BlockOK in the compiled engine: the reference sign for sign, threads, checkpoints, guards, memory.

The laws (unbiased, least noise, exact where they can be) stand in test_engine_optimal_laws.py.
"""

from functools import partial

import numpy as np
import pytest
from common import OPTIMIZERS, assert_same_bits, python, reset_mask, session, stream
from drivers import (
    LANES,
    SIZES,
    STEPS,
    TOLERANCE,
    assert_equal_calls,
    assert_equal_influence,
    assert_equal_runs,
    assert_equal_training,
    assert_goes_on_from_a_file,
    assert_ids_and_numbers_mix,
    assert_same_on_threads,
    both_widths,
    dense_or_ids,
    every_cell,
)

import rtrl

SUMS = {
    "ok 1": rtrl.OK(1),
    "ok 3": rtrl.OK(3),
    "ok 2 eager": rtrl.OK(2, fresh=False),
    "blocks 2, 4": rtrl.BlockOK(2, 4),
    "blocks 1, 3 eager": rtrl.BlockOK(1, 3, fresh=False),
    "blocks 4, 8": rtrl.BlockOK(4, 8),
    "blocks 20, 5": rtrl.BlockOK(20, 5),
}
every_sum = pytest.mark.parametrize("estimator", SUMS.values(), ids=SUMS)


# The reference


@both_widths
@dense_or_ids
@every_sum
@every_cell
def test_training_run(cell, estimator, dense, dtype):
    """The weights changing at every step; then the influence itself."""
    ours = session(cell, estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=LANES)
    assert_equal_influence(ours, assert_equal_training(ours, dense), 3 * TOLERANCE[dtype])


@both_widths
@pytest.mark.parametrize("cell", SIZES, ids=repr)
@pytest.mark.parametrize("estimator", [rtrl.OK(3), rtrl.BlockOK(4, 8)], ids=repr)
def test_sizes_around_the_vector_width(cell, estimator, dtype):
    assert_equal_runs(session(cell, estimator, rtrl.SGD(0.05), dtype=dtype, batch_size=2), *stream(18, 2))


@every_sum
def test_low_level_calls(estimator):
    """With resets, and the influence in the middle of it."""
    ours = session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), readout=None, batch_size=LANES)
    assert_equal_calls(ours, reset_mask(STEPS, LANES), applied=lambda t, twin: assert_equal_influence(ours, twin, 1e-12))


@every_sum
def test_ids_then_numbers_in_one_block(estimator):
    assert_ids_and_numbers_mix(estimator)


# Threads and checkpoints


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
@pytest.mark.parametrize("estimator", [rtrl.OK(3), rtrl.BlockOK(2, 4), rtrl.BlockOK(1, 3, fresh=False)], ids=repr)
@pytest.mark.parametrize("cell", SIZES, ids=repr)
def test_threads(cell, estimator, lanes):
    """With a shadow, and stopping in the middle of a block."""
    for dtype in TOLERANCE:
        make = partial(session, cell, estimator, OPTIMIZERS["adam"], dtype=dtype, batch_size=lanes, shadow=rtrl.KFRTRL())
        assert_same_on_threads(make, *stream(11, lanes, dense=lanes != 2), reset_mask(11, lanes))


@pytest.mark.parametrize("middle", [1, 3, 4, 6])
@every_sum
def test_goes_on_from_a_file(estimator, middle, tmp_path):
    """In every place of a block, closed or with a step open, on another number of threads."""
    for open_step in (False, True):
        ran = session(rtrl.RHN(5, 2), estimator, OPTIMIZERS["adam"], dtype="float32", batch_size=2)
        xs, ys = stream(15, 2, dense=open_step)
        ran.run(xs[:middle], ys[:middle], reset_mask(middle, 2))
        if open_step:
            ran.advance(xs[middle])
        assert_goes_on_from_a_file(ran, xs[middle:], ys[middle:], tmp_path / "file", threads=3)


# Guards and memory


@every_sum
def test_an_influence_beyond_the_cap(estimator):
    ran = session(rtrl.RHN(5), estimator, readout=None, batch_size=2, influence_cap=1e-2)
    with pytest.warns(RuntimeWarning, match="influence"):
        for x in stream(16, 2)[0]:
            ran.advance(x)
        ran.reset(np.zeros(2, bool))
    assert ran.health()["influence_capped"] > 0 and ran.health()["influence_not_finite"] == 0
    for u, A in zip(*(ran._arrays[f"estimator.{name}"].reshape(2, -1) for name in ("u0", "A0"))):
        # The product of the norms is the sum of the singular values; the cap is on the root of their squares.
        assert 0 < np.linalg.norm(u) * np.linalg.norm(A) < 1e-2 * np.sqrt(9)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
@every_sum
def test_an_influence_that_is_not_finite(estimator, value):
    """Of one lane: dropped, counted, and over with the block; the other lane notices nothing."""
    options = dict(readout=None, batch_size=2, dtype="float32", influence_cap=1e30)
    hurt, well = (session(rtrl.GRU(4), estimator, **options) for _ in range(2))
    with pytest.warns(RuntimeWarning, match="influence"):
        for t, x in enumerate(stream(24, 2)[0]):
            for each in (hurt, well):
                each.advance(x)
                if t == 8:
                    each.reset(np.zeros(2, bool))
            if t == 8:
                hurt._arrays["estimator.A0"].reshape(2, -1)[0, :3] = value
        for each in (hurt, well):
            each.reset(np.zeros(2, bool))
    assert hurt.health()["influence_not_finite"] + hurt.health()["influence_capped"] > 0
    G, expected = (each.influence()["cell.0.weight"] for each in (hurt, well))
    assert np.isfinite(G).all() and G[0].any()
    assert_same_bits(G[1], expected[1])


def test_a_long_run_takes_no_memory():
    """All of it was taken before the first step: the peak of the process stays where it is."""
    code = """
        import resource
        import rtrl
        from common import session, stream
        for estimator in (rtrl.OK(2), rtrl.BlockOK(2, 4)):
            ran = session(rtrl.RHN(9), estimator, rtrl.SGD(0.01), batch_size=2, dtype="float32")
            xs, ys = stream(4000, 2)
            ran.run(xs, ys)
            before, sizes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, ran.nbytes
            for _ in range(5):
                ran.run(xs, ys)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sizes == ran.nbytes)
    """
    for line in python(code).stdout.splitlines():
        grown, same = line.split()
        assert int(grown) <= 256 and same == "True"  # KiB; 40,000 steps that lose 8 bytes each would be seen


@pytest.mark.parametrize("estimator", [rtrl.OK(3), rtrl.BlockOK(2, 5)], ids=repr)
def test_bytes_of_the_influence(estimator):
    """rank (m + k r n^2) numbers a lane and stage, plus the padding of A to whole panels."""
    sizes = session(rtrl.LSTM(8), estimator, dtype="float64", batch_size=2).nbytes
    factors = 2 * estimator.rank * (12 + 2 * 8 * 32) * 8
    assert factors <= sizes["influence"] <= factors + 2 * 64
    assert (sizes["tape"] > 4 * 32 * 8 * 8) == isinstance(estimator, rtrl.BlockOK)


# Specs


@pytest.mark.parametrize("make", [rtrl.OK, lambda rank: rtrl.BlockOK(rank, 2), lambda block: rtrl.BlockOK(2, block)])
@pytest.mark.parametrize(
    "value, error",
    [
        (0, ValueError),
        (-1, ValueError),
        (2**31, ValueError),
        (1.5, TypeError),
        (True, TypeError),
        ("2", TypeError),
        (None, TypeError),
    ],
)
def test_bad_options(make, value, error):
    with pytest.raises(error, match="rank|block"):
        make(value)


def test_specs():
    assert repr(rtrl.OK(3)) == "OK(rank=3, fresh=True)" and rtrl.OK.kind == rtrl.BlockOK.kind == "unbiased"
    assert eval(f"rtrl.{rtrl.BlockOK(2, 4, fresh=False)!r}") == rtrl.BlockOK(2, 4, fresh=False)
    with pytest.raises(TypeError, match="fresh"):
        rtrl.OK(2, fresh=1)
    for rank, block in [(2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)]:
        with pytest.raises(MemoryError, match="this needs"):
            session(rtrl.RHN(50), rtrl.BlockOK(rank, block))
