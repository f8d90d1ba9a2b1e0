"""The same bits whatever the number of threads, the way of calling, and the process; rounding only between CPU levels."""

import json

import numpy as np
import pytest
from common import ESTIMATORS, OPTIMIZERS, READOUTS, assert_same_bits, assert_same_session, python, reset_mask, session, stream
from drivers import SIZES, dense_or_ids, every_estimator, every_readout, remains

import rtrl
import rtrl_core


def outcome(cell, estimator, threads, lanes, *, dtype="float32", dense=True, steps=7, readout=READOUTS["softmax"]):
    """Losses and everything else that a run leaves behind."""
    ran = session(
        cell, estimator, OPTIMIZERS["adam"], readout=readout, dtype=dtype, batch_size=lanes, threads=threads, shadow=rtrl.KFRTRL()
    )
    xs, ys = stream(steps, lanes, readout, dense=dense)
    losses = ran.run(xs, ys, reset_mask(steps, lanes))
    ran.reset(np.arange(lanes) % 2 == 1)
    trial = ran.evaluate(xs, ys, reset_mask(steps, lanes))
    return {
        "losses": losses,
        "evaluation": np.array(trial),
        "prediction": ran.predict(xs[0]),
        **remains(ran),
    }


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
@every_estimator
@pytest.mark.parametrize("cell", SIZES, ids=repr)
def test_threads(cell, estimator, lanes):
    alone = outcome(cell, estimator, 1, lanes, dense=lanes != 2)
    assert np.isfinite(alone["losses"]).any()
    for threads in (2, 3, 4):
        assert_same_bits(outcome(cell, estimator, threads, lanes, dense=lanes != 2), alone)


@every_readout
@pytest.mark.parametrize("estimator", [rtrl.KFRTRL(), rtrl.UORO(), rtrl.TBPTT(3)], ids=repr)
def test_threads_on_a_larger_net(estimator, readout):
    """Several pieces of everything: units, panels, chunks of parameters."""
    for dtype in ("float32", "float64"):
        alone = outcome(rtrl.RHN(70), estimator, 1, 3, dtype=dtype, readout=readout)
        for threads in (2, 3, 4):
            assert_same_bits(outcome(rtrl.RHN(70), estimator, threads, 3, dtype=dtype, readout=readout), alone)


@pytest.mark.parametrize("lanes", [1, 3])
@every_estimator
def test_threads_of_the_low_level(estimator, lanes):
    """advance, feedback, gradient, apply, reset and influence on a team."""
    rng = np.random.default_rng(0)
    xs, credits = rng.normal(size=(6, lanes, 3)), rng.normal(size=(6, lanes, 33))
    options = {"readout": None, "batch_size": lanes}
    teams = [session(rtrl.RHN(33), estimator, OPTIMIZERS["momentum"], threads=t, **options) for t in (1, 2, 4)]
    for t, (x, credit) in enumerate(zip(xs, credits)):
        for ran in teams:
            ran.advance(x)
            ran.feedback(credit)
            if t % 2:
                ran.apply(ran.gradient())
            elif t == 4:
                ran.reset(np.arange(lanes) == 0)
    for ran in teams[1:]:
        assert_same_bits(ran.influence(), teams[0].influence())
        assert_same_bits(ran._arrays, teams[0]._arrays)
        assert_same_bits(ran.network.parameters(), teams[0].network.parameters())


@dense_or_ids
@every_estimator
def test_run_is_repeated_step(estimator, dense):
    """Cut anywhere, down to single steps, with what belongs between the pieces."""
    steps = 300  # longer than the first piece into which a run is cut
    whole, pieces, single = (
        session(rtrl.GRU(4), estimator, rtrl.Adam(lambda step: 0.01 / (1 + step)), batch_size=2) for _ in range(3)
    )
    xs, ys = stream(steps, 2, dense=dense)
    losses = whole.run(xs, ys)
    cuts = [1, 8, 258]
    assert_same_bits(np.concatenate([pieces.run(x, y) for x, y in zip(np.split(xs, cuts), np.split(ys, cuts))]), losses)
    assert_same_bits(np.array([single.step(x, y) for x, y in zip(xs, ys)]), losses)
    assert_same_session(whole, pieces)
    assert_same_session(whole, single)


def test_one_lane_with_and_without_its_axis():
    for readout in READOUTS.values():
        full, short = (session(rtrl.RNN(5), rtrl.RTRL(), rtrl.SGD(0.1), readout=readout) for _ in range(2))
        xs, ys = stream(9, 1, readout)
        assert_same_bits(full.run(xs, ys, reset_mask(9, 1)), short.run(xs[:, 0], ys[:, 0], reset_mask(9, 1)[:, 0]))
        full.step(xs[0], ys[0])
        short.step(xs[0, 0], ys[0, 0])
        assert_same_session(full, short)


