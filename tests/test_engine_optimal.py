"""OK and BlockOK in the compiled engine: the reference sign for sign, threads, checkpoints, guards, memory.

The laws (unbiased, least noise, exact where they can be) stand in test_engine_optimal_laws.py.
"""

import numpy as np
import pytest
from common import (
    CELLS,
    OPTIMIZERS,
    assert_same_bits,
    assert_same_session,
    distance,
    python,
    reference_twin,
    reset_mask,
    session,
    stream,
)

import rtrl

STEPS, LANES = 23, 3
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}
SUMS = {
    "ok 1": rtrl.OK(1),
    "ok 3": rtrl.OK(3),
    "ok 2 eager": rtrl.OK(2, fresh=False),
    "blocks 2, 4": rtrl.BlockOK(2, 4),
    "blocks 1, 3 eager": rtrl.BlockOK(1, 3, fresh=False),
    "blocks 4, 8": rtrl.BlockOK(4, 8),
    "blocks 20, 5": rtrl.BlockOK(20, 5),
}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
every_sum = pytest.mark.parametrize("estimator", SUMS.values(), ids=SUMS)
both_widths = pytest.mark.parametrize("dtype", TOLERANCE)
# Sizes around the width of a vector and the group of units that a thread takes, one of them without a remainder.
SIZES = [rtrl.RNN(33), rtrl.GRU(17), rtrl.LSTM(16), rtrl.RHN(33), rtrl.RHN(18, 2)]


def assert_same_influence(ours, twin, tolerance):
    for G, expected in zip(ours.influence().values(), zip(*(each.influence() for each in twin.estimators))):
        assert distance([G], [np.stack(expected)]) < tolerance


# The reference


@both_widths
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "ids"])
@every_sum
@every_cell
def test_training_run(cell, estimator, dense, dtype):
    """With resets and missing targets, the weights changing at every step."""
    ours = session(cell, estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=LANES)
    twin, tolerance, (xs, ys) = reference_twin(ours), TOLERANCE[dtype], stream(STEPS, LANES, dense=dense)
    resets = reset_mask(STEPS, LANES)
    np.testing.assert_allclose(ours.run(xs, ys, resets), twin.run(xs, ys, resets), rtol=tolerance, atol=tolerance)
    assert distance(ours.network.parameters(), twin.parameters) < tolerance
    assert_same_influence(ours, twin, 3 * tolerance)


@both_widths
@pytest.mark.parametrize("cell", SIZES, ids=repr)
@pytest.mark.parametrize("estimator", [rtrl.OK(3), rtrl.BlockOK(4, 8)], ids=repr)
def test_sizes_around_the_vector_width(cell, estimator, dtype):
    ours = session(cell, estimator, rtrl.SGD(0.05), dtype=dtype, batch_size=2)
    twin, (xs, ys) = reference_twin(ours), stream(18, 2)
    np.testing.assert_allclose(ours.run(xs, ys), twin.run(xs, ys), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert distance(ours.network.parameters(), twin.parameters) < TOLERANCE[dtype]


@every_sum
def test_low_level_calls(estimator):
    """advance, feedback (twice a step, or not at all), reset, gradient, apply, and influence in the middle of it."""
    ours = session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), readout=None, batch_size=LANES)
    twin, rng, (xs, _), resets = reference_twin(ours), np.random.default_rng(0), stream(STEPS, LANES), reset_mask(STEPS, LANES)
    for t, x in enumerate(xs):
        if resets[t].any():
            ours.reset(resets[t])
            twin.reset(resets[t])
        np.testing.assert_allclose(ours.advance(x), twin.advance(x), rtol=0, atol=1e-12)
        for credit in rng.normal(size=(t % 3, LANES, 4)):
            ours.feedback(credit)
            twin.feedback(credit)
        if t % 4 == 3:
            gradient, expected = ours.gradient(), twin.gradient()
            assert distance(gradient, expected) < 1e-12
            ours.apply(gradient)
            twin.apply(expected)
            assert_same_influence(ours, twin, 1e-12)
    assert distance(ours.network.parameters(), twin.parameters) < 1e-12


@every_sum
def test_ids_then_numbers_in_one_block(estimator):
    """Ids, then the one-hot vectors that they stand for: the records of a block may be of both kinds."""
    by_id, mixed = (session(rtrl.GRU(4), estimator, rtrl.SGD(0.1), batch_size=2) for _ in range(2))
    ids, ys = stream(14, 2, dense=False)
    losses = np.concatenate(
        [
            mixed.run(*part)
            for part in ((ids[:3], ys[:3]), (np.eye(3)[ids[3:6]], ys[3:6]), (ids[6:9], ys[6:9]), (np.eye(3)[ids[9:]], ys[9:]))
        ]
    )
    np.testing.assert_allclose(losses, by_id.run(ids, ys), rtol=1e-10)


# Threads and checkpoints


def outcome(cell, estimator, threads, lanes, dtype="float32"):
    """Everything that a run with resets leaves behind, in the middle of a block."""
    ran = session(cell, estimator, OPTIMIZERS["adam"], dtype=dtype, batch_size=lanes, threads=threads, shadow=rtrl.KFRTRL())
    xs, ys = stream(11, lanes, dense=lanes != 2)
    losses = ran.run(xs, ys, reset_mask(11, lanes))
    return {"losses": losses, "cosines": ran.shadows[0].cosines, **{name: block.copy() for name, block in ran._arrays.items()}}


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
@pytest.mark.parametrize("estimator", [rtrl.OK(3), rtrl.BlockOK(2, 4), rtrl.BlockOK(1, 3, fresh=False)], ids=repr)
@pytest.mark.parametrize("cell", SIZES, ids=repr)
def test_threads(cell, estimator, lanes):
    for dtype in TOLERANCE:
        alone = outcome(cell, estimator, 1, lanes, dtype)
        for threads in (2, 3):
            assert_same_bits(outcome(cell, estimator, threads, lanes, dtype), alone)


@pytest.mark.parametrize("middle", [1, 3, 4, 6])
@every_sum
def test_goes_on_from_a_file(estimator, middle, tmp_path):
    """In every place of a block, closed or with a step open, on another number of threads."""
    for open_step in (False, True):
        whole = session(rtrl.RHN(5, 2), estimator, OPTIMIZERS["adam"], dtype="float32", batch_size=2)
        xs, ys = stream(15, 2, dense=open_step)
        whole.run(xs[:middle], ys[:middle], reset_mask(middle, 2))
        if open_step:
            whole.advance(xs[middle])
        whole.save(tmp_path / "file")
        resumed = rtrl.Session.load(tmp_path / "file", threads=3)
        assert_same_bits(resumed.run(xs[middle:], ys[middle:]), whole.run(xs[middle:], ys[middle:]))
        assert_same_session(resumed, whole)


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
