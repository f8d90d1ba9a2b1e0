"""The engine against PyTorch's own RNN, GRU and LSTM: losses and gradients of whole sequences in float64.

PyTorch has no linear recurrent layer; for that one autograd follows a recurrence written out."""

import numpy as np
import pytest

import rtrl

try:
    import torch
except ImportError:
    torch = None

pytestmark = pytest.mark.skipif(torch is None, reason="PyTorch is not installed; it is only needed to compare with it")

UNITS, INPUTS, OUTPUTS, STEPS, LANES = 9, 3, 2, 12, 3
CELLS = {
    "tanh": rtrl.RNN(UNITS),
    "relu": rtrl.RNN(UNITS, "relu"),
    "identity": rtrl.RNN(UNITS, "identity"),
    "gru": rtrl.GRU(UNITS),
    "lstm": rtrl.LSTM(UNITS),
}


def layer_of(name):
    """PyTorch's layer, with the bias of the recurrent columns at 0 where it is the same as the other bias."""
    torch.manual_seed(0)
    kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}.get(name, torch.nn.RNN)
    layer = kind(INPUTS, UNITS, **({"nonlinearity": name} if name == "relu" else {})).double()
    with torch.no_grad():
        layer.bias_hh_l0[: None if name != "gru" else 2 * UNITS] = 0
    return layer


def hidden_units(name, layer, xs):
    """What the layer makes of inputs [T, B, inputs] from the state 0 on [T, B, units]."""
    if name != "identity":
        return layer(xs)[0]
    h, found = torch.zeros(LANES, UNITS, dtype=xs.dtype), []
    for x in xs:
        h = h @ layer.weight_hh_l0.T + x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0
        found.append(h)
    return torch.stack(found)


def in_our_layout(name, h, x, bias_h, bias_x):
    """W [r*n, m] with columns h | x | 1 from the four arrays of PyTorch."""
    W = np.hstack([h, x, bias_x[:, None]])
    if name != "gru":
        return W
    # The new value of PyTorch's GRU is one map there and two here: what x and 1 give, and what h and 1 give.
    last = slice(2 * UNITS, None)
    from_x = np.hstack([0 * h[last], x[last], bias_x[last, None]])
    from_h = np.hstack([h[last], 0 * x[last], bias_h[last, None]])
    return np.vstack([W[: 2 * UNITS], from_x, from_h])


def arrays_of(layer, take):
    return [take(getattr(layer, f"{name}_l0")).detach().numpy() for name in ("weight_hh", "weight_ih", "bias_hh", "bias_ih")]


@pytest.mark.parametrize("estimator", [rtrl.RTRL(), rtrl.RTRL(fresh=False), rtrl.TBPTT(STEPS), rtrl.TBPTT(STEPS, True)], ids=repr)
@pytest.mark.parametrize("head", ["linear", "softmax"])
@pytest.mark.parametrize("name", CELLS)
def test_loss_and_gradient(name, head, estimator):
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(STEPS, LANES, INPUTS))
    ids, numbers = rng.integers(0, OUTPUTS, (STEPS, LANES)), rng.normal(size=(STEPS, LANES, OUTPUTS))
    layer, readout = layer_of(name), torch.nn.Linear(UNITS, OUTPUTS).double()
    outputs = readout(hidden_units(name, layer, torch.tensor(xs)))
    if head == "linear":
        losses = 0.5 * ((outputs - torch.tensor(numbers)) ** 2).sum(-1)
    else:
        losses = torch.nn.functional.cross_entropy(outputs.movedim(-1, 1), torch.tensor(ids), reduction="none")
    losses.mean(1).sum().backward()

    net = rtrl.Network(CELLS[name], INPUTS, rtrl.Linear(OUTPUTS) if head == "linear" else rtrl.Softmax(OUTPUTS), dtype="float64")
    net.parameters()["cell.0.weight"][...] = in_our_layout(name, *arrays_of(layer, lambda p: p))
    net.parameters()["readout.weight"][...] = np.hstack([p.detach().numpy().reshape(OUTPUTS, -1) for p in readout.parameters()])
    ours = rtrl.Session(net, estimator, batch_size=LANES)
    np.testing.assert_allclose(ours.run(xs, numbers if head == "linear" else ids), losses.mean(1).detach().numpy(), rtol=1e-12)
    gradient = ours.gradient()
    expected = in_our_layout(name, *arrays_of(layer, lambda p: p.grad))
    np.testing.assert_allclose(gradient["cell.0.weight"], expected, rtol=0, atol=1e-10)
    expected = np.hstack([p.grad.numpy().reshape(OUTPUTS, -1) for p in readout.parameters()])
    np.testing.assert_allclose(gradient["readout.weight"], expected, rtol=0, atol=1e-10)
    assert np.abs(gradient["cell.0.weight"]).max() > 1e-3
