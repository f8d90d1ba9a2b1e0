"""A session: a network that learns online from a batch of endless streams."""

import copy
from collections.abc import Callable, Sequence
from os import PathLike
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

import rtrl_core
from rtrl import checkpoint
from rtrl._calls import Calls
from rtrl._spec import integer, positive
from rtrl.estimators import TBPTT, Estimator
from rtrl.network import Network
from rtrl.optimizers import Optimizer
from rtrl.shadow import Shadow

__all__ = ["Session"]


class Session(Calls):
    """Online learning of one network from `batch_size` parallel streams (lanes).

    Parameters
    ----------
    network : Network
        Its weights are learned in place.
    estimator : rtrl.estimators.Estimator
        Where gradients come from.
    optimizer : rtrl.optimizers.Optimizer or None
        None leaves updates to the caller.
    batch_size : int
        Lanes, B.
    seed : int
        Seed of the random signs; every sign is a function of (seed, step, number of the lane, stage, index).
    threads : int or None
        Threads; None uses the available CPUs where that pays.  Results do not depend on it.
    update_every : int or None
        Steps between updates; None: 1, or the horizon for block TBPTT.
    shadow : Estimator, callable, sequence of these, or None
        Passive estimators to attach from the start, see `shadow`.
    influence_cap : float
        Largest norm of a stage's influence; beyond it the influence is scaled down and counted (see `health`).
    first_lane : int
        Number of the first lane.  Sessions that share a seed and a stream, each with some of its lanes, draw the signs of one
        session with all of them if each says which lane is its first.

    Notes
    -----
    Attributes are fixed; make another session to change one.  `hidden` can be set.

    A session, and sessions that share a network, serve one thread at a time: a call during another thread's raises
    RuntimeError.  An exception of a signal handler (Ctrl-C) finds every call done or not begun; `run` ends after a whole step,
    about a tenth of a second later, and the losses of its steps are lost.  The handler itself may look at the session (`save`
    it, for instance), but not change it, as may a learning rate that is a callable.  A forked child goes on with its copy,
    unless it was forked in the middle of another thread's step: then every call says so.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind, or the parts do not fit together.
    MemoryError
        If the session does not fit; nothing is allocated then, and the message says how much is needed for what.
    """

    def __init__(
        self,
        network: Network,
        estimator: Estimator,
        optimizer: Optimizer | None = None,
        *,
        batch_size: int = 1,
        seed: int = 0,
        threads: int | None = None,
        update_every: int | None = None,
        shadow: Estimator | Callable[[], object] | Sequence[Estimator | Callable[[], object]] | None = None,
        influence_cap: float = 1e8,
        first_lane: int = 0,
    ):
        if not isinstance(network, Network):
            raise TypeError(f"network must be an rtrl.Network; got {network!r}")
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator must be an estimator such as rtrl.KFRTRL(); got {estimator!r}")
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be an optimizer such as rtrl.Adam(1e-3), or None; got {optimizer!r}")
        estimator.check(network)
        if optimizer is not None:
            optimizer.check(network)
        self.network, self.estimator, self.optimizer = network, estimator, optimizer
        self.batch_size = integer("batch_size", batch_size)
        self.seed = integer("seed", seed, least=0, most=2**64 - 1)
        self.first_lane = integer("first_lane", first_lane, least=0)
        threads = None if threads is None else integer("threads", threads, most=1024)
        self._threads = threads
        if update_every is None:
            update_every = estimator.horizon if isinstance(estimator, TBPTT) and not estimator.sliding else 1
        self.update_every = integer("update_every", update_every)
        self.influence_cap = positive("influence_cap", influence_cap)
        shadows = shadow if isinstance(shadow, Sequence) else () if shadow is None else (shadow,)
        for each in shadows:
            if not (isinstance(each, Estimator) or callable(each)):
                raise TypeError(
                    "shadow must be an estimator such as rtrl.RTRL(), or makes one such as rtrl.reference.RTRL, or a sequence of "
                    f"them; got {each!r}"
                )
        self._start(threads)
        for each in shadows:
            self.shadow(each)

    def step(self, x: ArrayLike, y: ArrayLike) -> float:
        """Predict, score, then learn from one time step.

        Parameters
        ----------
        x : array_like
            Ids [B] or numbers [B, inputs]; the axis B may be left out with one lane, the last axis with one input.
        y : array_like
            Ids [B] or numbers [B, outputs], likewise; -1, NaN, and what is masked or missing are no target.

        Returns
        -------
        float
            Mean loss over the lanes that have a target, in nats; NaN when none has.
        """
        loss = self._engine.quick_step(x, y)
        if loss is None:
            loss = float(self._learn(self._step, x, y)[0])
        else:
            self._warn()
        return loss

    def run(self, xs: ArrayLike, ys: ArrayLike, resets: ArrayLike | None = None) -> np.ndarray:
        """Learn from many steps in one call, with the same arithmetic as repeated `step`.

        Parameters
        ----------
        xs : array_like
            Ids [T, B] or numbers [T, B, inputs]; the axis B may be left out with one lane, the last axis with one input.
            Arrays, lists, and tables and columns of pandas and polars.  An array that lies in a file (`numpy.memmap`) is
            read piece by piece.
        ys : array_like
            Ids [T, B] or numbers [T, B, outputs], likewise; -1, NaN, and what is masked or missing are no target.
        resets : array_like or None
            Mask [T, B], boolean or 0 and 1: lanes whose state and influence are zeroed before a step.

        Returns
        -------
        ndarray [T]
            Mean loss of each step over the lanes that have a target, in nats; NaN where none has.
        """
        return self._learn(self._sequence, xs, ys, resets)

    def shadow(self, estimator: Estimator | Callable[[], object]) -> Shadow:
        """Attach a passive estimator that watches the same stream from now on.

        Parameters
        ----------
        estimator : rtrl.estimators.Estimator or callable
            A spec such as ``rtrl.RTRL()``; or a class of `rtrl.reference`, or of one's own after `rtrl.reference.Estimator`, or a
            function that makes such an object, called once for each lane: ``lambda: rtrl.reference.TBPTT(10)``.  These are
            Python, at the speed of NumPy.

        Returns
        -------
        Shadow
            Its gradients, and their cosine with and relative error against the session's.

        Notes
        -----
        What a shadow in Python raises (Ctrl-C inside it as well) comes out of the call of the session when the time step is
        complete, and ends a `run`.  The next call goes on without the shadow.  Files leave such shadows out; attach them again
        after `load`.

        Raises
        ------
        TypeError, ValueError
            If it is not an estimator, or does not fit the network; nothing is attached then.
        """
        if isinstance(estimator, Estimator):
            estimator.check(self.network)
            lanes, compiled = None, estimator.suited(self.network, self.batch_size)._compiled(self.network.dtype.name)
        else:
            from rtrl._foreign import Lanes  # the reference is not needed otherwise

            lanes = Lanes(estimator, self)
            compiled = rtrl_core.core(self.network.dtype.name).Foreign(lanes)
        shadow = Shadow(estimator, self.network, lanes)
        self._engine.shadow(compiled, self.influence_cap, shadow, self._shadows)
        return shadow

    def save(self, path: str | bytes | PathLike | BinaryIO) -> None:
        """Write everything but shadows in Python to a file.

        pickle and copy do the same in memory: what they give is a session of its own, with a network of its own.

        Parameters
        ----------
        path : path-like or binary file
            A path, where `~` is the home folder and a link is followed; an existing file keeps its permissions, and is
            replaced only by a complete one.  Or a file that is open for writing bytes.

        Raises
        ------
        OSError
            If it cannot be written, or there is something that is no regular file.
        RuntimeError
            While another thread uses the session or its network.
        """
        self.network._lock.looking(checkpoint.save, self, path)

    @classmethod
    def load(
        cls, path: str | bytes | PathLike | BinaryIO, *, optimizer: Optimizer | None = None, threads: int | None = None
    ) -> "Session":
        """The session that `save` wrote; it goes on bit for bit as the saved one would have.

        Parameters
        ----------
        path : path-like or binary file
            The file, or one that is open for reading bytes.
        optimizer : Optimizer or None
            Needed when the saved optimizer's learning rate was a callable, which a file cannot hold: the same optimizer.  Its
            rate may be another one.
        threads : int or None
            As for `Session`.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not a session's file, or damaged, or does not go together with `optimizer`.
        """
        return checkpoint.load(cls, path, optimizer, threads)

    def __reduce__(self):
        return checkpoint.reduced(self)

    def __copy__(self):
        return copy.deepcopy(self)  # a session of its own, with a network of its own

    def __repr__(self):
        return (
            f"Session({self.network!r}, {self.estimator!r}, {self.optimizer!r}, batch_size={self.batch_size}, "
            f"seed={self.seed}, update_every={self.update_every}"
            + (f", first_lane={self.first_lane})" if self.first_lane else ")")
        )
