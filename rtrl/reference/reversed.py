"""Reversed KF-RTRL: the Kronecker product of KF-RTRL with the roles of its sides exchanged.

    G~ = a (x) B ,  that is G~[i, p, q] = a[p] B[i, q]                  a [rn], B [kn, m]
    B' = H B
    a <- p0 a + p1 nu ,                 p0 = balance(|B'|, |a|)         nu [rn] signs, one for each row of W     (1)
    B <- B' / p0 + (D nu) (x) h_hat / p1 ,      p1 = balance(|D nu| |h_hat|, |nu|)                              (2)

The noise is on the side of the units, of which E[nu nu'] = 1 takes care; what the inputs of W contribute is kept in B.

Cost per stage and lane: 2 k n^2 m flops, rn + k n m numbers kept: 1/r of KF-RTRL.
Source: Marschall, Cho & Savin 2020, "A unified framework of online learning algorithms for training recurrent neural
networks", JMLR 21(135), arXiv:1907.02649.
"""

import numpy as np
from numpy.linalg import norm

from .estimators import Estimator, balance
from .records import dense_D, jacobian


class ReversedKFRTRL(Estimator):
    """Equations (1) and (2)."""

    def __init__(self, *, fresh=True):
        self.fresh = fresh

    def reset(self):
        self.a = [np.zeros(rn) for _, rn, _ in self.shapes]
        self.B = [np.zeros((kn, m)) for kn, _, m in self.shapes]

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.B = [H @ B for B in self.B]
            self.reduce(stage, record, signs(stage, record.r * record.n).astype(float))

    def reduce(self, stage, record, nu):
        a, B, D_nu = self.a[stage], self.B[stage], dense_D(record) @ nu
        p0, inverse0 = balance(norm(B), norm(a))
        p1, inverse1 = balance(norm(D_nu) * norm(record.h_hat), norm(nu))
        self.a[stage] = p0 * a + p1 * nu
        self.B[stage] = inverse0 * B + inverse1 * np.outer(D_nu, record.h_hat)

    def credit(self, delta):
        return [np.outer(a, delta @ B) for a, B in zip(self.a, self.B)]

    def influence(self):
        return [np.einsum("p,iq->ipq", a, B) for a, B in zip(self.a, self.B)]
