"""Kronecker-factored RTRL, a step at a time or in blocks of steps.

G ~ u (x) A, that is G~[i, p, q] = A[i, p] u[q]; for every step and stage

    A' = H A                                                                                         (1)
    u <- c1 p1 u + c2 p2 h_hat ,     p1 = balance(|A'|, |u|)          c1, c2 signs                   (2)
    A <- c1 A' / p1 + c2 D / p2 ,    p2 = balance(|D|, |h_hat|)       D as a matrix [kn, rn]         (3)

The norms are Frobenius norms and take no notice of a mask. `average` such pairs with signs of their own, pair i with
signs 2i and 2i + 1, give the mean of what each gives; pair i of a stage is block i * stages + stage.

In blocks of several steps A' is not formed before the end of a block, so |A'| in (2) is estimated from one product:

    |A'| ~ |A' w| ,     w [rn] signs,     p1 >= 2^-10 where u is not 0                               (4)

w is drawn once a block, with the signs after those of the pairs at its first step, for each stage. p1 does not know c1
and c2 of its step, so (2) and (3) stay unbiased, provided that the carried product is dropped only where it is 0; and
|A' w| may be 0 where A' is not, hence the floor. Blocks are those of the session: a reset does not begin one.

Carrying A through a block as (1) and (3) do, or working it out at its end, is the same but for rounding. The second is
what the engine does, because it is cheaper; the first, which reads better, is what stands here.

Cost per stage and lane: 2 k r n^3 flops a step, in blocks [2 k^2 n^3 (block - 1) + 2 k^2 r n^3] / block (as the engine does
it); numbers kept m + r k n^2, in blocks also the records; times `average` but for the first of the terms in blocks.
Source: Mujika, Meier & Steger 2018, arXiv:1805.10842; the blocks are ours.
"""

from math import sqrt

import numpy as np
from numpy.linalg import norm

from .estimators import Estimator, balance
from .records import dense_D, jacobian

SMALLEST = 2.0**-10
"""Least p1 of equation (4)."""


class KFRTRL(Estimator):
    """Kronecker-factored RTRL; `block` None is 1, which has exact norms."""

    def __init__(self, *, block=None, average=1, fresh=True):
        self.block = block or 1
        self.average = average
        self.fresh = fresh

    def begin(self, shapes):
        self.steps = 0
        super().begin(shapes)

    def reset(self):
        self.u = [np.zeros(m) for _, _, m in self.shapes * self.average]
        self.A = [np.zeros((kn, rn)) for kn, rn, _ in self.shapes * self.average]

    def count(self, signs):
        """One more step; at the first of a block, new w for every stage."""
        if self.block > 1 and self.steps % self.block == 0:
            self.w = [signs(stage, 2 * self.average + rn)[2 * self.average :] for stage, (_, rn, _) in enumerate(self.shapes)]
        self.steps += 1

    def observe(self, records, signs):
        self.count(signs)
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.A = [H @ A for A in self.A]
            for pair, c in enumerate(signs(stage, 2 * self.average).astype(float).reshape(-1, 2)):
                self.reduce(pair * len(records) + stage, record, *c)

    def reduce(self, block, record, c1, c2):
        u, A, D, h_hat = self.u[block], self.A[block], dense_D(record), record.h_hat
        p1, inverse1 = self.carried(self.size(block), norm(u))
        p2, inverse2 = balance(norm(D), norm(h_hat))
        self.u[block] = c1 * p1 * u + c2 * p2 * h_hat
        self.A[block] = c1 * inverse1 * A + c2 * inverse2 * D

    def size(self, block):
        """|A|, or its estimate."""
        return norm(self.A[block]) if self.block == 1 else norm(self.A[block] @ self.w[block % len(self.shapes)])

    def carried(self, size, norm_u):
        """p1 and its inverse."""
        if self.block == 1:
            return balance(size, norm_u)
        if norm_u == 0:
            return 0.0, 0.0
        p1 = max(SMALLEST, sqrt(size) / sqrt(norm_u))
        return p1, 1 / p1

    def credit(self, delta):
        return self.mean([np.outer(delta @ A, u) for u, A in zip(self.u, self.A)])

    def influence(self):
        return self.mean([np.multiply.outer(A, u) for u, A in zip(self.u, self.A)])

    def mean(self, blocks):
        """The mean over the pairs of every stage."""
        stages = len(self.shapes)
        return [sum(blocks[stage::stages]) / self.average for stage in range(stages)]
