"""Estimators that learn what the influence would be: KeRNL and DNI. Both are biased.

KeRNL: a change of state at stage l of step t0 reaches the state of step t as A diag(kappa)^(t - t0), A and kappa learned
from a perturbation that random noise drives through the net. For every stage, kappa = 1 - alpha in [0, 1]:

    Delta <- H Delta , then after stage l itself  + zeta ,  zeta = noise signs / sqrt(kn)                     (1)
    Gamma <- kappa Gamma - Omega ;  Omega <- kappa Omega + zeta ;  B[c,a,j,:] <- kappa[c,j] B + D[c,a,j] h_hat    (2)
    at the end of the step  e = A Omega - Delta ;  alpha <- alpha - kernel_lr (e A) Gamma ;  A <- A - lr e Omega       (3)
    G~[(d,i),(a,j),:] = sum_c A[(d,i),(c,j)] B[c,a,j,:]                                                       (4)

The authors run a second, perturbed net; (1) is the same to first order in the noise, and needs only the records.

DNI: a linear map predicts, from what the step read, what all later losses will say of the state (a synthetic gradient),
and learns from its own prediction one step on:

    f_t = A phi_t ,  phi_t = h_hat of the first stage                                                         (5)
    gradient += (delta_t + f_t) F_t ,  credit before the step  c_t = (delta_t + f_t) H_t                        (6)
    A <- A - lr (A phi_{t-1} - c_t) phi_{t-1} / |phi_{t-1}|^2                                                  (7)

Marschall et al. predict delta_t too and give the label to the map; here delta_t is known exactly, and phi_t is
[h_{t-1}; x_t; 1] in place of [h_t; label; 1], since records are all that an estimator sees.

What is learned (A, alpha) survives a reset; all else returns to 0.
Cost per stage and lane, flops / numbers kept: KeRNL 8 (kn)^2 + 4 k rnm / (kn)^2 + k rnm; DNI 4 kn m + 4 rnm / kn m.
Sources: Marschall, Cho & Savin 2020, JMLR 21(135), arXiv:1907.02649; KeRNL Roth, Kanitscheider & Fiete 2019 (ICLR);
DNI Jaderberg et al. 2017, arXiv:1608.05343.
"""

from math import sqrt

import numpy as np

from .estimators import Estimator
from .records import backward, push


class KeRNL(Estimator):
    """Kernel RNN learning, equations (1) to (4)."""

    fresh = False

    def __init__(self, lr=0.03, kernel_lr=0.01, noise=1.0, leak=0.8):
        self.lr = lr
        self.kernel_lr = kernel_lr
        self.noise = noise
        self.leak = leak

    def begin(self, shapes):
        self.A = [np.eye(kn) for kn, _, _ in shapes]
        self.alpha = [np.full(kn, float(self.leak)) for kn, _, _ in shapes]
        super().begin(shapes)

    def reset(self):
        self.Delta, self.Omega, self.Gamma = ([np.zeros(kn) for kn, _, _ in self.shapes] for _ in range(3))
        self.B = [None for _ in self.shapes]

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            self.Delta = [push(record, Delta) for Delta in self.Delta]
            zeta = self.noise / sqrt(record.k * record.n) * signs(stage, record.k * record.n)
            kappa = 1 - self.alpha[stage]
            self.Delta[stage] = self.Delta[stage] + zeta
            self.Gamma[stage] = kappa * self.Gamma[stage] - self.Omega[stage]
            self.Omega[stage] = kappa * self.Omega[stage] + zeta
            faded = 0 if self.B[stage] is None else kappa.reshape(record.k, 1, record.n, 1) * self.B[stage]
            self.B[stage] = faded + record.D[..., None] * record.h_hat
        for stage in range(len(records)):
            self.learn(stage)

    def learn(self, stage):
        """Equation (3)."""
        A, Omega = self.A[stage], self.Omega[stage]
        error = A @ Omega - self.Delta[stage]
        self.alpha[stage] = np.clip(self.alpha[stage] - self.kernel_lr * (error @ A) * self.Gamma[stage], 0, 1)
        self.A[stage] = A - self.lr * np.outer(error, Omega)

    def credit(self, delta):
        gradients = []
        for (_, rn, m), A, B in zip(self.shapes, self.A, self.B):
            if B is None:
                gradients.append(np.zeros((rn, m)))
            else:
                k, _, n, _ = B.shape
                gradients.append(np.einsum("cj,cajq->ajq", (delta @ A).reshape(k, n), B).reshape(rn, m))
        return gradients

    def influence(self):
        return [np.stack(rows) for rows in zip(*(self.credit(row) for row in np.eye(self.shapes[0][0])))]


class DNI(Estimator):
    """Decoupled neural interfaces: synthetic gradients, equations (5) to (7)."""

    fresh = False

    def __init__(self, lr=0.03):
        self.lr = lr

    def begin(self, shapes):
        kn, _, m = shapes[0]
        self.A = np.zeros((kn, m))
        super().begin(shapes)

    def reset(self):
        kn, _, m = self.shapes[0]
        self.before, self.now, self.target = np.zeros(m), np.zeros(m), np.zeros(kn)
        self.records = None

    def observe(self, records, signs):
        if self.before.any():
            error = self.A @ self.before - self.target
            self.A = self.A - self.lr / (self.before @ self.before) * np.outer(error, self.before)
        self.before, self.now, self.records = self.now, records[0].h_hat, records
        gradients, self.target = backward(records, self.A @ self.now)
        self.add(gradients)

    def credit(self, delta):
        if self.records is None:
            return [np.zeros((rn, m)) for _, rn, m in self.shapes]
        return backward(self.records, delta)[0]

    def feedback(self, records, delta):
        """Credit of losses alone is what A learns from; `answer` to a question of the optimizer teaches nothing."""
        super().feedback(records, delta)
        if self.records is not None:
            self.target = self.target + backward(self.records, delta)[1]

    def influence(self):
        """F of the newest step; the synthetic part of a gradient is not linear in delta."""
        if self.records is None:
            return [np.zeros(shape) for shape in self.shapes]
        return [np.stack(rows) for rows in zip(*(backward(self.records, row)[0] for row in np.eye(self.shapes[0][0])))]
