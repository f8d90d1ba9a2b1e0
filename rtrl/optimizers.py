"""Optimizers, in the conventions of torch.optim.

`lr` is a number or a callable of the time step (0 at the first step of the session) at which an update
happens.  `clip_norm` limits the norm of the gradient of all parameters together, before weight decay.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import rtrl_core
from rtrl._spec import Spec, decay, flag, made_spec, non_negative, option, optional, positive, rate

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop"]


def _betas(name, value):
    try:
        first, second = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be two numbers; got {value!r}") from None
    return decay(f"{name}[0]", first), decay(f"{name}[1]", second)


class Optimizer(Spec):
    """Base of all optimizers."""

    _family = "optimizers"

    def _compiled(self, dtype):
        options = self.options()
        if options.get("eps", 1) < np.finfo(dtype).tiny:
            raise ValueError(f"eps must be at least {np.finfo(dtype).tiny:.3g} in {dtype}; got {options['eps']!r}")
        del options["lr"]
        return rtrl_core.core(dtype).registry(self._family)[type(self).__name__](**options)

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
    """

    lr: float | Callable[[int], float] = option(rate)
    momentum: float = option(decay, 0.0)
    nesterov: bool = option(flag, False)
    weight_decay: float = option(non_negative, 0.0)
    clip_norm: float | None = option(optional(positive), None)


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
    """

    lr: float | Callable[[int], float] = option(rate)
    alpha: float = option(decay, 0.99)
    eps: float = option(positive, 1e-8)
    weight_decay: float = option(non_negative, 0.0)
    clip_norm: float | None = option(optional(positive), None)


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
    """

    lr: float | Callable[[int], float] = option(rate)
    betas: tuple[float, float] = option(_betas, (0.9, 0.999))
    eps: float = option(positive, 1e-8)
    weight_decay: float = option(non_negative, 0.0)
    clip_norm: float | None = option(optional(positive), None)


def __getattr__(name):
    spec = globals()[name] = made_spec(Optimizer, name)
    return spec
