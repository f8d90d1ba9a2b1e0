"""Estimators of the gradient: how the influence of the weights on the state is carried forward.

Exact real-time recurrent learning keeps G = d s / d W, with G <- H G + F at every step, and the
gradient of a loss is delta G, delta = d loss / d s.  The others keep something cheaper.  `kind` says
what the result is: "exact", "unbiased" (right on average) or "biased".

`fresh` estimators form the gradient of step t as (delta H) G + delta F from G before the step was taken in,
so the newest step is exact and the noise is smaller, at no cost.  Times and memory below are for one lane and one stage; with
L stages, memory grows with L, and the times of forward estimators with L^2.
"""

from dataclasses import dataclass
from typing import ClassVar

from rtrl._spec import Spec, flag, integer, made_spec, option

__all__ = ["KFRTRL", "RTRL", "TBPTT", "UORO", "Estimator", "Immediate"]


class Estimator(Spec):
    """Base of all estimators."""

    _family = "estimators"
    kind: ClassVar[str]


@dataclass(frozen=True)
class RTRL(Estimator):
    """Exact real-time recurrent learning (Williams and Zipser 1989, doi:10.1162/neco.1989.1.2.270).

    Time 2 k n^2 r n m a step, lane and stage; memory k n r n m.

    Parameters
    ----------
    fresh : bool
        See the module; for this estimator it only changes rounding.
    """

    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "exact"


@dataclass(frozen=True)
class TBPTT(Estimator):
    """Truncated backpropagation through time (Williams and Peng 1990, doi:10.1162/neco.1990.2.4.490).

    Memory grows with the horizon.  In block form time does not.

    Parameters
    ----------
    horizon : int
        Steps of a window.
    sliding : bool
        False: the stream is cut into blocks of `horizon` steps and a loss reaches back to the start of its block (one
        sweep a block).  True: every loss reaches back `horizon` steps, itself included (one sweep a step).
    """

    horizon: int = option(integer)
    sliding: bool = option(flag, False)
    kind: ClassVar[str] = "biased"


@dataclass(frozen=True)
class UORO(Estimator):
    """Unbiased online recurrent optimization (Tallec and Ollivier 2017, arXiv:1702.05043).

    The influence is one random outer product v w.  Time about 2 r n^2 + 4 r n m, memory k n + r n m a lane and stage.

    Parameters
    ----------
    fresh : bool
        See the module.
    """

    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"


@dataclass(frozen=True)
class KFRTRL(Estimator):
    """Kronecker-factored RTRL (Mujika, Meier, Steger 2018, arXiv:1805.10842).

    The influence is one random Kronecker product u (x) A.  Time 2 k r n^3, memory m + k r n^2 a lane and stage.

    Parameters
    ----------
    fresh : bool
        See the module.
    """

    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"


@dataclass(frozen=True)
class Immediate(Estimator):
    """The gradient through the current step alone; nothing is carried.  The baseline that costs nothing."""

    kind: ClassVar[str] = "biased"


def __getattr__(name):
    spec = globals()[name] = made_spec(Estimator, name)
    return spec
