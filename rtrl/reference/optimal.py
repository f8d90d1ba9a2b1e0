"""Optimal Kronecker sums: the influence as a sum of `rank` products, reduced with the least possible variance.

    G~ = sum_i u_i (x) A_i                         u [rank, m] ,  A [rank, kn, rn] ;  G~[x, p, q] = sum_i A[i, x, p] u[i, q]

OK reduces once a time step, BlockOK(block) once every `block` steps and is exact in between. With the suffix products
P_t,l = H_last ... H after stage l of step t, a reduction of stage l starts from these rank + block terms:

    T = sum_i u_i (x) (P_0 A_i) + sum_t h_hat_t (x) (P_t,l D_t)                                                     (1)
    T = sum_i d_i  x_i (x) Y_i ,  d_1 >= d_2 >= ... ,  x_i and Y_i orthonormal, x_i . newest h_hat > 0               (2)
    X [terms, rank]:  X[i, i] = sqrt(d_i) for i < a ,  tail X = sqrt(S / kk) diag(signs) Z                           (3)
    u <- X' x ,  A <- X' Y                                                                                          (4)

a is the smallest number with d_{a+1} kk <= S, kk = rank - a, S = sum of d_i over the tail i > a; Z has orthonormal
columns and rows of squared norm d_i kk / S, so E[X X'] = diag(d), and |G~ - T|^2 = S^2 / kk - sum of d_i^2 over the
tail, whatever the signs: no unbiased reduction to this rank has less. The orientation in (2) makes results
reproducible sign for sign; sign i belongs to the i-th largest d.

A reset forgets the terms before it, also in the middle of a block: blocks are those of the session, not of the lane.

Cost per stage and lane and block: 2 k^3 n^3 flops a step for P, 2 rank k^2 r n^3 for P_0 A, about 2 (rank + block)^2 k r n^2
for (2) and (4); numbers kept rank (m + k r n^2) and, for BlockOK, block records with the weights they were made with.
Sources: Benzing, Gauy, Mujika, Martinsson, Steger 2019, arXiv:1902.03993 (OK, which puts X on one side only); the
reduction inside a block is ours.
"""

from math import sqrt

import numpy as np

from .estimators import Estimator
from .records import dense_D, jacobian

DROP = 1e-13
"""Singular values below this part of the largest are rounding: their vectors mean nothing, and sqrt(d) would."""


def spread(shares, columns):
    """Z [t, columns] of (3): orthonormal columns, and rows with the given squared norms (Schur-Horn).

    A row w is carried along. Each element either takes its share of w, or, where w is too small, a rotation of w with
    the next unit row makes it; both keep the columns orthonormal.

    Parameters
    ----------
    shares : ndarray [t]
        Numbers in [0, 1] whose sum is `columns`.
    columns : int
        At most t.
    """
    Z, w, used, rest = np.zeros((len(shares), columns)), np.zeros(columns), 0, 0.0
    for row, share in zip(Z, shares):
        if rest >= share or used == columns:
            part = min(1.0, share / rest) if rest > 0 else 0.0
            row[:] = sqrt(part) * w
            w = sqrt(1 - part) * w
            rest -= part * rest
        else:
            sine2 = min(1.0, (share - rest) / (1 - rest))
            row[:] = sqrt(1 - sine2) * w
            row[used] += sqrt(sine2)
            w = -sqrt(sine2) * w
            w[used] += sqrt(1 - sine2)
            rest += 1 - share
            used += 1
    return Z


def mixing(d, rank, signs):
    """X [terms, rank] of (3) for singular values d in falling order."""
    X, kept = np.zeros((len(d), rank)), 0
    while kept < min(rank, len(d)) and d[kept] * (rank - kept) > d[kept:].sum():
        X[kept, kept] = sqrt(d[kept])
        kept += 1
    total, columns = d[kept:].sum(), rank - kept
    if total > 0:
        Z = spread(d[kept:] * columns / total, columns)
        X[kept:, kept:] = sqrt(total / columns) * np.asarray(signs, float)[kept : len(d), None] * Z
    return X


