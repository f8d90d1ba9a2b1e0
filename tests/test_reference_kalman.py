"""Laws of the Kalman filter, as the reference states them.

    metric    the quasi-diagonal step and norm are those of a full matrix
    filter    gains, warm-up, trust region, prior
    Fisher    the exact information is E_y[g g^T], whatever the estimator

NoBackTrack in the metric is in test_reference_metric.py, the invariances are in test_reference_invariance.py.
"""

from functools import partial
from itertools import product

import numpy as np
import pytest
from tapes import CELLS, distance

from rtrl import reference as ref

METRICS = ["diagonal", "quasi-diagonal"]
every_metric = pytest.mark.parametrize("metric", METRICS)


def learned(metric, shape, prior=0.1, floor=0.0, seed=0, mask=None):
    """A Metric that has seen a few gradients."""
    mask = np.ones(shape, bool) if mask is None else mask
    kept = ref.Metric(mask, prior, metric == "quasi-diagonal", floor)
    for g in np.random.default_rng(seed).normal(size=(4, *shape)):
        kept.absorb(g * mask, 1.0)
    kept.learn(0.7)
    return kept


def full_matrix(kept, row):
    """What a row of a Metric (floor 0) stands for: weights meet each other through the bias only."""
    a, x = kept.J[row] + kept.prior[0][row], kept.J_bias[row] + kept.prior[1][row]
    if not kept.quasi:
        return np.diag(a)
    x[-1] = a[-1]
    full = np.outer(x, x) / a[-1]
    np.fill_diagonal(full, a)
    return full


# Metric


@every_metric
def test_step_and_norm_are_those_of_a_matrix(metric):
    kept, y = learned(metric, (3, 5)), np.random.default_rng(1).normal(size=(3, 5))
    for row in range(3):
        expected = np.linalg.solve(full_matrix(kept, row), y[row])
        np.testing.assert_allclose(kept.step(y)[row], expected, rtol=1e-12)
        assert kept.norm2(y)[row] == pytest.approx(y[row] @ expected, rel=1e-12)


def test_floor_bounds_the_inverse():
    """After one gradient J has rank 1, and without prior the Schur complement is 0: the floor alone is left."""
    g = np.array([[3.0, -2.0, 0.5]])
    kept = ref.Metric(np.ones((1, 3), bool), 1e-300, True, 0.1)
    kept.absorb(g, 1.0)
    kept.learn(1.0)
    np.testing.assert_allclose(kept.inverse[0, :2], 10 / g[0, :2] ** 2, rtol=1e-12)
    np.testing.assert_allclose(kept.slope[0, :2], g[0, :2] / g[0, 2], rtol=1e-12)


@every_metric
def test_weights_that_do_not_exist_have_no_part(metric):
    mask = np.array([[True, False, True, True], [True, True, False, True]])
    kept, y = learned(metric, (2, 4), mask=mask), np.random.default_rng(1).normal(size=(2, 4))
    assert not kept.step(y)[~mask].any() and kept.step(y)[mask].all()
    np.testing.assert_array_equal(kept.norm2(y), kept.norm2(np.where(mask, y, 7.0)))


# Filter


def filter_steps(gradients, **options):
    """Weights [1, 3] after every gradient, from 0."""
    W, optimizer, path = np.zeros((1, 3)), ref.Kalman(**{"lr": 0.01, "warm_up": 0, "trust": None, **options}), []
    for t, g in enumerate(gradients):
        optimizer.update([W], [g], t)
        path.append(W.copy())
    return optimizer, path


def test_gains_are_a_mean_and_then_a_decay():
    gradients = np.random.default_rng(0).normal(size=(7, 1, 3))
    optimizer, _ = filter_steps(gradients[:4], decay=0.25)
    np.testing.assert_allclose(optimizer.metrics[0].J, np.mean(gradients[:4] ** 2, axis=0), rtol=1e-14)
    later, _ = filter_steps(gradients[:5], decay=0.25)
    np.testing.assert_allclose(later.metrics[0].J, 0.75 * optimizer.metrics[0].J + 0.25 * gradients[4] ** 2, rtol=1e-14)


@every_metric
def test_step(metric):
    gradients = np.random.default_rng(0).normal(size=(3, 1, 3))
    optimizer, path = filter_steps(gradients, metric=metric, floor=0.0, prior=0.2)
    expected = np.linalg.solve(full_matrix(optimizer.metrics[0], 0), gradients[-1, 0])
    np.testing.assert_allclose(path[-1] - path[-2], [-0.01 * expected], rtol=1e-12)


def test_large_prior_is_gradient_descent():
    gradients = np.random.default_rng(0).normal(size=(5, 1, 3))
    _, path = filter_steps(gradients, lr=1e11, prior=1e12)
    np.testing.assert_allclose(path[-1], -0.1 * gradients.sum(axis=0), rtol=1e-10)


