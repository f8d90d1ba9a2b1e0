"""A Kalman-like filter of the weights: natural gradient in a running Fisher information, and its metric.

    J <- (1 - gamma) J + gamma F ,  gamma = max(decay, 1/t)            t = observations so far, this one included    (1)
    W <- W - eta step ,  step = (J + J0)^-1 g ,  eta = min(lr, trust / sqrt(g . step))                               (2)

For one row of weights, b its last entry (the bias), a = J_qq + J0_qq, x = J_bq + J0_bq, beta = J_bb + J0_bb:

    slope_q = x / beta (diagonal metric: 0) ,  inverse_q = 1 / max(a - x^2/beta, floor a) ,  inverse_b = 1 / beta    (3)
    step_q = inverse_q (g_q - slope_q g_b) ,  step_b = inverse_b g_b - sum_q slope_q step_q                          (4)
    |y|^2 = inverse_b y_b^2 + sum_q inverse_q (y_q - slope_q y_b)^2                                                  (5)

F is g g^T ("outer"), or 1/B sum over lanes and factors of g_v g_v^T, g_v the gradient that factor v of the Fisher
information of the outputs causes ("exact"; see readouts). Weights that a mask takes away have inverse 0.
Without an observation (g = 0) nothing changes; the first `warm_up` observations teach J and leave W alone.

Cost: 10 flops and 2 or 4 numbers a parameter; "exact" also one credit per lane and output.
Sources: Ollivier 2018, arXiv:1703.00209 (Kalman filter = natural gradient); Ollivier 2015, arXiv:1303.0818
(quasi-diagonal metrics).
"""

from math import sqrt

import numpy as np

from .optimizers import Optimizer, norm_of


class Metric:
    """What is kept of J for one array of weights, and its inverse together with J0.

    Parameters
    ----------
    mask : ndarray of bool [rows, m]
        Which weights exist.
    prior : float or (ndarray, ndarray) [rows, m]
        J0: a multiple of the identity, or J0_qq and J0_bq.
    quasi : bool
        Keep J_bq as well as J_qq.
    floor : float
        Smallest Schur complement, relative to J_qq.
    """

    def __init__(self, mask, prior, quasi, floor):
        self.mask, self.quasi, self.floor = mask, quasi, floor
        self.prior = prior if isinstance(prior, tuple) else (np.full(mask.shape, prior), np.zeros(mask.shape))
        self.J, self.J_bias = np.zeros(mask.shape), np.zeros(mask.shape)
        self.F, self.F_bias = np.zeros(mask.shape), np.zeros(mask.shape)
        self.invert()

    def absorb(self, g, weight):
        """Add weight g g^T to F."""
        self.F += weight * g**2
        self.F_bias += weight * g * g[:, -1:]

    def learn(self, gamma):
        """Equation (1); F starts again from 0."""
        self.J = (1 - gamma) * self.J + gamma * self.F
        self.J_bias = (1 - gamma) * self.J_bias + gamma * self.F_bias
        self.F, self.F_bias = np.zeros_like(self.F), np.zeros_like(self.F)
        self.invert()

    def invert(self):
        """Equation (3)."""
        a, x = self.J + self.prior[0], self.J_bias + self.prior[1]
        self.slope = x / a[:, -1:] if self.quasi else np.zeros_like(a)
        self.slope[:, -1] = 0
        self.inverse = self.mask / (np.maximum(a - self.slope * x, self.floor * a) if self.quasi else a)

    def step(self, g):
        """Equation (4) for every row [rows, m]."""
        step = self.inverse * (g - self.slope * g[:, -1:])
        step[:, -1] -= (self.slope * step).sum(axis=1)
        return step

    def norm2(self, y):
        """Equation (5) for every row of y [rows, m]: [rows]."""
        return (self.inverse * (y - self.slope * y[:, -1:]) ** 2).sum(axis=1)


class Kalman(Optimizer):
    """Equations (1) and (2); `metrics` holds one Metric per array of weights, the stages first."""

    def __init__(
        self,
        lr,
        metric="diagonal",
        fisher="outer",
        decay=1e-3,
        prior=1e-3,
        floor=0.1,
        trust=0.3,
        warm_up=100,
        clip_norm=None,
        clip_outliers=None,
    ):
        super().__init__(lr, clip_norm=clip_norm, clip_outliers=clip_outliers)
        self.quasi, self.absorbs = metric == "quasi-diagonal", fisher == "exact"
        self.decay, self.prior, self.floor = decay, prior, floor
        self.trust = np.inf if trust is None else trust
        self.warm_up = warm_up
        self.observations = self.absorbed = 0

    def begin(self, masks):
        """Set up for arrays of weights with these masks."""
        priors = self.prior if isinstance(self.prior, list) else [self.prior] * len(masks)
        self.metrics = [Metric(mask, prior, self.quasi, self.floor) for mask, prior in zip(masks, priors)]

    def absorb(self, gradients, weight):
        """Take in the gradients that one factor of one lane causes."""
        self.absorbed += 1
        for metric, g in zip(self.metrics, gradients):
            metric.absorb(g, weight)

    def update(self, parameters, gradients, step):
        if self.metrics is None:
            self.begin([np.ones(W.shape, bool) for W in parameters])
        norm = norm_of(gradients)
        if not np.isfinite(norm):
            return
        gradients, usual = self.clipped(gradients)
        self.remember(norm, usual)
        for metric in self.metrics if self.absorbed and norm > usual else ():  # the factors of an outlier are scaled as it is
            metric.F *= (usual / norm) ** 2
            metric.F_bias *= (usual / norm) ** 2
        if not self.absorbed:
            if not any(np.any(g) for g in gradients):
                return
            self.absorb(gradients, 1.0)
        self.observations += 1
        self.absorbed = 0
        for metric in self.metrics:
            metric.learn(max(self.decay, 1 / self.observations))
        if self.observations > self.warm_up:
            steps = [metric.step(g) for metric, g in zip(self.metrics, gradients)]
            length = sqrt(sum(float(np.vdot(g, s)) for g, s in zip(gradients, steps)))
            lr = self.lr(step) if callable(self.lr) else self.lr
            eta = lr if lr * length <= self.trust else self.trust / length
            for W, s in zip(parameters, steps):
                W -= eta * s
