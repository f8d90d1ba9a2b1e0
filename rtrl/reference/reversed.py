"""Reversed KF-RTRL: the Kronecker product of KF-RTRL with the roles of its sides exchanged.

    G~ = a (x) B ,  that is G~[i, p, q] = a[p] B[i, q]                  a [rn], B [kn, m]
    B' = H B
    a <- p0 a + sum_i nu_i p_i D_i ,            p0 = balance(|B'|, |a|)         nu [kn] signs                    (1)
    B <- B' / p0 + sum_i nu_i e_i (x) h_hat / p_i ,     p_i = balance(|h_hat|, |D_i|) , dropped where D_i = 0    (2)

D_i [rn] is row i = c*n + j of D as a matrix, and F = sum_i e_i (x) D_i (x) h_hat the sum of kn products: the noise is on
the side of the units, what the inputs of W contribute is kept in B. With F_i = D_i (x) h_hat a reduction has the noise

    (sum_i |F_i|)^2 - |F|^2 + 2 |a| |B'| sum_i |F_i| + 2 <a (x) B', F> ,                                         (3)

that of NoBackTrack. Signs for the rn rows of W, which give F = sum_p D e_p (x) e_p (x) h_hat, with one scale for all, have
rn |F|^2 for the first term and 2 sqrt(rn) |a| |B'| |h_hat| E|D nu| for the third. Neither is less where r = k = 1, by
Cauchy and Schwarz, nor where r >= 2k, by Khinchin's inequality.

Cost per stage and lane: 2 k n^2 m flops, rn + k n m numbers kept: 1/r of KF-RTRL.
Source: Marschall, Cho & Savin 2020, "A unified framework of online learning algorithms for training recurrent neural
networks", JMLR 21(135), arXiv:1907.02649.
"""

import numpy as np
from numpy.linalg import norm

from .estimators import Estimator, balance
from .records import jacobian, pull_to_maps


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
            self.reduce(stage, record, signs(stage, record.k * record.n).astype(float))

    def reduce(self, stage, record, nu):
        a, B, norm_h = self.a[stage], self.B[stage], norm(record.h_hat)
        p0, inverse0 = balance(norm(B), norm(a))
        p, inverse = np.array([balance(norm_h, size) for size in norm(record.D, axis=1).ravel()]).T
        self.a[stage] = p0 * a + pull_to_maps(record, p * nu).ravel()
        self.B[stage] = inverse0 * B + np.outer(inverse * nu, record.h_hat)

    def credit(self, delta):
        return [np.outer(a, delta @ B) for a, B in zip(self.a, self.B)]

    def influence(self):
        return [np.einsum("p,iq->ipq", a, B) for a, B in zip(self.a, self.B)]
