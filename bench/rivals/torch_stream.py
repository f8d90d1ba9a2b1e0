"""A stream of single samples in PyTorch: plain RNN, one lane, softmax, SGD at every step, gradient through that step.

Three programs that compute the same losses as rtrl.TBPTT(1), from the way one writes it first to the fastest
that was found.  PyTorch is optional: `available` says whether it is here, and why not.

    module      RNNCell, Linear, cross_entropy, backward, torch.optim.SGD
    functional  raw tensors, views made once, autograd.grad over what the step used, one fused update
    by hand     no autograd: the gradient derived by hand, in place, under inference_mode

The last one is not what "PyTorch eager" means to a user (every new cell needs its own derivation), so
comparisons are judged against the fastest one with autograd and print this one beside it.
"""

import abc

import numpy as np

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = None

__all__ = ["AUTOGRAD", "FORMS", "by_hand_loop", "functional_loop", "module_loop"]


class _Loop(abc.ABC):
    """A loop over the whole stream; each call goes on from the state and weights of the last.

    Parameters
    ----------
    problem : Problem
        Of an RNN with one lane and SGD.
    """

    def __init__(self, problem):
        torch.set_num_threads(1)
        weight, readout, xs, ys = problem.weight.copy(), problem.readout.copy(), problem.xs[:, 0], problem.ys[:, 0]
        self.n, self.rate = len(weight), problem.optimizer.lr
        self.inputs = weight.shape[1] - self.n - 1
        self.weight = torch.from_numpy(np.ascontiguousarray(weight))
        self.readout = torch.from_numpy(np.ascontiguousarray(readout))
        self.xs, self.ys = [int(x) for x in xs], [int(y) for y in ys]
        self.targets = list(torch.tensor(self.ys).unsqueeze(1).unbind(0))
        self.losses = torch.zeros(len(self.xs))
        self.prepare()

    @abc.abstractmethod
    def prepare(self):
        """Make everything that can be made once."""

    @abc.abstractmethod
    def __call__(self):
        """Losses [T] of one pass over the stream."""


class module_loop(_Loop):
    """Modules and an optimizer object."""

    def prepare(self):
        n = self.n
        self.cell, self.head = torch.nn.RNNCell(self.inputs, n), torch.nn.Linear(n, len(self.readout))
        with torch.no_grad():
            self.cell.weight_hh.copy_(self.weight[:, :n])
            self.cell.weight_ih.copy_(self.weight[:, n:-1])
            self.cell.bias_ih.copy_(self.weight[:, -1])
            self.cell.bias_hh.zero_()
            self.head.weight.copy_(self.readout[:, :n])
            self.head.bias.copy_(self.readout[:, n])
        self.cell.bias_hh.requires_grad_(False)
        parameters = [p for p in (*self.cell.parameters(), *self.head.parameters()) if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=self.rate, foreach=True)
        eye = torch.eye(self.inputs)
        self.one_hot = [eye[x : x + 1] for x in self.xs]
        self.h = torch.zeros(1, n)

    def __call__(self):
        cell, head, optimizer, h = self.cell, self.head, self.optimizer, self.h
        for t, (x, y) in enumerate(zip(self.one_hot, self.targets)):
            optimizer.zero_grad()
            h = cell(x, h)
            loss = functional.cross_entropy(head(h), y)
            loss.backward()
            optimizer.step()
            h = h.detach()
            self.losses[t] = loss.detach()
        self.h = h
        return self.losses.numpy()


class functional_loop(_Loop):
    """Raw tensors; the input's column is a leaf of its own, so no gather is differentiated."""

    def prepare(self):
        n = self.n
        self.recurrent = self.weight[:, :n].t().contiguous().requires_grad_()
        self.columns = [self.weight[:, n + x].clone().unsqueeze(0).requires_grad_() for x in range(self.inputs)]
        self.bias = self.weight[:, -1].clone().requires_grad_()
        self.head = self.readout[:, :n].t().contiguous().requires_grad_()
        self.offset = self.readout[:, n].clone().requires_grad_()
        self.h = torch.zeros(1, n)

    def __call__(self):
        h, losses = self.h, []
        for x, y in zip(self.xs, self.targets):
            used = (self.recurrent, self.columns[x], self.bias, self.head, self.offset)
            new = torch.tanh(torch.addmm(self.columns[x] + self.bias, h, self.recurrent))
            loss = functional.cross_entropy(torch.addmm(self.offset, new, self.head), y)
            gradients = torch.autograd.grad(loss, used)
            with torch.no_grad():
                torch._foreach_add_(used, gradients, alpha=-self.rate)
            h = new.detach()
            losses.append(loss.detach())
        self.h = h
        return torch.stack(losses).numpy()


class by_hand_loop(_Loop):
    """dL/dz of the readout is p - e_y, and dL/dz of the cell (V' (p - e_y)) (1 - h^2)."""

    def prepare(self):
        n = self.n
        self.recurrent, self.bias = self.weight[:, :n].contiguous(), self.weight[:, -1].contiguous()
        self.columns = list(self.weight[:, n:-1].t().contiguous().unbind(0))
        self.head, self.offset = self.readout[:, :n].contiguous(), self.readout[:, n].contiguous()
        self.units = list(torch.eye(len(self.readout)).unbind(0))
        self.h, self.spare, self.inner = torch.zeros(n), torch.zeros(n), torch.zeros(n)

    def __call__(self):
        rate, head, recurrent, inner, h, new, logs = self.rate, self.head, self.recurrent, self.inner, self.h, self.spare, []
        head_t = head.t()
        with torch.inference_mode():
            for x, y in zip(self.xs, self.ys):
                column = self.columns[x]
                torch.add(column, self.bias, out=inner)
                torch.addmv(inner, recurrent, h, out=new).tanh_()
                log_p = torch.log_softmax(torch.addmv(self.offset, head, new), 0)
                logs.append(log_p[y])
                error = log_p.exp().sub_(self.units[y])
                torch.mv(head_t, error, out=inner)
                delta = torch.addcmul(inner, inner * new, new, value=-1)
                head.addr_(error, new, alpha=-rate)
                recurrent.addr_(delta, h, alpha=-rate)
                torch._foreach_add_((self.offset, self.bias, column), (error, delta, delta), alpha=-rate)
                h, new = new, h
            self.h, self.spare = h, new
            return torch.stack(logs).neg_().numpy()


AUTOGRAD = {"module": module_loop, "functional": functional_loop}
FORMS = AUTOGRAD | {"by hand": by_hand_loop}
