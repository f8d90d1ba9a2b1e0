"""NoBackTrack: the influence as one random outer product, with one sign and one scale for every state component.

    G~ = v (x) w                                       v [kn], w [rn, m]
    v <- rho0 H v + sum_i eps_i rho_i e_i ,            rho0 = balance(|w|, |Hv|)                        (1)
    w <- w / rho0 + sum_i eps_i F_i / rho_i ,          rho_i = sqrt(|F_i|), the product dropped where F_i = 0      (2)

F_i [rn, m] is row i = c*n + j of F. It has the r rows D[c,:,j] (x) h_hat and no others, so |F_i| = |D[c,:,j]| |h_hat|,
and the sum in (2) is one outer product, as in UORO: (sum_c eps_cj / rho_cj D[c,a,j]) (x) h_hat. Where UORO has one scale
for all, the sum over i here has the noise (sum_i |F_i|)^2 instead of kn sum_i |F_i|^2, which is never less.

With metric="kalman" the norms are taken in the metrics of weights and state, so that no rescaling of either matters:

    rho0 = sqrt((|w| + eps) / (|Hv| + eps)) ,  rho_i = (|F_i|^2 P_i)^(1/4)                                             (3)
    |w|, |F_i| in the metric of the weights that the Kalman optimizer keeps ,  |Hv|^2 = sum_i (Hv)_i^2 / P_i           (4)
    P, the squared length of row i of G:  P <- (H o H) P + |F_i|^2 "propagated" ,
                                          max(|F_i|^2, (Hv)_i^2 |w|^2 / 100) "local" ,
                                          (Hv)_i^2 |w|^2 + |F_i|^2 "literal" (noisy)                                   (5)

The second part of "local" is for units whose gates are saturated: F_i all but vanishes there while what is carried stays, and
|Hv| would be as large as F_i is small, so that w grew without bound. Entries with P_i = 0 have no part in |Hv|. eps is in (3)
alone, where it breaks no invariance.

Cost per stage and lane: that of UORO, 2 r n^2 + 4 rnm flops, kn + rnm numbers kept.
Source: Ollivier, Tallec & Charpiat 2015, arXiv:1507.07680.
"""

from math import sqrt

import numpy as np
from numpy.linalg import norm

from .estimators import UORO, balance
from .records import immediate_gradient, jacobian


class NoBackTrack(UORO):
    """Equations (1) and (2), or (1) and (2) with (3); all but the scales is as in UORO."""

    def __init__(self, metric="euclidean", state="propagated", eps=1e-6, *, fresh=True):
        super().__init__(fresh=fresh)
        self.euclidean, self.state, self.eps = metric == "euclidean", state, eps

    def reset(self):
        super().reset()
        self.P = [np.zeros(kn) for kn, _, _ in self.shapes]

    def new_product(self, stage, record, nu):
        sizes = norm(record.D, axis=1).ravel() * norm(record.h_hat)
        rho, inverse = np.array([balance(size, 1.0) for size in sizes]).T
        return rho * nu, immediate_gradient(record, inverse * nu)

    def reduce(self, stage, record, nu):
        if self.euclidean:
            super().reduce(stage, record, nu)
            return
        metric, v, w = self.metrics[stage], self.v[stage], self.w[stage]
        sizes = metric.norm2(np.broadcast_to(record.h_hat, w.shape)).reshape(record.r, record.n)
        sizes = (record.D**2 * sizes).sum(axis=1).ravel()
        norm_w = np.sqrt(metric.norm2(w).sum())
        P = self.state_metric(stage, record, sizes, v**2 * norm_w**2)
        seen = P > 0
        norm_v = np.sqrt(np.sum(v[seen] ** 2 / P[seen]))
        rho0, inverse0 = balance(norm_w + self.eps, norm_v + self.eps)
        rho, inverse = np.array([balance(sqrt(size * p), 1.0) for size, p in zip(sizes, P)]).T
        self.v[stage] = rho0 * v + rho * nu
        self.w[stage] = inverse0 * w + immediate_gradient(record, inverse * nu)

    def state_metric(self, stage, record, sizes, carried):
        """Equation (5): P [kn] of one stage."""
        if self.state == "local":
            return np.maximum(sizes, carried / 100)
        if self.state == "literal":
            return carried + sizes
        self.P = [jacobian(record) ** 2 @ P for P in self.P]
        self.P[stage] = self.P[stage] + sizes
        return self.P[stage]
