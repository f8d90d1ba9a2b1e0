"""Estimators that keep only the near part of the influence: SnAp and RFLO. Both are biased and use no signs.

    SnAp(order)   G <- P o (H G + F)                                                                     (1)
                  P[l][i, j] : unit i can be reached from unit j within order - 1 time steps after stage l   (2)
    RFLO          J[c,a,j,:] <- sum_d E[c,d,j] J[d,a,j,:] + D[c,a,j] h_hat                               (3)
                  gradient[(a,j),:] = sum_c delta[c,j] J[c,a,j,:]                                        (4)

In (2) unit j reaches unit i in one stage if a weight of that stage lets i read j (any map), and always itself; a time
step is one round of all stages. Order 1 keeps what a weight does to its own unit: J[k, r, n, m] as in (3), with H of
the unit in place of E. When no further step adds to P, nothing is cut and SnAp is exact RTRL; on a dense net that is
so from order 2 on. Weights that do not exist (masks) have no influence.

RFLO may take delta_h = e B with a fixed random B [outputs, n] in place of e V_h, V the readout and e = dL/dy (5).

Cost per stage and lane, flops / numbers kept: SnAp-1 2 k (k+1) rnm / k rnm; SnAp(order) and RFLO in proportion to the
numbers that are kept; here everything is dense and meant to be read.
Sources: Menick et al. 2020, arXiv:2006.07232 (SnAp); Murray 2019, doi:10.7554/eLife.43299 (RFLO).
"""

import numpy as np

from .estimators import Estimator
from .records import immediate, jacobian
from .signs import random_signs

FEEDBACK_STEP = 2**64 - 1  # the "time step" whose signs are B, which no session reaches


def reachable(masks, n, order):
    """Equation (2): for every stage, bool [n, n], entry [i, j] says that unit i is kept for the weights of unit j."""
    reads = [mask[:, :n].reshape(-1, n, n).any(0) | np.eye(n, dtype=bool) for mask in masks]
    patterns = []
    for stage in range(len(masks)):
        pattern = np.eye(n, dtype=bool)
        for _ in range(order - 1):
            before = pattern
            for hop in range(1, len(masks) + 1):
                pattern = reads[(stage + hop) % len(masks)] @ pattern
            if (pattern == before).all():
                break
        patterns.append(pattern)
    return patterns


class Local(Estimator):
    """What both have in common: masks, and dense G~ with one block a stage."""

    def existing(self, stage):
        """Which weights of a stage exist, bool [rn, m]."""
        return np.ones(self.shapes[stage][1:], dtype=bool) if self.masks is None else self.masks[stage]

    def reset(self):
        self.G = [np.zeros(shape) for shape in self.shapes]

    def credit(self, delta):
        return [np.tensordot(delta, G, axes=1) for G in self.G]

    def influence(self):
        return [G.copy() for G in self.G]


class SnAp(Local):
    """Sparse n-step approximation, equation (1)."""

    def __init__(self, order=1, *, fresh=False):
        self.order = order
        self.fresh = fresh

    def begin(self, shapes):
        self.kept = None
        super().begin(shapes)

    def keep(self, record):
        """Which entries of G are kept, for every stage bool [kn, rn, m]."""
        masks = [self.existing(stage) for stage in range(len(self.shapes))]
        patterns = reachable(masks, record.n, self.order)
        return [np.tile(pattern, (record.k, record.r))[:, :, None] & mask for pattern, mask in zip(patterns, masks)]

    def observe(self, records, signs):
        self.kept = self.keep(records[0]) if self.kept is None else self.kept
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.G = [np.tensordot(H, G, axes=1) for G in self.G]
            self.G[stage] += immediate(record)
            self.G = [np.where(kept, G, 0) for kept, G in zip(self.kept, self.G)]


class RFLO(Local):
    """Random-feedback local online learning, equations (3) to (5); for pointwise cells also e-prop."""

    def __init__(self, *, fresh=False, random_feedback=False):
        self.fresh = fresh
        self.random_feedback = random_feedback

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            E = np.einsum("cdi,ij->cidj", record.E, np.eye(record.n)).reshape(2 * (record.k * record.n,))
            self.G = [np.tensordot(E, G, axes=1) for G in self.G]
            self.G[stage] += immediate(record) * self.existing(stage)

    def redirect(self, seed, error, delta):
        """Equation (5): delta_h [n] for the error of the outputs, in place of the exact one if that was asked for."""
        return error @ feedback_weights(seed, len(error), len(delta)) if self.random_feedback else delta


def feedback_weights(seed, outputs, n):
    """B [outputs, n] of a session with this seed: random signs over sqrt(n)."""
    return np.stack([random_signs(seed, FEEDBACK_STEP, output, 0, n) for output in range(outputs)]) / np.sqrt(n)