def test_warm_up_teaches_the_metric_only():
    gradients = np.random.default_rng(0).normal(size=(5, 1, 3))
    optimizer, path = filter_steps(gradients, warm_up=3)
    assert not np.any(path[:3]) and np.all(path[3])
    np.testing.assert_array_equal(optimizer.metrics[0].J, filter_steps(gradients)[0].metrics[0].J)


@every_metric
def test_trust_region(metric):
    gradients = np.random.default_rng(0).normal(size=(4, 1, 3))
    for lr in (1e-3, 10.0):
        optimizer, path = filter_steps(gradients, lr=lr, trust=0.3, metric=metric, floor=0.0)
        moved = (path[-1] - path[-2])[0]
        length = np.sqrt(moved @ full_matrix(optimizer.metrics[0], 0) @ moved)
        free = filter_steps(gradients, lr=lr, metric=metric, floor=0.0)[0].metrics[0].norm2(gradients[-1])[0] ** 0.5 * lr
        assert length == pytest.approx(min(free, 0.3), rel=1e-12)
    assert free > 0.3


def test_no_observation_changes_nothing():
    gradients = np.random.default_rng(0).normal(size=(3, 1, 3))
    optimizer, path = filter_steps([gradients[0], np.zeros((1, 3)), *gradients[1:]])
    assert optimizer.observations == 3
    np.testing.assert_array_equal(path[1], path[0])
    np.testing.assert_array_equal(path[-1], filter_steps(gradients)[1][-1])


# Exact Fisher information


def outcomes(readout, y):
    """Targets and their probabilities (or, for Gaussian ones, a cubature of their second moments)."""
    if isinstance(readout, ref.Softmax):
        p = np.exp(y) / np.exp(y).sum()
        return [(v, p[v]) for v in range(y.size)]
    if isinstance(readout, ref.Bernoulli):
        p = 1 / (1 + np.exp(-y))
        return [(np.array(bits, float), np.prod(np.where(bits, p, 1 - p))) for bits in product([0, 1], repeat=y.size)]
    return [(y + sign * np.sqrt(y.size) * e, 0.5 / y.size) for e in np.eye(y.size) for sign in (1, -1)]


@pytest.mark.parametrize(
    "estimator", [ref.RTRL, ref.UORO, ref.KFRTRL, partial(ref.UORO, fresh=False), partial(ref.TBPTT, 3, True)]
)
@pytest.mark.parametrize("readout", [ref.Softmax, ref.Linear, ref.Bernoulli])
@pytest.mark.parametrize("name", ["gru", "lstm", "rhn 2"])
def test_exact_fisher_is_the_mean_over_targets(name, readout, estimator):
    """Of g g^T, g the gradient of a step by itself, as the estimator gives it."""
    steps, cell, rng = 3, CELLS[name](3), np.random.default_rng(5)
    weights = [cell.mask(stage, 2) * rng.normal(size=cell.shape(stage, 2)) for stage in range(cell.stages)]
    V, xs = rng.normal(size=(3, 4)), rng.normal(size=(steps + 1, 1, 2))

    def learner(optimizer):
        made = ref.Learner(cell, estimator, weights, readout(3), V, optimizer)
        for x in xs[:-1]:
            made.advance(x)
        return made

    ours = learner(ref.Kalman(0.1, "quasi-diagonal", "exact"))
    hidden = ours.advance(xs[-1])[0]
    y, target = V @ np.append(hidden, 1.0), 1 if readout is ref.Softmax else np.array([0.2, 0.9, 0.4])
    ours.score([target])
    means = [np.zeros(W.shape) for W in ours.parameters], [np.zeros(W.shape) for W in ours.parameters]
    for drawn, probability in outcomes(readout(3), y):
        twin = learner(None)
        twin.advance(xs[-1])
        twin.score([drawn])
        for i, g in enumerate(twin.gradient()):
            means[0][i] += probability * g**2
            means[1][i] += probability * g * g[:, -1:]
    assert distance([metric.F for metric in ours.optimizer.metrics], means[0]) < 1e-12
    assert distance([metric.F_bias for metric in ours.optimizer.metrics], means[1]) < 1e-12


@pytest.mark.parametrize(("readout", "target"), [(ref.Softmax, -1), (ref.Linear, [np.nan] * 3), (ref.Bernoulli, [np.nan] * 3)])
def test_missing_targets_have_no_factors(readout, target):
    y = np.array([0.3, -1.0, 2.0])
    assert readout(3).factors(y, np.array(target)).shape == (0, 3)
    if readout is not ref.Softmax:
        assert readout(3).factors(y, np.array([0.5, np.nan, 0.5])).shape == (2, 3)
