"""The promises of a session for estimators with every option: those of common.py, and variants that need more than a dense net.

    variants   SnAp of order 2 (a sparse net), RFLO with random feedback, NoBackTrack in the metric of a filter
    promises   refused calls change nothing; exact Fisher information; masks; resume; threads; the clock

Allocation and guards are in test_every_estimator_guards.py.
"""

import numpy as np
import pytest
from common import (
    ESTIMATORS,
    INPUTS,
    OUTPUTS,
    READOUTS,
    assert_same_bits,
    assert_same_session,
    distance,
    python,
    reference_twin,
    reset_mask,
    stream,
)

import rtrl

LANES = 2
FILTER = rtrl.Kalman(0.05, "quasi-diagonal", decay=0.05, prior=0.02, warm_up=2)
EXACT = {metric: rtrl.Kalman(0.02, metric, "exact", 0.05, 0.02, warm_up=2) for metric in ("diagonal", "quasi-diagonal")}
VARIANTS = {
    "snap 2": rtrl.SnAp(2),
    "snap 3 fresh": rtrl.SnAp(3, fresh=True),
    "rflo random": rtrl.RFLO(random_feedback=True),
    "nobacktrack kalman": rtrl.NoBackTrack("kalman"),
    "nobacktrack kalman local": rtrl.NoBackTrack("kalman", "local", fresh=False),
    "nobacktrack kalman literal": rtrl.NoBackTrack("kalman", "literal"),
}
EVERY = {**ESTIMATORS, **VARIANTS}
every_variant = pytest.mark.parametrize("estimator", VARIANTS.values(), ids=VARIANTS)
every_estimator = pytest.mark.parametrize("estimator", EVERY.values(), ids=EVERY)
both_widths = pytest.mark.parametrize("dtype", ["float64", "float32"])


def needs_filter(estimator):
    return getattr(estimator, "metric", None) == "kalman"


def start(estimator, cell=rtrl.GRU(4), optimizer=None, *, readout=READOUTS["softmax"], dtype="float64", mask=None, **options):
    """A session on a net that suits the estimator; NoBackTrack("kalman") gets a filter unless one is given."""
    sparsity = 0.5 if getattr(estimator, "order", 1) > 1 and mask is None else None
    net = rtrl.Network(cell, INPUTS, readout, dtype=dtype, seed=3, sparsity=sparsity, mask=mask)
    if needs_filter(estimator) and not isinstance(optimizer, rtrl.Kalman):
        optimizer = FILTER
    return rtrl.Session(net, estimator, optimizer, **{"batch_size": LANES, "seed": 5, "threads": 1, **options})


# Refusals


def used(estimator):
    """A session in the middle of a step and of a window, with credit that was not asked for."""
    ran = start(estimator, optimizer=rtrl.Adam(0.1), dtype="float32", update_every=4)
    ran.run(*stream(6, LANES))
    ran.feedback(np.ones((LANES, 4)))
    ran.advance(stream(1, LANES)[0][0])
    return ran


@every_estimator
def test_a_refused_call_changes_nothing(estimator):
    """Bad inputs, targets, masks, credit and gradients: named, and bit for bit as if never asked."""
    ran, twin, (xs, ys) = used(estimator), used(estimator), stream(5, LANES, seed=8)
    spoilt, late = xs.copy(), ys.copy()
    spoilt[4, 1, 0], late[4, 0] = np.nan, OUTPUTS
    gradients = {name: np.ones_like(view) for name, view in ran.network.parameters().items()}
    for error, name, call in (
        (ValueError, "xs", lambda: ran.run(spoilt, ys)),
        (ValueError, "ys", lambda: ran.run(xs, late)),
        (ValueError, "ys", lambda: ran.run(xs, ys[:4])),
        (ValueError, "resets", lambda: ran.run(xs, ys, np.full((5, LANES), 2))),
        (TypeError, "x", lambda: ran.step(None, ys[0])),
        (ValueError, "x", lambda: ran.advance(xs[0][:, 1:])),
        (ValueError, "lanes", lambda: ran.reset(np.ones(LANES + 1, bool))),
        (ValueError, "dL_dh", lambda: ran.feedback(np.full((LANES, 4), np.inf))),
        (ValueError, "gradients", lambda: ran.apply({**gradients, "other": 1})),
    ):
        with pytest.raises(error, match=rf"^{name}"):
            call()
        assert_same_bits(ran._arrays, twin._arrays)
    assert_same_bits(ran.run(xs, ys), twin.run(xs, ys))
    assert_same_session(ran, twin)
    assert_same_bits(ran.gradient(), twin.gradient())


