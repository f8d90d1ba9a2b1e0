"""Two sessions that each have some of the lanes are one session that has them all, sign for sign."""

import numpy as np
import pytest
from common import INPUTS, assert_same_session, distance, flat, reference_twin, reset_mask, session, stream
from drivers import assert_equal_runs
from test_every_estimator import every_estimator, start

import rtrl

LANES, STEPS = 8, 9


def halves(array):
    return array[: LANES // 2], array[LANES // 2 :]


@every_estimator
def test_two_halves_are_the_whole(estimator):
    """Influence and gradients of every lane, and weights that learn from the mean of both gradients."""
    whole = start(estimator, optimizer=rtrl.Adam(0.02), batch_size=LANES)
    parts = [start(estimator, optimizer=rtrl.Adam(0.02), batch_size=LANES // 2, first_lane=first) for first in (0, LANES // 2)]
    rng = np.random.default_rng(0)
    resets = reset_mask(STEPS, LANES)
    for t in range(STEPS):
        x, delta = rng.normal(size=(LANES, INPUTS)), rng.normal(size=(LANES, 4))
        for each, mask, inputs, credit in zip(
            (whole, *parts), (resets[t], *halves(resets[t])), (x, *halves(x)), (delta, *halves(delta))
        ):
            each.reset(mask)
            each.advance(inputs)
            each.feedback(credit)
        if t % 3 == 2:
            expected, gradients = whole.gradient(), [part.gradient() for part in parts]
            mean = {name: (gradients[0][name] + gradients[1][name]) / 2 for name in expected}
            assert distance(mean, expected) < 1e-10
            for each in (whole, *parts):
                each.apply(mean)
        influence = [part.influence() for part in parts]
        joined = {name: np.concatenate([each[name] for each in influence]) for name in influence[0]}
        assert np.abs(flat(joined) - flat(whole.influence())).max() < 1e-10 * max(1, np.abs(flat(joined)).max())
    for part in parts:
        assert distance(part.network.parameters(), whole.network.parameters()) < 1e-10


def test_without_a_first_lane_the_halves_share_their_signs():
    parts = [session(rtrl.GRU(4), rtrl.UORO(), batch_size=2, first_lane=first) for first in (0, 0, 2)]
    x = np.random.default_rng(0).normal(size=(3, 2, INPUTS))
    for part in parts:
        for each in x:
            part.advance(each)
    first, same, other = (flat(part.influence()) for part in parts)
    assert np.array_equal(first, same) and not np.allclose(first, other)


def test_a_shadow_draws_the_signs_of_its_lanes():
    """A shadow of the session's own kind gives the session's gradient, whatever its first lane."""
    ran = session(rtrl.GRU(4), rtrl.UORO(), rtrl.SGD(0.1), batch_size=3, first_lane=5, shadow=rtrl.UORO())
    ran.run(*stream(6, 3))
    np.testing.assert_allclose(ran.shadows[0].relative_errors, 0, atol=1e-7)


@pytest.mark.parametrize("estimator", [rtrl.UORO(), rtrl.KFRTRL(), rtrl.KeRNL(0.03, 0.01)], ids=repr)
def test_the_reference_takes_it_too(estimator):
    ours = session(rtrl.GRU(4), estimator, rtrl.SGD(0.1), batch_size=3, first_lane=5)
    assert reference_twin(ours).first_lane == 5
    assert_equal_runs(ours, *stream(12, 3), tolerance=1e-11)


def test_files_keep_it(tmp_path):
    xs, ys = stream(12, 3)
    ran = session(rtrl.GRU(4), rtrl.UORO(), rtrl.SGD(0.1), batch_size=3, first_lane=5)
    ran.run(xs[:6], ys[:6])
    ran.save(tmp_path / "file")
    loaded = rtrl.Session.load(tmp_path / "file", threads=1)
    assert loaded.first_lane == 5 and "first_lane=5" in repr(loaded) and repr(loaded) == repr(ran)
    for each in (ran, loaded):
        each.run(xs[6:], ys[6:])
    assert_same_session(ran, loaded)


@pytest.mark.parametrize("value", [-1, 1.0, "0", None, True])
def test_it_is_a_whole_number(value):
    with pytest.raises((TypeError, ValueError), match="first_lane"):
        session(rtrl.GRU(4), rtrl.UORO(), first_lane=value)
