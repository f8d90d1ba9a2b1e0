"""TBPTT in PyTorch eager with autograd: nn.RNN, nn.GRU and nn.LSTM, and for the RHN a loop over the steps, in two forms as
in `jax_tbptt`: the second asks autograd for the gradients of the pre-activations alone, from which those of all the
weights are one product.

The window's inputs are multiplied at once, and so is its readout.  Modules have two biases where `Problem.weight` has
one column; the second is kept at 0, but for the GRU's new gate, where both exist.
"""

import abc

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = None

__all__ = ["FORMS"]


class _Window(abc.ABC):
    """One window after the other: forward, backward, Adam."""

    def __init__(self, problem):
        torch.set_num_threads(problem.threads)
        windows = (-1, problem.estimator.horizon, problem.lanes)
        self.xs, self.ys = (torch.from_numpy(each.reshape(windows)).long() for each in (problem.xs, problem.ys))
        V = torch.from_numpy(problem.readout.copy())
        self.head, self.offset = (part.clone().requires_grad_() for part in (V[:, :-1], V[:, -1]))
        self.n, self.lanes, self.losses = problem.hidden, problem.lanes, torch.zeros(len(problem.xs))
        parameters = [*self.prepare(torch.from_numpy(problem.weight.copy())), self.head, self.offset]
        self.optimizer = torch.optim.Adam(parameters, lr=problem.optimizer.lr, fused=True)

    def __call__(self):
        losses = []
        for xs, ys in zip(self.xs, self.ys):
            self.optimizer.zero_grad()
            logits = functional.linear(self.hidden(xs), self.head, self.offset)
            each = functional.cross_entropy(logits.flatten(0, 1), ys.flatten(), reduction="none")
            (each.sum() / self.lanes).backward()
            self.tidy()
            self.optimizer.step()
            losses.append(each.detach().view(ys.shape).mean(1))
        return torch.cat(losses).numpy()

    @abc.abstractmethod
    def prepare(self, weight):
        """Take the cell's weights; return what is to be learned."""

    @abc.abstractmethod
    def hidden(self, xs):
        """Hidden states [T, B, n] of a window; the last one is kept, without its history."""

    def tidy(self):  # noqa: B027  most have nothing
        """What is left to do between the backward pass and Adam."""


class _Highway(_Window):
    """A loop over the steps."""

    def prepare(self, weight):
        n = self.n
        self.recurrent = weight[:, :n].clone().requires_grad_()
        self.columns = weight[:, n:-1].t().clone().requires_grad_()
        self.bias = weight[:, -1].clone().requires_grad_()
        self.h = torch.zeros(self.lanes, n)
        return self.recurrent, self.columns, self.bias

    def hidden(self, xs):
        outside = (functional.embedding(xs, self.columns) + self.bias).unbind(0)
        h, states, recurrent = self.h, [], self.recurrent.t()
        for part in outside:
            a, t = torch.addmm(part, h, recurrent).chunk(2, 1)
            h = torch.lerp(h, a.tanh(), t.sigmoid())
            states.append(h)
        self.h = h.detach()
        return torch.stack(states)


class _HighwayByMaps(_Highway):
    """The same; weights meet the window's pre-activations once."""

    def hidden(self, xs):
        with torch.no_grad():
            outside = functional.embedding(xs, self.columns) + self.bias
        self.outside, self.xs_of_window = outside.requires_grad_(), xs
        h, states, recurrent = self.h, [], self.recurrent.detach().t()
        for part in self.outside.unbind(0):
            a, t = torch.addmm(part, h, recurrent).chunk(2, 1)
            h = torch.lerp(h, a.tanh(), t.sigmoid())
            states.append(h)
        states = torch.stack(states)
        self.before = torch.cat([self.h[None], states.detach()[:-1]])
        self.h = h.detach()
        return states

    def tidy(self):
        maps = self.outside.grad.flatten(0, 1)
        self.recurrent.grad = maps.t() @ self.before.flatten(0, 1)
        self.columns.grad = torch.zeros_like(self.columns).index_add_(0, self.xs_of_window.flatten(), maps)
        self.bias.grad = maps.sum(0)


class _Module(_Window):
    """nn.RNN, nn.GRU, nn.LSTM."""

    def __init__(self, problem):
        self.kind, self.eye = problem.cell, torch.eye(problem.ids)
        super().__init__(problem)

    def prepare(self, weight):
        n, inputs = self.n, len(self.eye)
        self.module = getattr(torch.nn, self.kind)(inputs, n)
        maps = weight.view(-1, n, weight.shape[1])
        reads_x, reads_h = (maps[[0, 1, 2]], maps[[0, 1, 3]]) if self.kind == "GRU" else (maps, maps)
        with torch.no_grad():
            self.module.weight_ih_l0.copy_(reads_x[:, :, n:-1].flatten(0, 1))
            self.module.weight_hh_l0.copy_(reads_h[:, :, :n].flatten(0, 1))
            self.module.bias_ih_l0.copy_(reads_x[:, :, -1].flatten())
            self.module.bias_hh_l0.zero_()
            if self.kind == "GRU":
                self.module.bias_hh_l0[2 * n :] = maps[3, :, -1]
        self.module.bias_hh_l0.requires_grad_(self.kind == "GRU")
        shape = (1, self.lanes, n)
        self.state = (torch.zeros(shape), torch.zeros(shape)) if self.kind == "LSTM" else torch.zeros(shape)
        return [each for each in self.module.parameters() if each.requires_grad]

    def hidden(self, xs):
        states, last = self.module(self.eye[xs], self.state)
        self.state = tuple(each.detach() for each in last) if self.kind == "LSTM" else last.detach()
        return states

    def tidy(self):
        if self.kind == "GRU":
            self.module.bias_hh_l0.grad[: 2 * self.n] = 0


FORMS = {(cell, "TBPTT"): {f"nn.{cell}": _Module} for cell in ("RNN", "GRU", "LSTM")}
FORMS |= {("RHN", "TBPTT"): {"plain": _Highway, "by maps": _HighwayByMaps}}
