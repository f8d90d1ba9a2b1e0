"""How weights begin: uniform or normal, the input's by themselves, and the seed."""

import numpy as np
import pytest
from common import CELLS

import rtrl

N, INPUTS = 64, 40


def weights(cell=None, **told):
    net = rtrl.Network(cell or rtrl.GRU(N), INPUTS, rtrl.Softmax(8), dtype="float64", **told)
    return {name: view.copy() for name, view in net.parameters().items()}, net.masks()


def existing(found, masks):
    return np.concatenate([view[masks[name]] for name, view in found.items()])


def test_uniform_by_itself():
    values = existing(*weights())
    assert np.abs(values).max() < 1 / 8
    assert np.std(values) == pytest.approx(1 / 8 / 3**0.5, rel=0.02)


def test_normal_when_told():
    assert np.std(existing(*weights(weight_std=0.3))) == pytest.approx(0.3, rel=0.02)
    assert not existing(*weights(weight_std=0)).any()


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("weight_std", [None, 0.01])
def test_weights_of_the_input_alone(cell, weight_std):
    plain, masks = weights(cell, weight_std=weight_std)
    found, _ = weights(cell, weight_std=weight_std, input_std=1)
    n = cell.hidden
    inputs = found["cell.0.weight"][:, n : n + INPUTS][masks["cell.0.weight"][:, n : n + INPUTS]]
    assert np.std(inputs) == pytest.approx(1, rel=4 / inputs.size**0.5)
    assert np.mean(inputs) == pytest.approx(0, abs=4 / inputs.size**0.5)
    plain["cell.0.weight"][:, n : n + INPUTS] = found["cell.0.weight"][:, n : n + INPUTS]
    for name, view in found.items():
        np.testing.assert_array_equal(view, plain[name])
        assert not view[~masks[name]].any()


def test_seeds():
    first, again, other = (weights(seed=seed, input_std=1)[0]["cell.0.weight"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first[:N] != other[:N]).all()
