"""The reference against PyTorch: gradients of whole sequences, a training run, and the optimizers.

The optimizers are also held against formulas worked out by hand, which need no PyTorch.
"""

from functools import partial

import numpy as np
import pytest

from rtrl import reference as ref

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed; it is only needed to compare with it")

N, INPUTS, OUTPUTS, STEPS, LANES = 5, 3, 2, 7, 2


def torch_layer(name):
    torch.manual_seed(0)
    options = {"nonlinearity": "relu"} if name == "relu" else {}
    layer = {"tanh": "RNN", "relu": "RNN", "gru": "GRU", "lstm": "LSTM"}[name]
    return getattr(torch.nn, layer)(INPUTS, N, **options).double()


def our_cell(name):
    return {"gru": ref.GRU(N), "lstm": ref.LSTM(N)}.get(name) or ref.RNN(N, name)


def our_layout(name, hidden, inputs, bias_hidden, bias_input):
    """Parameters of a PyTorch layer as W [rn, m], columns h | x | 1."""
    if name != "gru":
        return np.hstack([hidden, inputs, (bias_hidden + bias_input)[:, None]])
    n, gates = N, slice(0, 2 * N)
    W = np.zeros((4 * n, n + INPUTS + 1))
    W[gates] = np.hstack([hidden[gates], inputs[gates], (bias_hidden + bias_input)[gates, None]])
    W[2 * n : 3 * n, n:] = np.hstack([inputs[2 * n :], bias_input[2 * n :, None]])
    W[3 * n :, :n], W[3 * n :, -1] = hidden[2 * n :], bias_hidden[2 * n :]
    return W


def as_ours(name, layer, of=lambda p: p.detach()):
    h, x, bh, bx = (of(getattr(layer, f"{key}_l0")).numpy() for key in ("weight_hh", "weight_ih", "bias_hh", "bias_ih"))
    return h, x, bh, bx


@needs_torch
@pytest.mark.parametrize("name", ["tanh", "relu", "gru", "lstm"])
def test_gradient_of_torch(name):
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(STEPS, LANES, INPUTS)), rng.normal(size=(STEPS, LANES, OUTPUTS))
    layer, head = torch_layer(name), torch.nn.Linear(N, OUTPUTS).double()
    outputs, _ = layer(torch.tensor(xs))
    loss = 0.5 * ((head(outputs) - torch.tensor(ys)) ** 2).sum()
    loss.backward()

    W = our_layout(name, *as_ours(name, layer))
    V = np.hstack([head.weight.detach().numpy(), head.bias.detach().numpy()[:, None]])
    h, x, bh, bx = as_ours(name, layer, lambda p: p.grad)
    # A bias that we hold once has the gradient of either of PyTorch's two, not their sum.
    expected = our_layout(name, h, x, bh, bx if name == "gru" else 0 * bx)
    if name == "gru":
        expected[: 2 * N, -1] /= 2
    expected_V = np.hstack([head.weight.grad.numpy(), head.bias.grad.numpy()[:, None]])

    for make in (ref.RTRL, partial(ref.TBPTT, STEPS), partial(ref.TBPTT, STEPS, True)):
        learner = ref.Learner(our_cell(name), make, [W], ref.Linear(OUTPUTS), V, batch_size=LANES)
        losses = learner.run(xs, ys)
        assert losses.sum() * LANES == pytest.approx(loss.item(), rel=1e-12)
        gradient, readout_gradient = learner.gradient()
        np.testing.assert_allclose(gradient * LANES, expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(readout_gradient * LANES, expected_V, rtol=0, atol=1e-10)


@needs_torch
def test_training_run_of_torch():
    """Block TBPTT with Adam, loss for loss: the clock, the 1/B, the optimizer and the softmax together."""
    rng, horizon, blocks = np.random.default_rng(1), 4, 10
    xs = rng.normal(size=(horizon * blocks, LANES, INPUTS))
    ys = rng.integers(0, OUTPUTS, size=(horizon * blocks, LANES))
    layer, head = torch_layer("lstm"), torch.nn.Linear(N, OUTPUTS).double()
    with torch.no_grad():
        layer.bias_hh_l0.zero_()
    layer.bias_hh_l0.requires_grad_(False)
    W = our_layout("lstm", *as_ours("lstm", layer))
    V = np.hstack([head.weight.detach().numpy(), head.bias.detach().numpy()[:, None]])

    optimizer = torch.optim.Adam([p for p in [*layer.parameters(), *head.parameters()] if p.requires_grad], lr=0.02)
    state, expected = None, []
    for start in range(0, len(xs), horizon):
        outputs, state = layer(torch.tensor(xs[start : start + horizon]), state)
        state = tuple(part.detach() for part in state)
        logits, targets = head(outputs).flatten(0, 1), torch.tensor(ys[start : start + horizon]).flatten()
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none").reshape(horizon, LANES).mean(1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        expected += losses.tolist()

    learner = ref.Learner(ref.LSTM(N), partial(ref.TBPTT, horizon), [W], ref.Softmax(OUTPUTS), V, ref.Adam(0.02), LANES)
    np.testing.assert_allclose(learner.run(xs, ys), expected, rtol=1e-10)


OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"betas": (0.5, 0.8), "eps": 1e-2, "weight_decay": 0.1}),
]


@needs_torch
@pytest.mark.parametrize("clip_norm", [None, 2.0])
@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_optimizer_of_torch(name, options, clip_norm):
    def schedule(step):
        return 0.1 / (1 + step)

    rng = np.random.default_rng(0)
    ours = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    theirs = [torch.tensor(p.copy()) for p in ours]
    optimizer = getattr(ref, name)(schedule, clip_norm=clip_norm, **options)
    torch_optimizer = getattr(torch.optim, name)(theirs, lr=0.1, **options)
    for step in range(25):
        gradients = [rng.normal(size=p.shape) * rng.choice([0.1, 1.0]) for p in ours]
        optimizer.update(ours, gradients, step)
        norm = np.linalg.norm(np.concatenate([g.ravel() for g in gradients]))
        factor = 1 if clip_norm is None else min(1, clip_norm / norm)
        for p, g in zip(theirs, gradients):
            p.grad = torch.tensor(g * factor)
        torch_optimizer.param_groups[0]["lr"] = schedule(step)
        torch_optimizer.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p, q.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "optimizer, first, second",
    [
        # One parameter that starts at 1, gradients 2 and then -1, lr 0.1.
        (ref.SGD(0.1), 0.8, 0.9),
        (ref.SGD(0.1, momentum=0.5), 0.8, 0.8),
        (ref.SGD(0.1, momentum=0.5, nesterov=True), 0.7, 0.8),
        (ref.SGD(0.1, weight_decay=0.5), 0.75, 0.8125),
        (ref.SGD(0.1, clip_norm=1.5), 0.85, 0.95),
        (ref.SGD(0.1, weight_decay=0.5, clip_norm=1.5), 0.8, 0.86),
        (ref.RMSprop(0.1, alpha=0.75, eps=0.5), 1 - 0.2 / 1.5, 1 - 0.2 / 1.5 + 0.1 / 1.5),
        (ref.Adam(0.1, betas=(0.5, 0.5), eps=0.5), 1 - 0.2 / 2.5, 1 - 0.2 / 2.5),
    ],
)
def test_optimizer_by_hand(optimizer, first, second):
    W = np.ones(1)
    optimizer.update([W], [np.array([2.0])], 0)
    assert W[0] == pytest.approx(first, rel=1e-14)
    optimizer.update([W], [np.array([-1.0])], 1)
    assert W[0] == pytest.approx(second, rel=1e-14)
