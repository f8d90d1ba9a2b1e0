"""Optimizers: the formulas of torch.optim, on lists of arrays that are updated in place.

    g <- g clip / |g|   if |g| > clip; |g| over all parameters together, clip the smaller of clip_norm
                        and clip_outliers times the median of the last 31 norms that were not 0             (1)
    g <- g + weight_decay W                                                                              (2)

    SGD       b <- momentum b + g ;  W <- W - lr (g + momentum b  if nesterov, else b)                    (3)
    RMSprop   q <- alpha q + (1-alpha) g^2 ;  W <- W - lr g / (sqrt q + eps)                              (4)
    Adam      m <- b1 m + (1-b1) g ;  q <- b2 q + (1-b2) g^2 ;
              W <- W - lr / (1-b1^i) m / (sqrt(q) / sqrt(1-b2^i) + eps)          i = number of this update, from 1   (5)

An update after which a weight or a slot is not finite does not happen. With fewer than 5 norms nothing is an outlier.
All slots start at 0. lr is a float or a callable of the time step (from 0) at which the update happens.
Cost per parameter: a few flops, and 1 (SGD with momentum, RMSprop) or 2 (Adam) slots.
Sources: Sutskever et al. 2013 (momentum); Tieleman & Hinton 2012 (RMSprop); Kingma & Ba 2015, arXiv:1412.6980 (Adam).
"""

from math import sqrt

import numpy as np

NORMS, FEWEST = 31, 5


def norm_of(gradients):
    """|g| over all parameters together."""
    return sqrt(sum(float(np.sum(g * g)) for g in gradients))


def clip_by_norm(gradients, clip_norm):
    """Equation (1) with a given length; the gradients are returned as they are when it is None or not exceeded."""
    norm = norm_of(gradients)
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
    clip_outliers : float, optional
        The same, relative to the median of the last norms.

    Attributes
    ----------
    norms : list of float
        The last norms that were not 0.
    scaled : int
        Updates that were scaled down for `clip_outliers`.
    """

    slot_count = 0
    metrics = None  # of the parameters, one for each array, for estimators that reduce in one
    absorbs = False  # wants the gradients of the factors of the Fisher information

    def __init__(self, lr, weight_decay=0.0, clip_norm=None, clip_outliers=None):
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm, self.clip_outliers = clip_norm, clip_outliers
        self.norms, self.scaled = [], 0
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

    def clipped(self, gradients):
        """Equation (1)."""
        usual = np.inf
        if self.clip_outliers is not None and len(self.norms) >= FEWEST:
            usual = self.clip_outliers * sorted(self.norms)[len(self.norms) // 2]
        return clip_by_norm(gradients, min(usual, np.inf if self.clip_norm is None else self.clip_norm)), usual

    def remember(self, norm, usual):
        """Take the norm of an update into the median."""
        if norm:
            self.norms = [*self.norms, norm][-NORMS:]
            self.scaled += norm > usual

    def update(self, parameters, gradients, step):
        """Move the parameters in place, unless a number would not be finite.

        Parameters
        ----------
        parameters, gradients : list of ndarray
            Of equal shapes.
        step : int
            Time step, for the learning rate.
        """
        if self.slots is None:
            self.slots = [[np.zeros_like(W) for _ in range(self.slot_count)] for W in parameters]
        lr = self.lr(step) if callable(self.lr) else self.lr
        before = [slot.copy() for slots in self.slots for slot in slots]
        self.updates += 1
        with np.errstate(all="ignore"):
            clipped, usual = self.clipped(gradients)
            moved = [
                W - lr * self.direction(g + self.weight_decay * W, slots) for W, g, slots in zip(parameters, clipped, self.slots)
            ]
        after = [slot for slots in self.slots for slot in slots]
        if not all(np.isfinite(array).all() for array in (norm_of(gradients), *moved, *after)):
            self.updates -= 1
            for slot, value in zip(after, before):
                slot[...] = value
            return
        self.remember(norm_of(gradients), usual)
        for W, value in zip(parameters, moved):
            W[...] = value


class SGD(Optimizer):
    """Gradient descent with momentum, equation (3)."""

    slot_count = 1

    def __init__(self, lr, momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=None, clip_outliers=None):
        super().__init__(lr, weight_decay, clip_norm, clip_outliers)
        self.momentum = momentum
        self.nesterov = nesterov

    def direction(self, gradient, slots):
        (b,) = slots
        b[...] = self.momentum * b + gradient
        return gradient + self.momentum * b if self.nesterov else b


class RMSprop(Optimizer):
    """Gradient divided by its running root mean square, equation (4)."""

    slot_count = 1

    def __init__(self, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, clip_norm=None, clip_outliers=None):
        super().__init__(lr, weight_decay, clip_norm, clip_outliers)
        self.alpha = alpha
        self.eps = eps

    def direction(self, gradient, slots):
        (q,) = slots
        q[...] = self.alpha * q + (1 - self.alpha) * gradient**2
        return gradient / (np.sqrt(q) + self.eps)


class Adam(Optimizer):
    """Adaptive moment estimation, equation (5)."""

    slot_count = 2

    def __init__(self, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, clip_norm=None, clip_outliers=None):
        super().__init__(lr, weight_decay, clip_norm, clip_outliers)
        self.betas = betas
        self.eps = eps

    def direction(self, gradient, slots):
        m, q = slots
        b1, b2 = self.betas
        m[...] = b1 * m + (1 - b1) * gradient
        q[...] = b2 * q + (1 - b2) * gradient**2
        root = np.sqrt(q) / sqrt(1 - b2**self.updates) + self.eps
        return m / (1 - b1**self.updates) / root
