"""Estimators that are right on average: random products in place of the influence."""

from dataclasses import dataclass
from typing import ClassVar

import rtrl_core
from rtrl._spec import choice, flag, integer, option, optional, positive
from rtrl.estimators.base import Estimator

# Where blocks of steps pay for KF-RTRL at every CPU level, measured with one thread and an update at every step: not where
# more than this share of the products is left, as with an LSTM.
_USUAL_BLOCK, _LEAST_HIDDEN, _LEAST_LANES, _MOST_LEFT = 8, 96, 4, 0.6

__all__ = ["BlockOK", "KFRTRL", "NoBackTrack", "OK", "ReversedKFRTRL", "UORO"]


@dataclass(frozen=True)
class UORO(Estimator):
    """Unbiased online recurrent optimization (Tallec and Ollivier 2017, arXiv:1702.05043).

    The influence is one random outer product v w.  Time about 2 r n^2 + 4 r n m, memory k n + r n m a lane and stage.

    With a longer horizon the random reduction comes once a window of `horizon` steps, within which credit is exact
    ("memory-T UORO"); a window as long as the stream is backpropagation through time.  It adds `horizon - 1` records of
    memory.  One sweep through the window serves all losses since the last gradient, so updates once a window
    (`update_every=horizon`) are cheap and an update at every step costs a sweep at every step.

    Parameters
    ----------
    horizon : int
        Steps of a window.  Windows end at the same steps for all lanes, whether they were reset or not.
    fresh : bool
        See the module.
    """

    horizon: int = option(integer, 1)
    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"


@dataclass(frozen=True)
class NoBackTrack(Estimator):
    """NoBackTrack (Ollivier, Tallec and Charpiat 2015, arXiv:1507.07680).

    One random outer product v w, as in UORO, with a sign and a scale for every state component.  Time and memory are those
    of UORO, the variance of a reduction is smaller.

    Parameters
    ----------
    metric : {"euclidean", "kalman"}
        Norms that the scales balance.  "kalman": those of the metric that the optimizer keeps, which must be `Kalman`;
        then learning does not depend on the units in which weights, inputs and units are measured.  Costs another pass.
    state : {"propagated", "local", "literal"}
        Metric of the state, for "kalman": the squared length that a row of the influence has without noise, that of its newest
        term (or a hundredth of that of the noisy estimate, if that is more), or that of the noisy estimate (as published; more
        variance).
    eps : float
        Added to both norms of the carried product, for "kalman".
    fresh : bool
        See the module.
    """

    metric: str = option(choice("euclidean", "kalman"), "euclidean")
    state: str = option(choice("propagated", "local", "literal"), "propagated")
    eps: float = option(positive, 1e-6)
    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"

    def _compiled(self, dtype):
        compiled = rtrl_core.core(dtype).registry(self._family)
        if self.metric == "euclidean":
            return compiled["NoBackTrack"](fresh=self.fresh)
        return compiled["MetricNoBackTrack"](self.state, self.eps, fresh=self.fresh)


@dataclass(frozen=True, kw_only=True)
class KFRTRL(Estimator):
    """Kronecker-factored RTRL (Mujika, Meier, Steger 2018, arXiv:1805.10842).

    The influence is one random Kronecker product u (x) A.  Time 2 k r n^3, memory m + k r n^2 a lane and stage.

    In blocks of several steps A is worked out once a block, which is exact, and credit is pulled back through the records of
    the running block.  Time a block 2 k^2 n^3 (block - 1) + 2 k^2 r n^3, with L stages as many times and not L^2; memory also
    `block` - 1 steps of records and recurrent weights, and `block` matrices [k n, k n] a thread and stage.  The scale of the
    carried product then comes from an estimate of |H A|: still unbiased, and with as much noise.

    Parameters
    ----------
    block : int or None
        Steps of a block, counted from the start of the session, whatever is reset.  None: 8 where that is faster, which is
        for RHNs and GRUs from 96 units and 4 lanes on, otherwise 1.
    average : int
        Independent products whose mean is taken: as many times the time and memory, and that much less variance.  In blocks
        they share the products of H.
    fresh : bool
        See the module.
    """

    block: int | None = option(optional(integer), None, kw_only=True)
    average: int = option(integer, 1, kw_only=True)
    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"

    def suited(self, network, lanes):
        if self.block is not None:
            return self
        cell, n = network.compiled_cell(), network.cell.hidden
        long = self.replace(block=_USUAL_BLOCK)
        faster = long._products(cell) < _MOST_LEFT * self._products(cell)
        return long if faster and n >= _LEAST_HIDDEN and lanes >= _LEAST_LANES else self.replace(block=1)

    def _products(self, cell):
        """Flops of a step and lane on matrices [k n, k n] and [k n, r n], in units of 2 n^3."""
        k, r, stages = cell.k, cell.r, cell.depth
        if self.block in (None, 1):
            return self.average * stages**2 * k * r
        return (k**2 * (self.block * stages - 1) + self.average * stages * k**2 * r) / self.block

    def _compiled(self, dtype):
        compiled = rtrl_core.core(dtype).registry(self._family)
        if self.block in (None, 1):
            return compiled["KFRTRL"](average=self.average, fresh=self.fresh)
        return compiled["BlockKFRTRL"](**self.options())


@dataclass(frozen=True)
class ReversedKFRTRL(Estimator):
    """Reversed KF-RTRL (Marschall, Cho and Savin 2020, JMLR 21(135), arXiv:1907.02649).

    The influence is one random Kronecker product a (x) B with the noise on the side of the units: a sign and a scale for every
    state component, as in `NoBackTrack`.  Time 2 k n^2 m, memory r n + k n m a lane and stage.

    Parameters
    ----------
    fresh : bool
        See the module.
    """

    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"


@dataclass(frozen=True)
class BlockOK(Estimator):
    """Optimal Kronecker sum, exact inside blocks and reduced with the least possible variance at the end of each.

    The influence is a sum of `rank` random Kronecker products u (x) A, plus the records of the running block, through
    which credit is carried exactly.  Where the products of H inside a block are cheaper than `block` times H A, that is for
    r > 1 or a rank above 1, it costs less than `OK` and has less noise: `BlockOK(4, 8)` takes about the time of `KFRTRL`.
    Time a block 2 k^2 n^3 (block - 1) + 2 rank k^2 r n^3, memory rank (m + k r n^2) a lane and stage, and `block` - 1 steps
    of records and recurrent weights.  An update at the end of each block instead of one a step (`update_every=block`) saves
    all but one of the passes over the products.

    Parameters
    ----------
    rank : int
        Products kept.
    block : int
        Steps of a block; blocks are counted from the start of the session, whatever is reset.
    fresh : bool
        See the module.
    """

    rank: int = option(integer)
    block: int = option(integer)
    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"


@dataclass(frozen=True)
class OK(Estimator):
    """Optimal Kronecker sum (Benzing, Gauy, Mujika, Martinsson, Steger 2019, arXiv:1902.03993).

    The influence is a sum of `rank` random Kronecker products u (x) A, reduced at every step with the least variance that an
    unbiased reduction can have.  Time 2 rank k r n^3, memory rank (m + k r n^2) a lane and stage.

    Parameters
    ----------
    rank : int
        Products kept.
    fresh : bool
        See the module.
    """

    rank: int = option(integer)
    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "unbiased"

    def _compiled(self, dtype):
        # The case of blocks of one step, and the same code.
        return BlockOK(self.rank, 1, fresh=self.fresh)._compiled(dtype)
