"""Credit for a step that is over, or that a reset has taken away: the engine and the reference give the same."""

import numpy as np
import pytest
from common import CELLS, ESTIMATORS, INPUTS, distance, reference_twin
from test_every_estimator import every_estimator, start

import rtrl

LANES, STEPS = 3, 7


def learners(cell, estimator, **options):
    """A session and its twin after some steps, in the middle of the blocks of those estimators that have them."""
    ours = start(estimator, CELLS[cell], rtrl.SGD(0.1), batch_size=LANES, update_every=100, **options)
    twin = reference_twin(ours)
    rng = np.random.default_rng(0)
    for x in rng.normal(size=(STEPS, LANES, INPUTS)):
        for each in (ours, twin):
            each.advance(x)
            each.feedback(np.ones((LANES, CELLS[cell].hidden)))
    return ours, twin, rng


def gradients(ours, twin, delta):
    """What both make of one more credit, beside what they were owed before it."""
    for each in (ours, twin):
        each.feedback(delta)
    return ours.gradient(), twin.gradient()


@pytest.mark.parametrize("cell", ["gru", "lstm", "rhn 3"])
@every_estimator
def test_feedback_after_a_reset_credits_nothing(estimator, cell):
    """In the lanes that were reset; the others are credited as if nothing had happened to their neighbours."""
    ours, twin, rng = learners(cell, estimator)
    delta = rng.normal(size=(LANES, CELLS[cell].hidden))
    gone = np.array([True, False, True])
    for each in (ours, twin):
        each.gradient()
        each.reset(gone)
    assert distance(*gradients(ours, twin, delta)) < 1e-11
    for each in (ours, twin):
        each.reset()
    for gradient in gradients(ours, twin, delta):
        assert not any(np.any(array) for array in (gradient.values() if isinstance(gradient, dict) else gradient))


@pytest.mark.parametrize("cell", ["gru", "lstm", "rhn 3"])
@every_estimator
def test_what_was_credited_before_a_reset_stays(estimator, cell):
    ours, twin, _ = learners(cell, estimator)
    for each in (ours, twin):
        each.reset(np.array([True, False, True]))
    assert distance(ours.gradient(), twin.gradient()) < 1e-11


@pytest.mark.parametrize("ended_by", ["step", "apply"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rhn 3"])
@every_estimator
def test_feedback_after_the_step_is_over(estimator, cell, ended_by):
    """It meets the influence that holds the step already."""
    ours, twin, rng = learners(cell, estimator)
    if ended_by == "step":
        x, y = rng.normal(size=(LANES, INPUTS)), np.array([0, -1, 2])
        np.testing.assert_allclose(ours.step(x, y), twin.step(x, y), rtol=1e-12)
    else:
        gradient, expected = ours.gradient(), twin.gradient()
        ours.apply(gradient)
        twin.apply(expected)
    assert distance(*gradients(ours, twin, rng.normal(size=(LANES, CELLS[cell].hidden)))) < 1e-11


@pytest.mark.parametrize("name", ["rtrl", "snap fresh", "ok", "kfrtrl"])
def test_late_feedback_is_what_an_eager_one_gets(name):
    """For a fresh estimator and its eager twin of the same influence."""
    fresh = ESTIMATORS[name]
    late = []
    for estimator in (fresh, fresh.replace(fresh=not fresh.fresh)):
        ours, _, rng = learners("rnn", estimator, readout=None)
        gradient = ours.gradient()
        ours.apply({key: np.zeros_like(value) for key, value in gradient.items()})
        ours.feedback(rng.normal(size=(LANES, 5)))
        late.append(ours.gradient())
    assert distance(*late) < 1e-11