@every_estimator
def test_ids_are_one_hot(estimator):
    """The same losses as with one-hot vectors, to rounding, also when both are mixed in one stream."""
    by_id, dense, mixed = (session(rtrl.LSTM(4), estimator, rtrl.SGD(0.1), batch_size=2) for _ in range(3))
    ids, ys = stream(12, 2, dense=False)
    vectors = np.eye(3)[ids]
    losses = by_id.run(ids, ys)
    np.testing.assert_allclose(dense.run(vectors, ys), losses, rtol=1e-12)
    parts = [mixed.run(*part) for part in ((ids[:3], ys[:3]), (vectors[3:6], ys[3:6]), (ids[6:], ys[6:]))]
    np.testing.assert_allclose(np.concatenate(parts), losses, rtol=1e-12)


SCRIPT = """
    import json
    import numpy as np
    import rtrl, rtrl_core
    from common import CELLS, ESTIMATORS, READOUTS, session, stream
    losses = {"level": rtrl_core.cpu_level()}
    for dtype in ("float32", "float64"):
        for name, cell in CELLS.items():
            for key, estimator in ESTIMATORS.items():
                ran = session(cell, estimator, rtrl.SGD(0.1), dtype=dtype, batch_size=2, readout=READOUTS["linear"])
                losses[f"{dtype} {name} {key}"] = ran.run(*stream(20, 2, READOUTS["linear"], missing=0)).tolist()
        ran = session(rtrl.RHN(70), rtrl.KFRTRL(), rtrl.Adam(1e-3), dtype=dtype, threads=2)
        losses[f"{dtype} large"] = ran.run(*stream(20, 1, missing=0)).tolist()
    print(json.dumps(losses))
"""


def test_cpu_levels():
    """Every level that is built here gives the same numbers to rounding, and each of them the same bits every time."""
    levels = rtrl_core.built_levels()
    runs = {level: json.loads(python(SCRIPT, environment={"RTRL_CPU_LEVEL": level}).stdout) for level in levels}
    for level, losses in runs.items():
        assert losses.pop("level") == level
    again = json.loads(python(SCRIPT, environment={"RTRL_CPU_LEVEL": levels[-1]}).stdout)
    again.pop("level")
    assert again == runs[levels[-1]]
    for level in levels[:-1]:
        for name, expected in runs[levels[-1]].items():
            np.testing.assert_allclose(runs[level][name], expected, rtol=1e-10 if "float64" in name else 1e-3, err_msg=name)


RESUME = """
    import sys
    import rtrl
    from common import ESTIMATORS, stream
    for key in ESTIMATORS:
        ran = rtrl.Session.load(f"{sys.argv[1]}/{key}", threads=1)
        ran.run(*(part[12:] for part in stream(24, 2)))
        ran.save(f"{sys.argv[2]}/{key}")
"""


def test_resumed_on_another_level(tmp_path):
    """A session that stopped within a step and a block, on a net for the matrix unit, goes on to rounding."""
    (xs, ys), ends = stream(24, 2), {}
    for key, estimator in ESTIMATORS.items():
        ends[key] = session(rtrl.RNN(64), estimator, rtrl.SGD(0.1), dtype="float32", batch_size=2)
        ends[key].run(xs[:11], ys[:11])
        ends[key].advance(xs[11])
        ends[key].save(tmp_path / key)
        ends[key].run(xs[12:], ys[12:])
    for level in rtrl_core.built_levels():
        (folder := tmp_path / level).mkdir()
        python(RESUME, tmp_path, folder, environment={"RTRL_CPU_LEVEL": level})
        for key, end in ends.items():
            resumed = rtrl.Session.load(folder / key)
            # Rounding is 4e-6 (fresh=False of UORO, without fused products); a tenth of an influence that is lost, 6e-5 or more.
            np.testing.assert_allclose(resumed.network._flat, end.network._flat, rtol=0, atol=2e-5, err_msg=f"{level} {key}")
            assert resumed.steps == end.steps


def test_an_unknown_level_is_refused():
    failed = python("import rtrl; rtrl.Network(rtrl.RNN(2), 2)", environment={"RTRL_CPU_LEVEL": "avx1024"}, check=False)
    assert failed.returncode == 1
    assert "RTRL_CPU_LEVEL is 'avx1024'" in failed.stderr and rtrl_core.built_levels()[0] in failed.stderr


def test_a_forked_child_goes_on():
    """A team of threads does not survive a fork; the child must neither hang nor compute anything else."""
    code = """
        import os, sys
        import numpy as np
        import rtrl
        from common import session, stream
        ran = session(rtrl.RHN(33), rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=2, threads=2)
        xs, ys = stream(10, 2)
        ran.run(xs, ys)
        child = os.fork()
        os.write(1, ran.run(xs, ys).tobytes().hex().encode() + b"\\n")  # one write: the two must not mix
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    first, second = python(code, timeout=60).stdout.split()
    assert first == second
