"""The clock: what happens when in one time step of B lanes. The twin of `rtrl.Session`.

    [resets] -> forward -> (eager: observe) -> readout -> credit
             -> (if due) gradient -> (fresh: observe) -> (if due) update

An estimator is fresh (credited before it observes the step) or eager (after); either way H_t and F_t are those of the
forward pass, with the W before the update. An update is due every `update_every` steps, counted from the beginning.

    gradient = 1/B sum over lanes and over the steps since the last gradient, masked; lanes without a target count in B
    loss reported = mean over the lanes that have a target at this step, NaN when none has

Cost: that of the cell and the estimator, times B. Lanes are independent and run one after another.
"""

import numpy as np

from .signs import random_signs
from .truncated import TBPTT


class Learner:
    """A recurrent net that learns while it runs.

    Parameters
    ----------
    cell : Cell
        Formula of the net.
    estimator_factory : callable
        Makes the estimator of one lane, e.g. the class `KFRTRL` or ``lambda: TBPTT(10)``.
    weights : list of ndarray [r*n, m]
        One per stage; copied. Masked entries must be 0.
    readout : Readout, optional
        Without one, use `advance` and `feedback`.
    readout_weights : ndarray [outputs, n+1], optional
        Copied.
    optimizer : Optimizer, optional
        Without one nothing is updated, and credit gathers until `gradient` is called.
    batch_size : int
        Number of lanes B.
    seed : int
        Of the random signs.
    masks : list of ndarray of bool [r*n, m], optional
        Which weights of the stages exist, beside what the cell says. None: all.
    update_every : int, optional
        Steps per update. None: the horizon for block TBPTT, otherwise 1.
    first_lane : int
        Number of the first lane, for the signs.

    Raises
    ------
    ValueError
        If a masked weight is not 0.

    Attributes
    ----------
    steps : int
        Time steps since the beginning.
    states : ndarray [B, k, n]
        States of the lanes.
    estimators : list of Estimator
        One per lane.
    parameters : list of ndarray
        The weights of the stages, then those of the readout.
    """

    def __init__(
        self,
        cell,
        estimator_factory,
        weights,
        readout=None,
        readout_weights=None,
        optimizer=None,
        batch_size=1,
        seed=0,
        update_every=None,
        masks=None,
        first_lane=0,
    ):
        self.cell = cell
        self.weights = [np.array(W, dtype=float) for W in weights]
        self.inputs = self.weights[0].shape[1] - cell.n - 1
        self.masks = [cell.mask(stage, self.inputs) for stage in range(cell.stages)]
        if masks is not None:
            self.masks = [own & given for own, given in zip(self.masks, masks)]
        for stage, (W, mask) in enumerate(zip(self.weights, self.masks)):
            if np.any(W[~mask] != 0):
                raise ValueError(f"weights[{stage}] must be 0 where masks or cell.mask({stage}, {self.inputs}) is False")

        self.readout = readout
        self.optimizer = optimizer
        self.parameters = list(self.weights)
        if readout is not None:
            self.readout_weights = np.array(readout_weights, dtype=float)
            self.readout_gradient = np.zeros_like(self.readout_weights)
            self.parameters.append(self.readout_weights)

        self.batch_size = batch_size
        self.seed = seed
        self.first_lane = first_lane
        self.steps = 0
        self.states = np.stack([cell.initial_state() for _ in range(batch_size)])
        self.unobserved = None

        self.estimators = [estimator_factory() for _ in range(batch_size)]
        if optimizer is not None:
            optimizer.begin(self.masks + [np.ones(W.shape, bool) for W in self.parameters[len(self.masks) :]])
        for estimator in self.estimators:
            estimator.masks = self.masks
            estimator.metrics = None if optimizer is None else optimizer.metrics
            estimator.begin([(cell.k * cell.n, *W.shape) for W in self.weights])
        if update_every is None:
            first = self.estimators[0]
            update_every = first.horizon if isinstance(first, TBPTT) and not first.sliding else 1
        self.update_every = update_every

    def run(self, xs, ys, resets=None):
        """Many steps: xs [T, B, inputs] or ids [T, B], ys [T, B, ...], resets [T, B] bool; the losses [T]."""
        resets = [None] * len(xs) if resets is None else resets
        return np.array([self.step(x, y, reset) for x, y, reset in zip(xs, ys, resets)])

    def step(self, x, y, resets=None):
        """Predict, score, then learn.

        Parameters
        ----------
        x : ndarray of float [B, inputs] or of int [B]
            Inputs, or ids that stand for one-hot vectors.
        y : ndarray [B] of ids or [B, outputs]
            Targets; -1 (ids) or NaN for missing ones.
        resets : ndarray of bool [B], optional
            Lanes to reset before the step.

        Returns
        -------
        float
            Mean loss over the lanes that have a target, NaN when none has.
        """
        if resets is not None:
            self.reset(resets)
        self.advance(x)
        loss = self.score(y)
        if self.optimizer is not None and self.steps % self.update_every == 0:
            self.apply(self.gradient())
        self.observe()
        return loss

    def reset(self, lanes=None):
        """Return state and influence of some lanes (boolean mask [B]; None: all) to 0; their credit is kept.

        The present step of these lanes is gone: `feedback` credits nothing there before the next.
        """
        self.observe()
        lanes = np.ones(self.batch_size, dtype=bool) if lanes is None else np.asarray(lanes)
        for b in np.flatnonzero(lanes):
            self.states[b] = self.cell.initial_state()
            self.estimators[b].reset()

    def advance(self, x):
        """Move the states one step on, and let eager estimators observe it; returns the hidden units [B, n]."""
        self.observe()
        x = np.asarray(x)
        if np.issubdtype(x.dtype, np.integer):
            x = np.eye(self.inputs)[x]
        steps = [self.cell.forward(self.weights, s, x_b) for s, x_b in zip(self.states, x)]
        self.states = np.stack([s for s, _ in steps])
        self.records = self.unobserved = [records for _, records in steps]
        self.steps += 1
        if not self.estimators[0].fresh:
            self.observe()
        return self.states[:, 0].copy()

    def observe(self):
        """Let the estimators observe the present step, unless they have."""
        for lane, records in enumerate(self.unobserved or []):

            def signs(stage, count, lane=lane):
                return random_signs(self.seed, self.steps - 1, self.first_lane + lane, stage, count)

            self.estimators[lane].observe(records, signs)
        self.unobserved = None

    def score(self, y):
        """Credit the present step with the loss of the readout; returns the mean loss."""
        losses = []
        delta = np.zeros((self.batch_size, self.cell.n))
        for b, target in enumerate(y):
            loss, exact, gradient = self.readout.loss_and_delta(self.readout_weights, self.states[b, 0], target)
            delta[b] = self.estimators[b].redirect(self.seed, gradient[:, -1], exact)  # its last column is dL/dy
            self.readout_gradient += gradient
            if self.readout.has_target(target):
                losses.append(loss)
        self.feedback(delta)
        if self.optimizer is not None and self.optimizer.absorbs:
            self.absorb_factors(y)
        return float(np.mean(losses)) if losses else float("nan")

    def absorb_factors(self, y):
        """Give the gradient that each factor of the outputs' Fisher information causes to the optimizer alone."""
        V = self.readout_weights
        for h, estimator, records, target in zip(self.states[:, 0], self.estimators, self.records, y):
            extended = np.append(h, 1.0)
            for error in self.readout.factors(V @ extended, target):
                delta = np.zeros((self.cell.k, self.cell.n))
                delta[0] = estimator.redirect(self.seed, error, error @ V[:, :-1])
                gradients = [mask * g for mask, g in zip(self.masks, estimator.answer(records, delta.ravel()))]
                self.optimizer.absorb([*gradients, np.outer(error, extended)], 1 / self.batch_size)

    def feedback(self, delta_h):
        """Credit the present step with a loss whose derivative by the hidden units is delta_h [B, n].

        The present step is the last one until another begins, also when it is over: then estimators have observed it, and
        credit meets the influence alone. A lane that was reset since has no influence, and takes no credit.
        """
        for estimator, records, delta_h_b in zip(self.estimators, self.unobserved or [None] * self.batch_size, delta_h):
            delta = np.zeros((self.cell.k, self.cell.n))
            delta[0] = delta_h_b
            estimator.feedback(records, delta.ravel())

    def gradient(self):
        """Mean over lanes of all credit since the last call, in the order of `parameters`; clears it."""
        lanes = [estimator.gradient() for estimator in self.estimators]
        gradients = [mask * sum(stage) / self.batch_size for mask, stage in zip(self.masks, zip(*lanes))]
        if self.readout is not None:
            gradients.append(self.readout_gradient / self.batch_size)
            self.readout_gradient = np.zeros_like(self.readout_weights)
        return gradients

    def apply(self, gradients):
        """Update the parameters; fresh estimators observe the step first, with the W of its forward pass."""
        self.observe()
        self.optimizer.update(self.parameters, gradients, self.steps - 1)
