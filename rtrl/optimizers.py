"""Optimizers, in the conventions of torch.optim.

`lr` is a number or a callable of the time step (0 at the first step of the session) at which an update
happens.  `clip_norm` and `clip_outliers` limit the norm of the gradient of all parameters together, before weight decay.

An update whose gradient is not finite, or after which a weight or a number of the optimizer would not be, is skipped as a
whole and counted (`rtrl.Session.health`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import rtrl_core
from rtrl._spec import Spec, choice, decay, flag, fraction, integer, made_spec, non_negative, option, optional, positive, rate

__all__ = ["SGD", "Adam", "Kalman", "Optimizer", "RMSprop"]


def _betas(name, value):
    try:
        first, second = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be two numbers; got {value!r}") from None
    return decay(f"{name}[0]", first), decay(f"{name}[1]", second)


def _prior(name, value):
    if positive(name, value) < 1e-30:
        raise ValueError(f"{name} must be at least 1e-30, or its inverse would leave float32; got {value!r}")
    return float(value)


_below_one = decay  # an option of Kalman has the name of this check


def _at_least_one(name, value):
    if positive(name, value) < 1:
        raise ValueError(f"{name} must be 1 or more; got {value!r}")
    return float(value)


def _count(name, value):
    return integer(name, value, least=0)


class Optimizer(Spec):
    """Base of all optimizers."""

    _family = "optimizers"

    def _compiled(self, dtype):
        self.check_range(dtype)
        options = self.options()
        if options.get("eps", 1) < np.finfo(dtype).tiny:
            raise ValueError(f"eps must be at least {np.finfo(dtype).tiny:.3g} in {dtype}; got {options['eps']!r}")
        del options["lr"]
        return rtrl_core.core(dtype).registry(self._family)[type(self).__name__](**options)

    def check(self, network):
        """Refuse a network that this optimizer cannot serve, before anything is allocated."""

    def __post_init__(self):
        super().__post_init__()
        if getattr(self, "nesterov", False) and not self.momentum:
            raise ValueError("nesterov=True needs momentum above 0")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, optionally with (Nesterov) momentum.

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a function of the time step.
    momentum : float
        In [0, 1).
    nesterov : bool
        Nesterov's form of momentum.
    weight_decay : float
        L2 penalty.
    clip_norm : float or None
        Largest norm of the whole gradient.
    clip_outliers : float or None
        Largest norm of the whole gradient relative to the median of the last 31 norms; longer gradients are scaled down to
        it, and counted (`Session.health`).  None: any.
    """

    lr: float | Callable[[int], float] = option(rate)
    momentum: float = option(decay, 0.0)
    nesterov: bool = option(flag, False)
    weight_decay: float = option(non_negative, 0.0)
    clip_norm: float | None = option(optional(positive), None)
    clip_outliers: float | None = option(optional(_at_least_one), None)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop, not centred, without momentum.

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a function of the time step.
    alpha : float
        Decay of the mean square, in [0, 1).
    eps : float
        Added to the root mean square.
    weight_decay : float
        L2 penalty.
    clip_norm : float or None
        Largest norm of the whole gradient.
    clip_outliers : float or None
        Largest norm of the whole gradient relative to the median of the last 31 norms; longer gradients are scaled down to
        it, and counted (`Session.health`).  None: any.
    """

    lr: float | Callable[[int], float] = option(rate)
    alpha: float = option(decay, 0.99)
    eps: float = option(positive, 1e-8)
    weight_decay: float = option(non_negative, 0.0)
    clip_norm: float | None = option(optional(positive), None)
    clip_outliers: float | None = option(optional(_at_least_one), None)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980).

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a function of the time step.
    betas : (float, float)
        Decays of the mean and the mean square of the gradient, in [0, 1).
    eps : float
        Added to the root mean square.
    weight_decay : float
        L2 penalty.
    clip_norm : float or None
        Largest norm of the whole gradient.
    clip_outliers : float or None
        Largest norm of the whole gradient relative to the median of the last 31 norms; longer gradients are scaled down to
        it, and counted (`Session.health`).  None: any.
    """

    lr: float | Callable[[int], float] = option(rate)
    betas: tuple[float, float] = option(_betas, (0.9, 0.999))
    eps: float = option(positive, 1e-8)
    weight_decay: float = option(non_negative, 0.0)
    clip_norm: float | None = option(optional(positive), None)
    clip_outliers: float | None = option(optional(_at_least_one), None)


@dataclass(frozen=True)
class Kalman(Optimizer):
    """A Kalman-like filter: natural gradient in a running Fisher information (Ollivier 2018, arXiv:1703.00209).

    J <- (1 - gamma) J + gamma F, w <- w - eta (J + prior)^-1 g with gamma = max(decay, 1/t), t observations so far.
    Its metric also serves `NoBackTrack(metric="kalman")`.  A step without any target changes nothing.

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a function of the time step; 3e-4 with a loss at every step, 3e-3 with rare ones.
    metric : {"diagonal", "quasi-diagonal"}
        What is kept of J: its diagonal (2 numbers a weight), or also the products of each weight with its bias
        (4 numbers), which makes learning independent of where the inputs and units have their 0.
    fisher : {"outer", "exact"}
        F: the outer product of the gradient, or its mean over the targets that the model expects, which is less noisy
        and costs one credit per lane and output at every step (needs a readout; gradients given to `apply` count as
        "outer").  With several lanes "outer" has the outer product of their mean, "exact" the mean over lanes.
    decay : float
        Smallest gamma, in (0, 1].  Slow against the memory of the net, or the direction is biased.
    prior : float
        Added to the diagonal of J; 1e-3 (outer), 1e-4 to 1e-3 (exact).
    floor : float
        Smallest Schur complement of the quasi-diagonal metric, relative to the diagonal, in [0, 1).
    trust : float or None
        Largest length of a step in the metric J; longer ones are shortened.
    warm_up : int
        Observations that teach J before the weights begin to move.
    clip_norm : float or None
        Largest norm of the whole gradient, before J takes it in ("exact" is not clipped).
    clip_outliers : float or None
        Largest norm relative to the median of the last 31 norms, likewise; see `Adam`.
    """

    lr: float | Callable[[int], float] = option(rate)
    metric: str = option(choice("diagonal", "quasi-diagonal"), "diagonal")
    fisher: str = option(choice("outer", "exact"), "outer")
    decay: float = option(fraction, 1e-3)
    prior: float = option(_prior, 1e-3)
    floor: float = option(_below_one, 0.1)
    trust: float | None = option(optional(positive), 0.3)
    warm_up: int = option(_count, 100)
    clip_norm: float | None = option(optional(positive), None)
    clip_outliers: float | None = option(optional(_at_least_one), None)

    def check(self, network):
        if self.fisher == "exact" and not getattr(network.compiled_readout(), "has_factors", False):
            raise ValueError(f'Kalman(fisher="exact") needs a readout whose Fisher information is known; got {network.readout!r}')


def __getattr__(name):
    spec = globals()[name] = made_spec(Optimizer, name)
    return spec
