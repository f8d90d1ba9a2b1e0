"""KF-RTRL and UORO in PyTorch eager, batched over the lanes, without autograd, large arrays updated in place."""

import numpy as np

try:
    import torch
except ImportError:
    torch = None

__all__ = ["FORMS"]


# --- cells: from z [B, r n] and h [B, n] to h', D [B, r, n] and E [B, n] -------------------------------------------------


def _rnn(z, h):
    new = torch.tanh(z)
    return new, torch.addcmul(torch.ones(()), new, new, value=-1)[:, None], None


def _rhn(z, h):
    n = h.shape[1]
    a, t = torch.tanh(z[:, :n]), torch.sigmoid(z[:, n:])
    towards = a - h
    D = torch.stack([t * (1 - a * a), towards * t * (1 - t)], 1)
    return torch.addcmul(h, t, towards), D, 1 - t


_CELLS = {"RNN": _rnn, "RHN": _rhn}


# --- estimators ------------------------------------------------------------------------------------------------------------


def _balance(a, b):
    both = (a > 0) & (b > 0)
    rho = torch.sqrt(a / b)
    return torch.where(both, rho, 0), torch.where(both, 1 / rho, 0)


class _KFRTRL:
    """G ~ u (x) A: u [B, m], A [B, n, r n]; the product goes into a spare A."""

    def __init__(self, lanes, n, rn, m):
        self.u, self.A, self.spare = torch.zeros(lanes, m), torch.zeros(lanes, n, rn), torch.zeros(lanes, n, rn)
        self.H = torch.empty(lanes, n, n)

    def credit(self, delta):
        return torch.bmm(delta[:, None], self.A)[:, 0].t() @ self.u

    def observe(self, W_h, D, E, h_hat, c):
        lanes, r, n = D.shape
        torch.mul(D[:, 0, :, None], W_h[0], out=self.H)
        for a in range(1, r):
            self.H.addcmul_(D[:, a, :, None], W_h[a])
        if E is not None:
            self.H.diagonal(dim1=1, dim2=2).add_(E)
        A = torch.bmm(self.H, self.A, out=self.spare)
        p1, inverse1 = _balance(A.flatten(1).norm(dim=1), self.u.norm(dim=1))
        p2, inverse2 = _balance(D.flatten(1).norm(dim=1), h_hat.norm(dim=1))
        self.u = (c[:, 0] * p1)[:, None] * self.u + (c[:, 1] * p2)[:, None] * h_hat
        A.mul_((c[:, 0] * inverse1)[:, None, None])
        A.view(lanes, n, r, n).diagonal(dim1=1, dim2=3).add_((c[:, 1] * inverse2)[:, None, None] * D)
        self.A, self.spare = A, self.A


class _UORO:
    """G ~ v (x) w: v [B, n], w [B, r n, m]."""

    def __init__(self, lanes, n, rn, m):
        self.v, self.w = torch.zeros(lanes, n), torch.zeros(lanes, rn, m)

    def credit(self, delta):
        share = (delta * self.v).sum(1)
        return (share @ self.w.flatten(1)).view(self.w.shape[1:])

    def observe(self, W_h, D, E, h_hat, nu):
        lanes, r, n = D.shape
        pushed = (D * (self.v @ W_h.reshape(r * n, n).t()).view(lanes, r, n)).sum(1)
        if E is not None:
            pushed.addcmul_(E, self.v)
        nu_D = (nu[:, None] * D).flatten(1)
        rho0, inverse0 = _balance(self.w.flatten(1).norm(dim=1), pushed.norm(dim=1))
        rho1, inverse1 = _balance(nu_D.norm(dim=1) * h_hat.norm(dim=1), nu.norm(dim=1))
        self.v = rho0[:, None] * pushed + rho1[:, None] * nu
        self.w.mul_(inverse0[:, None, None]).addcmul_((inverse1[:, None] * nu_D)[:, :, None], h_hat[:, None])


_ESTIMATORS = {"KFRTRL": _KFRTRL, "UORO": _UORO}


# --- the stream --------------------------------------------------------------------------------------------------------------


class _Online:
    """The loop over the steps; Adam is torch.optim's, fused."""

    def __init__(self, problem):
        torch.set_num_threads(problem.threads)
        self.cell, self.fresh = _CELLS[problem.cell], problem.estimator.fresh
        self.W, self.V = (torch.from_numpy(each.copy()) for each in (problem.weight, problem.readout))
        self.optimizer = torch.optim.Adam([self.W, self.V], lr=problem.optimizer.lr, fused=True)
        (rn, m), n, lanes = self.W.shape, problem.hidden, problem.lanes
        self.estimator = _ESTIMATORS[problem.name](lanes, n, rn, m)
        eye = torch.eye(problem.ids)
        self.xs = eye[torch.from_numpy(problem.xs).long()]
        self.targets = eye[torch.from_numpy(problem.ys).long()]
        self.signs = torch.from_numpy(problem.signs())
        self.h, self.ones = torch.zeros(lanes, n), torch.ones(lanes, 1)

    @torch.inference_mode()
    def __call__(self):
        return np.array([self.step(*given).item() for given in zip(self.xs, self.targets, self.signs)])

    def step(self, x, target, c):
        """One step of all lanes; returns its loss."""
        W, V, h = self.W, self.V, self.h
        lanes, n = h.shape
        h_hat = torch.cat([h, x, self.ones], 1)
        self.h, D, E = self.cell(h_hat @ W.t(), h)
        extended = torch.cat([self.h, self.ones], 1)
        log_p = torch.log_softmax(extended @ V.t(), 1)
        loss = (log_p * target).sum() / -lanes
        error = (log_p.exp_() - target).div_(lanes)
        delta, W_h = error @ V[:, :n], W[:, :n].unflatten(0, (-1, n))
        if self.fresh:
            maps = (delta[:, None] * D).flatten(1)
            earlier = maps @ W[:, :n]
            if E is not None:
                earlier.addcmul_(delta, E)
            gradient = torch.addmm(self.estimator.credit(earlier), maps.t(), h_hat)
            self.estimator.observe(W_h, D, E, h_hat, c)
        else:
            self.estimator.observe(W_h, D, E, h_hat, c)
            gradient = self.estimator.credit(delta)
        W.grad, V.grad = gradient, error.t() @ extended
        self.optimizer.step()
        return loss


FORMS = {(cell, name): {"": _Online} for cell in _CELLS for name in _ESTIMATORS}
