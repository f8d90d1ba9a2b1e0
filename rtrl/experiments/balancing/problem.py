"""Influence balancing: a parameter that is good for the loss soon and bad for it later.

A chain of n linear units, of which the first p feel +theta and the others -theta:

    s <- A s + theta (1 x p, -1 x (n - p)) ,  A = (I + superdiagonal) / 2 ,  s = ones at first
    loss = (s_0 - 1)^2 / 2 at every step

With theta held, s_0 goes to 2 (2p - n) theta.  With p = 10 of n = 23 that is -6 theta, so theta = -1/6 is best; but the negative
influence needs about 20 steps to arrive, and whoever looks back less far goes uphill for good.  A gradient that is right on
average gets there.  The noise of a random one is in proportion to the error s_0 - 1 and dies with it, but a rate that is too
high lets it grow first.

Source: Tallec and Ollivier 2017, arXiv:1702.05043 (n = 23, p = 10, theta = 0.5 at first, SGD with rate 1e-4, UORO 1e-5).
"""

from numbers import Real

import numpy as np

from rtrl._spec import integer
from rtrl.cells import RNN
from rtrl.network import Network
from rtrl.optimizers import SGD
from rtrl.session import Session

__all__ = ["AWAY", "FIRST", "LR", "PLUS", "UNITS", "Balancing", "arrival", "influence_within"]

UNITS, PLUS, FIRST, LR = 23, 10, 0.5, 1e-4
AWAY = 100.0  # a theta beyond this has run away: a loss of 2e5 that only grows
_MOST_UNITS = 2**12
_STARTING, _RUNNING = np.array([0.0, 1.0]), np.array([1.0, 0.0])


class Balancing:
    """One run; all that changes is in its session, so that `Balancing(Session.load(path))` goes on bit for bit.

    theta is the column of the first input, which is 1; the second input puts the state at ones in a step of its own, before
    theta has any influence.  Theta moves by the session's optimizer, along the sum of what its weights are credited with.

    Parameters
    ----------
    session : rtrl.Session
        As `start` makes it, or loaded again.
    plus : int
        Units that feel +theta, p.

    Attributes
    ----------
    optimum : float
        The best theta.

    Raises
    ------
    ValueError
        If the session is not of this problem.
    """

    def __init__(self, session, plus=PLUS):
        network = session.network
        units = network.cell.hidden
        self._signs = _signs(units, plus)
        if not (isinstance(network.cell, RNN) and network.cell.nonlinearity == "identity" and network.inputs == 2):
            raise ValueError(f"the network must be linear with two inputs, as `start` makes it; got {network!r}")
        if network.readout is not None or session.batch_size != 1 or session.optimizer is None:
            raise ValueError(f"the session must have one lane, an optimizer and no readout, as `start` makes it; got {session!r}")
        if getattr(session.optimizer, "weight_decay", 0):
            raise ValueError(f"the optimizer must not have weight_decay, which would change A; got {session.optimizer!r}")
        self.session, self.optimum = session, 0.5 / float(self._signs.sum())
        self._column = network.parameters()["cell.0.weight"][:, units]
        if not np.array_equal(self._column, self.theta * self._signs):
            raise ValueError(f"the session is not one with plus={plus}: other units feel +theta")

    @classmethod
    def start(cls, estimator, optimizer=None, *, seed=0, units=UNITS, plus=PLUS, theta=FIRST):
        """A new run.

        Parameters
        ----------
        estimator : rtrl.estimators.Estimator
            Where gradients come from.
        optimizer : rtrl.optimizers.Optimizer or None
            None: SGD with rate 1e-4.
        seed : int
            Seed of the random signs.
        units : int
            Units, n.
        plus : int
            Units that feel +theta, p; neither 0, n nor n / 2.
        theta : float
            First theta, within +-100.

        Returns
        -------
        Balancing

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind.
        """
        signs = _signs(units, plus)
        if isinstance(theta, bool) or not isinstance(theta, Real):
            raise TypeError(f"theta must be a number; got {theta!r}")
        if not abs(theta) <= AWAY:
            raise ValueError(f"theta must be within +-{AWAY:g}; got {theta!r}")
        network = Network(RNN(units, "identity"), 2, dtype="float64", weight_std=0)
        weights = network.parameters()["cell.0.weight"]
        weights[:, :units] = _chain(units)
        weights[:, units] = theta * signs
        weights[:, units + 1] = 1
        session = Session(network, estimator, SGD(LR) if optimizer is None else optimizer, seed=seed, threads=1)
        run = cls(session, plus)
        session.advance(_STARTING)
        return run

    @property
    def theta(self):
        """The parameter now."""
        return float(self._column[0])

    @property
    def step(self):
        """Losses so far."""
        return self.session.steps - 1

    @property
    def away(self):
        """Whether theta has run away, which ends the run."""
        return not abs(self.theta) <= AWAY

    def advance(self, steps):
        """Learn for some steps.

        An update comes after every step, with block TBPTT at the end of every block (the step that puts the state at ones is
        the first of the first block); see `update_every` of `rtrl.Session`.

        Parameters
        ----------
        steps : int
            At least 1.

        Returns
        -------
        ndarray [steps]
            theta after each of them; fewer when it ran away, the last being the one that is beyond +-100.
        """
        thetas, session = [], self.session
        credit = np.zeros((1, len(self._signs)))
        for _ in range(integer("steps", steps)):
            if self.away:
                break
            credit[0, 0] = session.advance(_RUNNING)[0, 0] - 1
            session.feedback(credit)
            if session.steps % session.update_every == 0:
                self._update()
            thetas.append(self.theta)
        return np.array(thetas)

    def _update(self):
        gradient = self.session.gradient()
        weights, at = gradient["cell.0.weight"], len(self._signs)
        by_theta = self._signs @ weights[:, at]
        weights[...] = 0
        weights[:, at] = by_theta * self._signs
        self.session.apply(gradient)


def arrival(thetas, optimum, tolerance=1e-3):
    """Number of steps after which theta stays within `tolerance` of the optimum to the end, or None if it does not."""
    outside = np.flatnonzero(~(np.abs(np.asarray(thetas, float) - optimum) <= tolerance))
    steps = 1 if not len(outside) else int(outside[-1]) + 2
    return steps if steps <= len(thetas) else None


def influence_within(horizon, *, sliding=False, units=UNITS, plus=PLUS):
    """d s_0 / d theta as truncated backpropagation sees it; where its sign is not that of 2 (2p - n), theta runs away.

    Parameters
    ----------
    horizon : int
        Steps of a window, T.
    sliding : bool
        True: over the last T steps.  False: mean over the losses of a block, the first of which sees one step.
    units, plus : int
        As for `Balancing.start`.

    Returns
    -------
    float
    """
    A, influence, seen = _chain(units), np.zeros(units), []
    signs = _signs(units, plus)
    for _ in range(integer("horizon", horizon)):
        influence = A @ influence + signs
        seen.append(influence[0])
    return float(seen[-1] if sliding else np.mean(seen))


def _chain(units):
    return 0.5 * np.eye(units) + 0.5 * np.eye(units, k=1)


def _signs(units, plus):
    """Sign with which each unit feels theta [n], checked."""
    units, plus = integer("units", units, most=_MOST_UNITS), integer("plus", plus)
    if plus >= units or 2 * plus == units:
        raise ValueError(f"plus must be below units and not half of it, which would leave no best theta; got {plus} of {units}")
    return np.where(np.arange(units) < plus, 1.0, -1.0)