TOO_LARGE = {
    "UORO": (rtrl.RNN(100), rtrl.UORO(2**31 - 1)),
    "NoBackTrack": (rtrl.GRU(1000), rtrl.NoBackTrack()),
    "NoBackTrack kalman": (rtrl.GRU(1000), rtrl.NoBackTrack("kalman")),
    "KFRTRL": (rtrl.LSTM(100), rtrl.KFRTRL(average=2**31 - 1)),
    "ReversedKFRTRL": (rtrl.LSTM(1000), rtrl.ReversedKFRTRL()),
    "OK": (rtrl.LSTM(100), rtrl.OK(2**31 - 1)),
    "BlockOK": (rtrl.RHN(100, 3), rtrl.BlockOK(2**31 - 1, 2**31 - 1)),
    "SnAp": (rtrl.GRU(1000), rtrl.SnAp()),
    "SnAp sparse": (rtrl.GRU(1000), rtrl.SnAp(4)),
    "RFLO": (rtrl.LSTM(1000), rtrl.RFLO(random_feedback=True)),
    "KeRNL": (rtrl.LSTM(1000), rtrl.KeRNL()),
    "DNI": (rtrl.LSTM(1000), rtrl.DNI()),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_too_much_memory(case):
    """Said at once, with how much, and nothing is allocated; in a process of its own, so that a crash is seen as one."""
    code = """
        import resource, sys, time
        from test_every_estimator import TOO_LARGE, start
        import rtrl
        cell, estimator = TOO_LARGE[sys.argv[1]]
        start(rtrl.Immediate(), cell)
        start(estimator, rtrl.RNN(3)) if "2147483647" not in repr(estimator) else None
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        try:
            start(estimator, cell, batch_size=2**20)
        except MemoryError as error:
            print(error)
        print(time.perf_counter() - began)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    message, seconds, kilobytes = python(code, case, timeout=60).stdout.splitlines()
    assert "this needs " in message and " are available" in message
    assert float(seconds) < 5 and int(kilobytes) < 250_000  # most of it the network


# The Kalman filter, SGD and Adam


@pytest.mark.parametrize("optimizer", EXACT.values(), ids=EXACT)
@every_estimator
def test_exact_fisher_information(estimator, optimizer):
    """Every estimator gives the filter the gradient of each factor, and learns nothing from being asked."""
    for cell, readout in ((rtrl.LSTM(4), READOUTS["softmax"]), (rtrl.RHN(4, 2), READOUTS["bernoulli"])):
        ours = start(estimator, cell, optimizer, readout=readout)
        twin, (xs, ys) = reference_twin(ours), stream(15, LANES, readout)
        np.testing.assert_allclose(ours.run(xs, ys, reset_mask(15, LANES)), twin.run(xs, ys, reset_mask(15, LANES)), rtol=1e-9)
        assert distance(ours.network.parameters(), twin.parameters) < 1e-9
        for name in ("J", "inverse"):
            found = [ours.network._layout.view(ours._arrays[f"optimizer.{name}"], each) for each in ours.network.parameters()]
            assert distance(found, [getattr(metric, name) for metric in twin.optimizer.metrics]) < 1e-8


@both_widths
@every_estimator
def test_threads_with_a_filter(estimator, dtype):
    runs = []
    for threads in (1, 2, 3):
        ran = start(estimator, rtrl.LSTM(17), EXACT["quasi-diagonal"], dtype=dtype, threads=threads, batch_size=3)
        losses = ran.run(*stream(9, 3), reset_mask(9, 3))
        runs.append({"losses": losses, **ran.network.parameters(), **ran._arrays})
    for other in runs[1:]:
        assert_same_bits(other, runs[0])


@every_estimator
def test_resume_with_a_filter(estimator, tmp_path):
    """In the middle of windows and between updates, where factors wait, with a step open."""
    whole = start(estimator, rtrl.RHN(5, 2), EXACT["quasi-diagonal"], dtype="float32", update_every=3)
    xs, ys = stream(16, LANES)
    whole.run(xs[:7], ys[:7], reset_mask(7, LANES))
    whole.advance(xs[7])
    whole.feedback(np.ones((LANES, 5)))
    whole.save(tmp_path / "file")
    resumed = rtrl.Session.load(tmp_path / "file", threads=2)
    for ran in (whole, resumed):
        ran.feedback(np.full((LANES, 5), 0.5))
    assert_same_bits(whole.run(xs[8:], ys[8:]), resumed.run(xs[8:], ys[8:]))
    assert_same_session(whole, resumed)
    assert_same_bits(whole._arrays, resumed._arrays)


@pytest.mark.parametrize("state", ["propagated", "local", "literal"])
@pytest.mark.parametrize("cell", [rtrl.RNN(5), rtrl.GRU(4), rtrl.LSTM(4), rtrl.RHN(5, 2)], ids=repr)
def test_masks_in_the_metric(cell, state):
    """NoBackTrack("kalman") on a net with an irregular mask: the reference's numbers, and no weight where there is none."""
    rng = np.random.default_rng(0)
    shapes = rtrl.Network(cell, INPUTS).parameters()
    mask = {name: rng.random(view.shape) < 0.4 for name, view in shapes.items()}
    for optimizer in (FILTER, EXACT["diagonal"]):
        ours = start(rtrl.NoBackTrack("kalman", state), cell, optimizer, mask=mask)
        twin, (xs, ys) = reference_twin(ours), stream(15, LANES)
        np.testing.assert_allclose(ours.run(xs, ys), twin.run(xs, ys), rtol=1e-9)
        assert distance(ours.network.parameters(), twin.parameters) < 1e-9
        gaps = np.concatenate([view[~ours.network.masks()[name]] for name, view in ours.network.parameters().items()])
        assert gaps.size > 10 and not gaps.any()


# The clock


@every_variant
def test_run_is_repeated_step_and_looking_changes_nothing(estimator):
    whole, single = (start(estimator, rtrl.RHN(4, 2), rtrl.Adam(0.01)) for _ in range(2))
    xs, ys = stream(40, LANES)
    losses = [whole.run(xs, ys)]
    for x, y in zip(xs, ys):
        losses.append(single.step(x, y))
        single.predict(x), single.evaluate(xs[:3], ys[:3]), single.influence(), single.health(), single.nbytes
    assert_same_bits(losses[0], np.array(losses[1:]))
    assert_same_session(whole, single)
