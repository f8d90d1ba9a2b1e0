"""Learning with NoBackTrack and the Kalman filter does not depend on the units in which anything is measured.

    rescaled                 every weight, unit and input times positive factors of its own: both metrics
    shifted and rescaled     units and inputs also get offsets: the quasi-diagonal metric alone

The same net is written in other coordinates: s~ = scale s + shift, x~ likewise, z = slope z~, a bias that multiplies
`unit` instead of 1. The losses of 150 updates are the same, if the prior changes like the metric that it is (a multiple of
the identity does not) and no floor interferes. Euclidean norms, or a diagonal metric under shifts, give other losses.
"""

import numpy as np
import pytest

from rtrl import reference as ref

INPUTS, UNITS, OUTPUTS, STEPS, LANES = 2, 4, 3, 160, 2


class OtherCoordinates(ref.RNN):
    """tanh units with s = scale tanh(slope z) + shift, and a constant input `unit`."""

    def __init__(self, scale, shift, slope, unit):
        super().__init__(UNITS)
        self.scale, self.shift, self.slope, self.unit = scale, shift, slope, unit

    def initial_state(self):
        return self.shift[None].copy()

    def forward(self, weights, s, x):
        h_hat = np.concatenate([s[0], x, [self.unit]])
        slope = np.tanh(self.slope * (weights[0] @ h_hat))
        D = self.scale * self.slope * (1 - slope**2)
        return (self.scale * slope + self.shift)[None], [ref.Record(weights[0], D[None, None], np.zeros((1, 1, UNITS)), h_hat)]


def coordinates(kind, rng):
    """Factors of the columns [m] and rows [n] of W, offsets of the columns."""
    columns, rows, shift = np.ones(UNITS + INPUTS + 1), np.ones(UNITS), np.zeros(UNITS + INPUTS + 1)
    if kind == "weights":
        columns[UNITS:], rows = rng.uniform(0.3, 3, INPUTS + 1), rng.uniform(0.3, 3, UNITS)
    if kind in ("units", "shifted"):
        columns[:-1] = rng.uniform(0.3, 3, UNITS + INPUTS)
    if kind == "shifted":
        shift[:-1] = rng.normal(size=UNITS + INPUTS)
    return columns, rows, shift


def transformed(W, prior, columns, rows, shift):
    """Weights and prior (J_qq, J_bq) in the new coordinates."""
    new = W / (rows[:, None] * columns)
    new[:, -1] -= (W * (shift / columns)).sum(axis=1) / (rows * columns[-1])
    (J, J_bias), square = prior, rows[:, None] ** 2
    beta = J[:, -1:]
    J_new = square * (columns**2 * J + 2 * columns * shift * J_bias + shift**2 * beta)
    return new, (J_new, square * columns[-1] * (columns * J_bias + shift * beta))


def losses(kind, metric, fisher="outer", state="propagated", reduction="kalman"):
    rng, other = np.random.default_rng(2), np.random.default_rng(3)
    columns, rows, shift = coordinates(kind, other)
    W, V = rng.normal(size=(UNITS, UNITS + INPUTS + 1)) / 2, rng.normal(size=(OUTPUTS, UNITS + 1))
    of_units = np.append(columns[:UNITS], 1.0), np.ones(OUTPUTS), np.append(shift[:UNITS], 0.0)
    (W, prior), (V, prior_V) = (
        transformed(M, (np.full(M.shape, 0.01), np.zeros(M.shape)), *new)
        for M, new in ((W, (columns, rows, shift)), (V, of_units))
    )
    learner = ref.Learner(
        OtherCoordinates(columns[:UNITS], shift[:UNITS], rows, columns[-1]),
        lambda: ref.NoBackTrack(reduction, state),
        [W],
        ref.Softmax(OUTPUTS),
        V,
        ref.Kalman(0.03, metric, fisher, 0.02, [prior, prior_V], 0.0, warm_up=10),
        LANES,
        4,
    )
    xs = columns[UNITS:-1] * rng.normal(size=(STEPS, LANES, INPUTS)) + shift[UNITS:-1]
    before = learner.weights[0].copy()
    result = learner.run(xs, rng.integers(0, OUTPUTS, (STEPS, LANES)), rng.random((STEPS, LANES)) < 0.02)
    assert learner.optimizer.observations - learner.optimizer.warm_up == 150
    assert np.abs(learner.weights[0] / before - 1).max() > 0.1
    return result


def difference(kind, *options):
    """Largest difference of the losses from those in the plain coordinates."""
    return np.abs(losses(kind, *options) - losses("plain", *options)).max()


@pytest.mark.parametrize("fisher", ["outer", "exact"])
@pytest.mark.parametrize("metric", ["diagonal", "quasi-diagonal"])
@pytest.mark.parametrize("kind", ["weights", "units"])
def test_rescaled(kind, metric, fisher):
    assert difference(kind, metric, fisher) < 1e-10


@pytest.mark.parametrize("state", ["propagated", "local", "literal"])
def test_rescaled_for_every_state_metric(state):
    assert difference("units", "diagonal", "outer", state) < 1e-10


@pytest.mark.parametrize("fisher", ["outer", "exact"])
@pytest.mark.parametrize("state", ["propagated", "local", "literal"])
def test_shifted(state, fisher):
    assert difference("shifted", "quasi-diagonal", fisher, state) < 1e-9


def test_a_diagonal_metric_knows_where_0_is():
    assert difference("shifted", "diagonal") > 1e-2


@pytest.mark.parametrize("metric", ["diagonal", "quasi-diagonal"])
@pytest.mark.parametrize("kind", ["weights", "units"])
def test_euclidean_norms_know_the_units(kind, metric):
    """The filter is the same; only the reduction is not."""
    assert difference(kind, metric, "outer", "propagated", "euclidean") > 1e-2


@pytest.mark.parametrize("fisher", ["outer", "exact"])
def test_filter_alone_when_every_weight_has_its_own_unit(fisher):
    """Any factors at all, for any gradients: the steps, in the old units, are the same."""
    rng = np.random.default_rng(0)
    alpha, gradients = rng.uniform(0.1, 10, (3, 5)), rng.normal(size=(150, 3, 5))
    paths = []
    for factor in (np.ones((3, 5)), alpha):
        optimizer = ref.Kalman(0.05, "diagonal", fisher, 0.02, [(0.01 * factor**2, np.zeros((3, 5)))], warm_up=5)
        optimizer.begin([np.ones((3, 5), bool)])
        W, path = np.zeros((3, 5)), []
        for t, g in enumerate(gradients):
            for each in (g, g[::-1]) if fisher == "exact" else ():
                optimizer.absorb([factor * each], 0.5)
            optimizer.update([W], [factor * g], t)
            path.append(W * factor)
        paths.append(np.array(path))
    assert np.abs(paths[0]).max() > 0.1
    np.testing.assert_allclose(*paths, rtol=0, atol=1e-12)
