"""NoBackTrack, UORO with a memory, averaged and reversed KF-RTRL in a session: threads, checkpoints, guards, options, shadows."""

import numpy as np
import pytest
from common import assert_same_bits, assert_same_session, flat, reset_mask, session, stream
from drivers import assert_same_on_threads, dense_or_ids, every_readout
from test_engine_unbiased import ESTIMATORS

import rtrl

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)


@pytest.mark.parametrize("lanes", [1, 3])
@every_estimator
@pytest.mark.parametrize("cell", [rtrl.RNN(33), rtrl.LSTM(17), rtrl.RHN(18, 2)], ids=repr)
def test_threads(cell, estimator, lanes):
    """Guards included."""

    def make(threads):
        options = dict(dtype="float32", batch_size=lanes, threads=threads, influence_cap=8.0, update_every=3)
        ran = session(cell, estimator, rtrl.Adam(0.01), **options)
        ran._warned = True
        return ran

    assert_same_on_threads(make, *stream(11, lanes, dense=lanes == 1), reset_mask(11, lanes))


@pytest.mark.parametrize("middle", [6, 7, 8])
@dense_or_ids
@every_estimator
def test_save_and_load(tmp_path, estimator, dense, middle):
    """In the middle of a window and at its ends, with credit outstanding and a step open; bit for bit."""
    whole = session(rtrl.RHN(5, 2), estimator, rtrl.Adam(0.01), dtype="float32", batch_size=2, update_every=5)
    xs, ys = stream(16, 2, dense=dense)
    whole.run(xs[:middle], ys[:middle], reset_mask(middle, 2))
    whole.advance(xs[middle])
    whole.feedback(np.ones((2, 5)))
    whole.save(tmp_path / "file")
    resumed = rtrl.Session.load(tmp_path / "file", threads=2)
    assert repr(resumed) == repr(whole)
    for ran in (whole, resumed):
        ran.feedback(np.full((2, 5), 0.5))
    assert_same_bits(whole.run(xs[middle:], ys[middle:]), resumed.run(xs[middle:], ys[middle:]))
    assert_same_session(whole, resumed)
    assert_same_bits(whole.gradient(), resumed.gradient())


@every_estimator
def test_cap(estimator):
    """A net that expands: the influence stays near its cap, and every time is counted."""
    ran = session(rtrl.RNN(6), estimator, readout=None, influence_cap=10.0)
    W = ran.network.parameters()["cell.0.weight"]
    W[:] = 0
    W[:, :6] = 2 * np.eye(6)  # at rest: h = 0, H = 2
    with pytest.warns(RuntimeWarning, match="influence beyond its cap"):
        for _ in range(40):
            ran.advance(np.zeros(3))
    ran.reset(np.zeros(1, bool))
    assert ran.health()["influence_capped"] > 10 and ran.health()["influence_not_finite"] == 0
    # The cap holds before F is added; a window of T steps of its own adds up to 2^T.
    assert np.linalg.norm(flat(ran.influence())) < 40 * 2 ** getattr(estimator, "horizon", 1)


@every_estimator
def test_influence_that_is_not_finite_is_dropped(estimator):
    """A state at rest with H = 1e30: float32 holds one product but not two."""
    ran = session(rtrl.RNN(3), estimator, readout=None, dtype="float32", influence_cap=1e300)
    W = ran.network.parameters()["cell.0.weight"]
    W[:] = 0
    W[:, :3] = 1e30 * np.eye(3)
    with pytest.warns(RuntimeWarning, match="not finite"):
        for _ in range(12):
            ran.advance(np.zeros(3))
    assert ran.health()["influence_not_finite"] > 0 and ran.health()["state_not_finite"] == 0
    W[:] = 0
    for _ in range(6):
        ran.advance(np.zeros(3))
    ran.feedback(np.ones((1, 3)))
    assert np.isfinite(flat(ran.gradient())).all() and np.isfinite(flat(ran.influence())).all()


@every_estimator
def test_a_reset_lane_has_no_past(estimator):
    a, b = (session(rtrl.LSTM(4), estimator, readout=None, batch_size=2) for _ in range(2))
    rng = np.random.default_rng(0)
    for _ in range(3):
        for each in (a, b):
            each.advance(rng.normal(size=(2, 3)))
    for each in (a, b):
        each.reset(np.array([True, False]))
    for x in rng.normal(size=(6, 2, 3)):
        for each in (a, b):
            each.advance(x)
        for G, F in zip(a.influence().values(), b.influence().values()):
            assert_same_bits(G[0], F[0])
            assert not np.array_equal(G[1], F[1])


# Options


def test_options():
    assert rtrl.UORO() == rtrl.UORO(1) == rtrl.UORO(horizon=1, fresh=True)
    assert rtrl.KFRTRL() == rtrl.KFRTRL(average=1, fresh=True)
    for spec in ESTIMATORS.values():
        assert spec.kind == "unbiased" and eval(repr(spec), vars(rtrl)) == spec


@pytest.mark.parametrize(
    ("make", "options", "error", "match"),
    [
        (rtrl.UORO, dict(horizon=0), ValueError, "horizon must be between 1 and"),
        (rtrl.UORO, dict(horizon=2.0), TypeError, "horizon must be a whole number; got 2.0"),
        (rtrl.UORO, dict(horizon=True), TypeError, "horizon must be a whole number; got True"),
        (rtrl.KFRTRL, dict(average=-1), ValueError, "average must be between 1 and"),
        (rtrl.KFRTRL, dict(average="2"), TypeError, "average must be a whole number; got '2'"),
        (rtrl.NoBackTrack, dict(fresh=1), TypeError, "fresh must be True or False; got 1"),
        (rtrl.ReversedKFRTRL, dict(fresh=None), TypeError, "fresh must be True or False; got None"),
        (rtrl.NoBackTrack, dict(horizon=2), TypeError, "horizon"),
    ],
)
def test_options_that_are_refused(make, options, error, match):
    with pytest.raises(error, match=match):
        make(**options)


@every_readout
@every_estimator
def test_shadow(estimator, readout):
    """As a shadow it has the gradient of a session of its own, and the session does not notice."""
    xs, ys = stream(9, 2, readout)
    alone, watched, own = (
        session(rtrl.GRU(4), each, rtrl.SGD(0.0), batch_size=2, update_every=20, readout=readout)
        for each in (rtrl.KFRTRL(), rtrl.KFRTRL(), estimator)
    )
    shadow = watched.shadow(estimator)
    for ran in (alone, watched, own):
        ran.run(xs, ys)
    assert_same_bits(alone.gradient(), watched.gradient())
    expected = {name: value for name, value in own.gradient().items() if name != "readout.weight"}
    assert_same_bits(shadow.gradient(), expected)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("cell", [rtrl.LSTM(17), rtrl.RHN(18, 2)], ids=repr)
def test_credit_that_waits(cell, threads):
    """KF-RTRL credits A inside the product that ends the step, or at once where a shadow is compared first: the same bits."""

    def ran(shadow):
        made = session(
            cell,
            rtrl.KFRTRL(block=1, average=2),
            rtrl.Adam(0.01),
            dtype="float32",
            batch_size=2,
            threads=threads,
            update_every=2,
            shadow=shadow,
        )
        made.run(*stream(9, 2), reset_mask(9, 2))
        return made.network.parameters()

    assert_same_bits(ran(None), ran(rtrl.Immediate()))
