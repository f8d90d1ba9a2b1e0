"""Readouts: loss of the outputs of one lane at one time step, and its derivatives by h and by the readout weights.

    y = V [h; 1]          [outputs]       V [outputs, n+1], columns h | 1

    Softmax     L = log sum exp y - y[target]                       target an id, -1 = missing
    Linear      L = 1/2 sum_o (y[o] - target[o])^2                  target [outputs], NaN = entry missing
    Bernoulli   L = sum_o log(1 + exp y[o]) - target[o] y[o]        target in [0, 1], NaN = entry missing

    e = dL/dy  [outputs]:  softmax(y) - onehot ,  y - target ,  sig(y) - target                       (1)
    dL/dh = e V_h [n] ,    dL/dV = e (x) [h; 1] [outputs, n+1]                                         (2)
    E[e e^T] = sum_v e_v (x) e_v ,   e_v = sqrt(p_v) (onehot_v - p) ,  onehot_v ,  sqrt(p_v (1 - p_v)) onehot_v   (3)

Losses are in nats (half squared units for Linear). A missing target gives no loss and no credit.
Cost: 6 outputs n flops.
"""

import numpy as np

from .cells import sigmoid


class Readout:
    """What every readout offers; subclasses say how an output is scored."""

    def __init__(self, outputs):
        self.outputs = outputs

    def score(self, y, target):
        """Loss and error dL/dy [outputs], equation (1)."""
        raise NotImplementedError

    def factors(self, y, target):
        """Errors whose outer products add up to E[e e^T] over the targets that the model expects, equation (3).

        Parameters
        ----------
        y : ndarray [outputs]
            Outputs.
        target : int or ndarray [outputs]
            What is missing here has no part in it.

        Returns
        -------
        ndarray [factors, outputs]
        """
        raise NotImplementedError

    def has_target(self, target):
        """Whether any part of the target is present."""
        return bool(np.any(~np.isnan(target)))

    def loss_and_delta(self, weights, h, target):
        """Score one lane.

        Parameters
        ----------
        weights : ndarray [outputs, n+1]
            Columns h | 1.
        h : ndarray [n]
            Hidden units.
        target : int or ndarray [outputs]
            What should have come out.

        Returns
        -------
        loss : float
            In nats; 0 without a target.
        delta_h : ndarray [n]
            Derivative of the loss by h.
        gradient : ndarray [outputs, n+1]
            Derivative of the loss by the weights.
        """
        extended = np.append(h, 1.0)
        loss, error = self.score(weights @ extended, target)
        return loss, error @ weights[:, :-1], np.outer(error, extended)


class Softmax(Readout):
    """Cross-entropy of one class among `outputs`."""

    def has_target(self, target):
        return int(target) != -1

    def score(self, y, target):
        if not self.has_target(target):
            return 0.0, np.zeros_like(y)
        # The largest logit is taken out first, so that no exponential overflows.
        shifted = y - y.max()
        log_p = shifted - np.log(np.exp(shifted).sum())
        error = np.exp(log_p)
        error[target] -= 1
        return -log_p[target], error

    def factors(self, y, target):
        if not self.has_target(target):
            return np.zeros((0, self.outputs))
        p = np.exp(y - y.max())
        p /= p.sum()
        return np.sqrt(p)[:, None] * (np.eye(self.outputs) - p)


class Linear(Readout):
    """Half squared error, summed over the outputs."""

    def score(self, y, target):
        error = np.where(np.isnan(target), 0.0, y - target)
        return 0.5 * error @ error, error

    def factors(self, y, target):
        return np.eye(self.outputs)[~np.isnan(target)]


class Bernoulli(Readout):
    """Cross-entropy of independent bits given as logits, summed over the outputs."""

    def score(self, y, target):
        present = ~np.isnan(target)
        loss = np.where(present, np.logaddexp(0, y) - target * y, 0.0).sum()
        return loss, np.where(present, sigmoid(y) - target, 0.0)

    def factors(self, y, target):
        p = sigmoid(y)
        return np.diag(np.sqrt(p * (1 - p)))[~np.isnan(target)]
