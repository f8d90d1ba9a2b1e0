"""Optimizers: the formulas of torch.optim, on lists of arrays that are updated in place.

    g <- g clip / |g|   if clip_norm is given and |g| > clip; |g| over all parameters together           (1)
    g <- g + weight_decay W                                                                              (2)

    SGD       b <- momentum b + g ;  W <- W - lr (g + momentum b  if nesterov, else b)                    (3)
    RMSprop   q <- alpha q + (1-alpha) g^2 ;  W <- W - lr g / (sqrt q + eps)                              (4)
    Adam      m <- b1 m + (1-b1) g ;  q <- b2 q + (1-b2) g^2 ;
              W <- W - lr / (1-b1^i) m / (sqrt(q) / sqrt(1-b2^i) + eps)          i = number of this update, from 1   (5)

All slots start at 0. lr is a float or a callable of the time step (from 0) at which the update happens.
Cost per parameter: a few flops, and 1 (SGD with momentum, RMSprop) or 2 (Adam) slots.
Sources: Sutskever et al. 2013 (momentum); Tieleman & Hinton 2012 (RMSprop); Kingma & Ba 2015, arXiv:1412.6980 (Adam).
"""

from math import sqrt

import numpy as np


def clip_by_norm(gradients, clip_norm):
    """Equation (1); the gradients are returned as they are when clip_norm is None or not exceeded."""
    norm = sqrt(sum(float(np.sum(g * g)) for g in gradients))
    if clip_norm is None or norm <= clip_norm:
        return gradients
    return [g * (clip_norm / norm) for g in gradients]


class Optimizer:
    """What every optimizer offers; subclasses say how far one parameter moves.

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a function from the time step to it.
    weight_decay : float
        L2 penalty, added to the clipped gradient.
    clip_norm : float, optional
        Largest norm of all gradients together.
    """

    slot_count = 0
    metrics = None  # of the parameters, one for each array, for estimators that reduce in one
    absorbs = False  # wants the gradients of the factors of the Fisher information

    def __init__(self, lr, weight_decay=0.0, clip_norm=None):
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.updates = 0
        self.slots = None

    def begin(self, masks):
        """Be told which weights exist, list of ndarray of bool, before the first step."""

    def absorb(self, gradients, weight):
        """Take in the gradients that one factor of the outputs' Fisher information causes at one lane."""
        raise NotImplementedError

    def direction(self, gradient, slots):
        """The step of one parameter before it is scaled by -lr; changes the slots in place."""
        raise NotImplementedError

    def update(self, parameters, gradients, step):
        """Move the parameters in place.

        Parameters
        ----------
        parameters, gradients : list of ndarray
            Of equal shapes.
        step : int
            Time step, for the learning rate.
        """
        if self.slots is None:
            self.slots = [[np.zeros_like(W) for _ in range(self.slot_count)] for W in parameters]
        self.updates += 1
        lr = self.lr(step) if callable(self.lr) else self.lr
        for W, g, slots in zip(parameters, clip_by_norm(gradients, self.clip_norm), self.slots):
            W -= lr * self.direction(g + self.weight_decay * W, slots)


class SGD(Optimizer):
    """Gradient descent with momentum, equation (3)."""

    slot_count = 1

    def __init__(self, lr, momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=None):
        super().__init__(lr, weight_decay, clip_norm)
        self.momentum = momentum
        self.nesterov = nesterov

    def direction(self, gradient, slots):
        (b,) = slots
        b[...] = self.momentum * b + gradient
        return gradient + self.momentum * b if self.nesterov else b


class RMSprop(Optimizer):
    """Gradient divided by its running root mean square, equation (4)."""

    slot_count = 1

    def __init__(self, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, clip_norm=None):
        super().__init__(lr, weight_decay, clip_norm)
        self.alpha = alpha
        self.eps = eps

    def direction(self, gradient, slots):
        (q,) = slots
        q[...] = self.alpha * q + (1 - self.alpha) * gradient**2
        return gradient / (np.sqrt(q) + self.eps)


class Adam(Optimizer):
    """Adaptive moment estimation, equation (5)."""

    slot_count = 2

    def __init__(self, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, clip_norm=None):
        super().__init__(lr, weight_decay, clip_norm)
        self.betas = betas
        self.eps = eps

    def direction(self, gradient, slots):
        m, q = slots
        b1, b2 = self.betas
        m[...] = b1 * m + (1 - b1) * gradient
        q[...] = b2 * q + (1 - b2) * gradient**2
        root = np.sqrt(q) / sqrt(1 - b2**self.updates) + self.eps
        return m / (1 - b1**self.updates) / root
