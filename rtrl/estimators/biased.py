"""Estimators that leave something out: truncated, near, or learned."""

from dataclasses import dataclass
from typing import ClassVar

from rtrl._spec import flag, fraction, integer, non_negative, option, positive
from rtrl.estimators.base import Estimator

__all__ = ["DNI", "Immediate", "KeRNL", "RFLO", "SnAp", "TBPTT"]


def _below_two(name, value):
    if non_negative(name, value) >= 2:
        raise ValueError(f"{name} must be below 2, where the map would not settle; got {value!r}")
    return float(value)


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
class Immediate(Estimator):
    """The gradient through the current step alone; nothing is carried.  The baseline that costs nothing."""

    kind: ClassVar[str] = "biased"


@dataclass(frozen=True)
class SnAp(Estimator):
    """Sparse n-step approximation of RTRL (Menick et al. 2020, arXiv:2006.07232).

    Keeps a weight's influence on the units that it can reach within `order` time steps, its own unit being the first, and
    drops the rest.  Order 1 suits any network: time about 2 k (k + 1) r n m, memory k r n m a lane and stage.  Higher orders
    need sparse recurrent weights (`Network(..., sparsity=0.9)`); time and memory are in proportion to the pattern.  When the
    order is at least 1 + the longest way from unit to unit, nothing is dropped and this is exact RTRL.

    Parameters
    ----------
    order : int
        Time steps.
    fresh : bool
        See the module; costs one product with the recurrent weights and one pass over the gradient.  False is as published.
    """

    order: int = option(integer, 1)
    fresh: bool = option(flag, False, kw_only=True)
    kind: ClassVar[str] = "biased"

    def check(self, network):
        if self.order > 1 and not network.is_sparse:
            raise ValueError(
                f"SnAp(order={self.order}) needs a network with sparse recurrent weights: in a dense one every unit reaches "
                "every other in one step, so that from order 2 on nothing is dropped and it is RTRL at the cost of RTRL. Use "
                "Network(..., sparsity=0.9), SnAp(order=1), or RTRL()"
            )


@dataclass(frozen=True)
class RFLO(Estimator):
    """Random-feedback local online learning (Murray 2019, doi:10.7554/eLife.43299); for these cells also e-prop.

    A trace for each weight that only the direct derivatives of its unit carry on, J <- E J + D h_hat; the recurrent
    weights are left out.  Time about 2 k (k + 1) r n m, memory k r n m a lane and stage.

    Parameters
    ----------
    fresh : bool
        See the module; the newest step is then credited through the recurrent weights.  False is as published.
    random_feedback : bool
        Credit hidden units through fixed random signs over sqrt(n) in place of the readout's weights, in `step` and `run`;
        credit that is given to `feedback` is taken as it is.  Not together with `fresh`.
    """

    fresh: bool = option(flag, False, kw_only=True)
    random_feedback: bool = option(flag, False)
    kind: ClassVar[str] = "biased"

    def __post_init__(self):
        super().__post_init__()
        if self.fresh and self.random_feedback:
            raise ValueError("random_feedback=True needs fresh=False: a fresh step is credited through the weights themselves")


@dataclass(frozen=True)
class KeRNL(Estimator):
    """Kernel RNN learning (Roth, Kanitscheider, Fiete 2019), as in Marschall, Cho, Savin 2020 (arXiv:1907.02649).

    The influence is a learned matrix A times a trace of the immediate influence that fades by kappa = 1 - alpha in each
    component of the state; A and alpha learn to predict what random noise does to the state.  A reset keeps both.  Time
    about 8 (k n)^2 + 4 k r n m, memory (k n)^2 + k r n m a lane and stage.

    Parameters
    ----------
    lr : float
        Learning rate of A, in units in which the noise of a step has the norm 1.
    kernel_lr : float
        Learning rate of alpha, likewise.
    noise : float
        Norm of the noise of a step.  Its effect is followed to first order, so only lr noise^2 and kernel_lr noise^2 matter.
    leak : float
        First value of alpha, in (0, 1].
    """

    lr: float = option(non_negative, 0.03)
    kernel_lr: float = option(non_negative, 0.01)
    noise: float = option(positive, 1.0)
    leak: float = option(fraction, 0.8)
    kind: ClassVar[str] = "biased"


@dataclass(frozen=True)
class DNI(Estimator):
    """Decoupled neural interfaces: synthetic gradients (Jaderberg et al. 2017, arXiv:1608.05343).

    A linear map predicts from what a step read, [h; x; 1], the credit that all later losses will give to its state, and learns
    from the credit that arrives one step on, its own next prediction included (Marschall, Cho, Savin 2020,
    arXiv:1907.02649).  The credit of the present loss is exact.  A reset keeps the map.  Time about 4 k n m + 4 r n m,
    memory k n m a lane.

    Parameters
    ----------
    lr : float
        Learning rate of the map as a share of the error that one step takes away; below 2.
    """

    lr: float = option(_below_two, 0.03)
    kind: ClassVar[str] = "biased"