def reduce_terms(u, A, rank, signs, newest):
    """Reduce the terms u [terms, m], A [terms, kn, rn] to `rank` of them, equations (2) to (4).

    Parameters
    ----------
    signs : ndarray [terms]
        Random signs.
    newest : ndarray [m]
        h_hat of the newest record, for the orientation.
    """
    left, small_left = np.linalg.qr(u.T)
    right, small_right = np.linalg.qr(A.reshape(len(A), -1).T)
    rotate_left, d, rotate_right = np.linalg.svd(small_left @ small_right.T)
    rotate_left, rotate_right = rotate_left[:, : len(d)], rotate_right[: len(d)]
    d = np.where(d > DROP * d[0], d, 0)
    left, right = left @ rotate_left, right @ rotate_right.T
    orientation = np.where(newest @ left < 0, -1, 1)
    X = orientation[:, None] * mixing(d, rank, signs)
    return (left @ X).T, (right @ X).T.reshape(rank, *A.shape[1:])


class OK(Estimator):
    """Optimal Kronecker sum of `rank` products, reduced at the end of every time step."""

    def __init__(self, rank, *, fresh=True):
        self.rank = rank
        self.fresh = fresh

    def reset(self):
        self.u = [np.zeros((self.rank, m)) for _, _, m in self.shapes]
        self.A = [np.zeros((self.rank, kn, rn)) for kn, rn, _ in self.shapes]

    def observe(self, records, signs):
        for stage, record in enumerate(records):
            H = jacobian(record)
            self.A = [H @ A for A in self.A]
            self.u[stage] = np.concatenate([self.u[stage], record.h_hat[None]])
            self.A[stage] = np.concatenate([self.A[stage], dense_D(record)[None]])
        for stage, record in enumerate(records):
            self.reduce(stage, self.u[stage], self.A[stage], signs(stage, self.rank + 1), record.h_hat)

    def reduce(self, stage, u, A, signs, newest):
        self.u[stage], self.A[stage] = reduce_terms(u, A, self.rank, signs, newest)

    def credit(self, delta):
        return [np.einsum("x,ixp,iq->pq", delta, A, u) for u, A in zip(self.u, self.A)]

    def influence(self):
        return [np.einsum("ixp,iq->xpq", A, u) for u, A in zip(self.u, self.A)]


class BlockOK(OK):
    """OK that is exact inside blocks of `block` steps and reduces once at the end of each."""

    def __init__(self, rank, block, *, fresh=True):
        super().__init__(rank, fresh=fresh)
        self.block = block

    def begin(self, shapes):
        self.steps = 0
        super().begin(shapes)

    def reset(self):
        super().reset()
        self.tape = []

    def observe(self, records, signs):
        # H is kept rather than the record, whose W may be changed by an update before the block ends.
        self.tape.append([(jacobian(record), dense_D(record), record.h_hat) for record in records])
        self.steps += 1
        if self.steps % self.block == 0:
            self.close(signs)
            self.tape = []

    def close(self, signs):
        """Equation (1): all terms of the block in one sweep from its end, then the reduction of each stage."""
        P = np.eye(self.shapes[0][0])
        terms = [([], []) for _ in self.shapes]
        for step in reversed(self.tape):
            for (u, A), (H, D, h_hat) in zip(reversed(terms), reversed(step)):
                u.append(h_hat)
                A.append(P @ D)
                P = P @ H
        for stage, (u, A) in enumerate(terms):
            newest = u[0]
            u, A = np.concatenate([self.u[stage], u[::-1]]), np.concatenate([P @ self.A[stage], A[::-1]])
            self.reduce(stage, u, A, signs(stage, self.rank + self.block), newest)

    def credit(self, delta):
        return [np.tensordot(delta, G, axes=1) for G in self.influence()]

    def influence(self):
        influence = super().influence()
        for step in self.tape:
            for stage, (H, D, h_hat) in enumerate(step):
                influence = [np.tensordot(H, G, axes=1) for G in influence]
                influence[stage] += D[:, :, None] * h_hat
        return influence
