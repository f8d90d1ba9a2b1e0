"""The readouts of the reference."""

import numpy as np
import pytest

from rtrl import reference as ref


@pytest.mark.parametrize(
    "readout, target, expected",
    [
        (ref.Softmax(3), 1, lambda y: np.log(np.exp(y).sum()) - y[1]),
        (ref.Softmax(3), -1, lambda y: 0.0),
        (ref.Linear(3), np.array([0.3, np.nan, -2.0]), lambda y: 0.5 * ((y[0] - 0.3) ** 2 + (y[2] + 2.0) ** 2)),
        (
            ref.Bernoulli(3),
            np.array([1.0, 0.0, np.nan]),
            lambda y: -np.log(1 / (1 + np.exp(-y[0]))) - np.log(1 / (1 + np.exp(y[1]))),
        ),
    ],
)
def test_readout_against_complex_step(readout, target, expected):
    rng, step = np.random.default_rng(2), 1e-30
    weights, h = rng.normal(size=(3, 5)), rng.normal(size=4)
    loss, delta, gradient = readout.loss_and_delta(weights, h, target)
    assert loss == pytest.approx(expected(weights @ np.append(h, 1)), rel=1e-14)

    def total(arrays):
        return np.complex128(expected(arrays[0] @ np.append(arrays[1], 1)))

    by_weights, by_h = ref.complex_step_gradient(total, [weights, h], step)
    np.testing.assert_allclose(gradient, by_weights, atol=1e-14)
    np.testing.assert_allclose(delta, by_h, atol=1e-14)


def test_readouts_survive_large_outputs():
    weights = np.array([[1e4, 0], [-1e4, 0]])
    assert ref.Softmax(2).loss_and_delta(weights, np.ones(1), 1)[0] == 2e4
    assert ref.Bernoulli(2).loss_and_delta(weights, np.ones(1), np.array([0.0, 0.0]))[0] == 1e4
