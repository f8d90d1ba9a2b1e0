"""Estimators of delta G, written once for all cells: they read records (W, D, E, h_hat) and nothing else.

For the stages l = 1 .. L of a time step, in order, with one influence block per stage:

    every block  G~ <- H_l G~ ,  then block l only  G~ <- reduce(G~ + F_l)                           (1)
    gradient of stage l = delta G~ [rn, m]                                                           (2)
    fresh: delta' = delta H_L .. H_1 of this step ;  gradient = exact immediate part + delta' G~_{t-1}   (3)

A fresh estimator is credited before it observes the step; the last step is then free of noise. All state starts
at 0 and returns to 0 when the lane is reset. `balance(a, b)` = sqrt(a/b) makes the two terms of a noise equal.

Cost per stage and lane, flops / numbers kept: RTRL 2 k n^2 rnm / k n rnm; UORO 2 r n^2 + 4 rnm / rnm;
KF-RTRL 2 r n^3 / r k n^2; Immediate 2 rnm / 0. (This file forms what reads best and may cost more.)
Sources: RTRL Williams & Zipser 1989, doi:10.1162/neco.1989.1.2.270; UORO Tallec & Ollivier 2017, arXiv:1702.05043;
KF-RTRL Mujika, Meier & Steger 2018, arXiv:1805.10842; TBPTT Williams & Peng 1990, doi:10.1162/neco.1990.2.4.490.
"""

from math import sqrt

import numpy as np
from numpy.linalg import norm

from .records import backward, dense_D, immediate, jacobian, pull_to_maps, push


def balance(a, b):
    """Scale rho = sqrt(a/b) and its inverse; (0, 0), which drops the product, unless both norms are positive."""
    if a > 0 and b > 0:
        # The quotient of the roots cannot overflow where that of the norms could.
        rho = sqrt(a) / sqrt(b)
        return rho, 1 / rho
    return 0.0, 0.0


class Estimator:
    """One estimator of one lane; the base class accumulates what its subclasses credit.

    Attributes
    ----------
    fresh : bool
        True: `feedback` comes before `observe` of the same step; False: after it.
    """

    fresh = True

    def begin(self, shapes):
        """Set up for stages with the given shapes (k*n, r*n, m), with all state and the gradient 0."""
        self.shapes = shapes
        self.total = [np.zeros((rn, m)) for _, rn, m in shapes]
        self.reset()

    def reset(self):
        """Set the influence to 0; what was credited before is kept."""
        raise NotImplementedError

    def observe(self, records, signs):
        """Take in the records of one time step; `signs(stage, count)` gives its +-1 signs. Equation (1)."""
        raise NotImplementedError

    def credit(self, delta):
        """delta G~ for every stage, list of [rn, m]. Equation (2)."""
        raise NotImplementedError

    def influence(self):
        """Dense G~ for every stage, list of [kn, rn, m]; for small nets."""
        raise NotImplementedError

    def feedback(self, records, delta):
        """Add the gradient of the loss of this time step, whose derivative by the state is delta [kn]."""
        if self.fresh:
            gradients, delta = backward(records, delta)
            self.add(gradients)
        self.add(self.credit(delta))

    def add(self, gradients):
        self.total = [total + gradient for total, gradient in zip(self.total, gradients)]

    def gradient(self):
        """Everything credited since the last call, list of [rn, m]; clears it."""
        total = self.total
        self.total = [np.zeros_like(gradient) for gradient in total]
        return total


class RTRL(Estimator):
    """Exact real-time recurrent learning: G <- H G + F."""

    def __init__(self, *, fresh=True):
        self.fresh = fresh

    def reset(self):
        self.G = [np.zeros(shape) for shape in self.shapes]

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.G = [np.tensordot(H, G, axes=1) for G in self.G]
            self.G[stage] += immediate(record)

    def credit(self, delta):
        return [np.tensordot(delta, G, axes=1) for G in self.G]

    def influence(self):
        return [G.copy() for G in self.G]


class UORO(Estimator):
    """Unbiased online recurrent optimization: G ~ v (x) w, a product of random vectors.

    v <- rho0 H v + rho1 nu ,           rho0 = balance(|w|, |Hv|)          nu [kn] signs, entry c*n + i
    w <- w / rho0 + (nu F) / rho1 ,     rho1 = balance(|nu F|, |nu|)       nu F = (nu D) (x) h_hat
    """

    def __init__(self, *, fresh=True):
        self.fresh = fresh

    def reset(self):
        self.v = [np.zeros(kn) for kn, _, _ in self.shapes]
        self.w = [np.zeros((rn, m)) for _, rn, m in self.shapes]

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            self.v = [push(record, v) for v in self.v]
            self.reduce(stage, record, signs(stage, record.k * record.n).astype(float))

    def reduce(self, stage, record, nu):
        v, w = self.v[stage], self.w[stage]
        nu_D = pull_to_maps(record, nu).ravel()
        rho0, inverse0 = balance(norm(w), norm(v))
        rho1, inverse1 = balance(norm(nu_D) * norm(record.h_hat), norm(nu))
        self.v[stage] = rho0 * v + rho1 * nu
        self.w[stage] = inverse0 * w + inverse1 * np.outer(nu_D, record.h_hat)

    def credit(self, delta):
        return [(delta @ v) * w for v, w in zip(self.v, self.w)]

    def influence(self):
        return [np.multiply.outer(v, w) for v, w in zip(self.v, self.w)]


class KFRTRL(Estimator):
    """Kronecker-factored RTRL: G ~ u (x) A, that is G~[i, p, q] = A[i, p] u[q].

        A' = H A
        u <- c1 p1 u + c2 p2 h_hat ,     p1 = balance(|A'|, |u|)          c1, c2 signs
        A <- c1 A' / p1 + c2 D / p2 ,    p2 = balance(|D|, |h_hat|)       D as a matrix [kn, rn]

    The norms are Frobenius norms and take no notice of a mask.
    """

    def __init__(self, *, fresh=True):
        self.fresh = fresh

    def reset(self):
        self.u = [np.zeros(m) for _, _, m in self.shapes]
        self.A = [np.zeros((kn, rn)) for kn, rn, _ in self.shapes]

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.A = [H @ A for A in self.A]
            self.reduce(stage, record, *signs(stage, 2).astype(float))

    def reduce(self, stage, record, c1, c2):
        u, A, D, h_hat = self.u[stage], self.A[stage], dense_D(record), record.h_hat
        p1, inverse1 = balance(norm(A), norm(u))
        p2, inverse2 = balance(norm(D), norm(h_hat))
        self.u[stage] = c1 * p1 * u + c2 * p2 * h_hat
        self.A[stage] = c1 * inverse1 * A + c2 * inverse2 * D

    def credit(self, delta):
        return [np.outer(delta @ A, u) for u, A in zip(self.u, self.A)]

    def influence(self):
        return [np.multiply.outer(A, u) for u, A in zip(self.u, self.A)]


class Immediate(Estimator):
    """G = F: no credit beyond the present time step. The mandatory baseline."""

    fresh = False

    def reset(self):
        self.G = [np.zeros(shape) for shape in self.shapes]

    def observe(self, records, signs):
        self.reset()
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.G = [np.tensordot(H, G, axes=1) for G in self.G]
            self.G[stage] += immediate(record)

    def credit(self, delta):
        return [np.tensordot(delta, G, axes=1) for G in self.G]

    def influence(self):
        return [G.copy() for G in self.G]
