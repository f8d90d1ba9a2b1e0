"""Tapes of the reference: small cells, what they record along a stream, and estimators that are driven over it."""

from functools import partial

import numpy as np
import pytest

from rtrl import reference as ref

INPUTS = 2
CELLS = {
    "rnn": ref.RNN,
    "rnn relu": partial(ref.RNN, nonlinearity="relu"),
    "rnn leak": partial(ref.RNN, leak=0.3),
    "rnn relu leak": partial(ref.RNN, nonlinearity="relu", leak=0.3),
    "rnn identity": partial(ref.RNN, nonlinearity="identity"),
    "rnn identity leak": partial(ref.RNN, nonlinearity="identity", leak=0.3),
    "gru": ref.GRU,
    "lstm": ref.LSTM,
    "rhn": ref.RHN,
    "rhn 2": partial(ref.RHN, depth=2),
    "rhn 3": partial(ref.RHN, depth=3),
}
every_cell = pytest.mark.parametrize("make_cell", CELLS.values(), ids=CELLS.keys())
fresh_or_not = pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "eager"])


def random_weights(cell, rng, inputs=INPUTS):
    masks = [cell.mask(stage, inputs) for stage in range(cell.stages)]
    return [mask * rng.normal(size=mask.shape) / np.sqrt(cell.n) for mask in masks]


def forward(cell, weights, xs, cuts):
    """Tape and states of one lane that starts at 0."""
    s, tape, states = cell.initial_state(), [], []
    for x, cut in zip(xs, cuts):
        s, records = cell.forward(weights, cell.initial_state() if cut else s, x)
        tape.append(records)
        states.append(s.ravel())
    return tape, states


def problem(cell, steps, seed=0, cuts=None):
    """Random weights, inputs and derivatives delta_t, and the tape of the forward pass."""
    rng = np.random.default_rng(seed)
    weights, xs = random_weights(cell, rng), rng.normal(size=(steps, INPUTS))
    deltas = rng.normal(size=(steps, cell.k * cell.n))
    cuts = [False] * steps if cuts is None else cuts
    return weights, xs, deltas, forward(cell, weights, xs, cuts)[0]


def no_signs(stage, count):
    raise AssertionError("a deterministic estimator asked for signs")


def drive(estimator, tape, deltas, signs=no_signs, cuts=None):
    """Gradient of one lane over a tape: the clock of the learner, without the learner."""
    estimator.begin([(record.k * record.n, *record.W.shape) for record in tape[0]])
    for t, (records, delta) in enumerate(zip(tape, deltas)):
        if cuts is not None and cuts[t]:
            estimator.reset()
        if not estimator.fresh:
            estimator.observe(records, signs)
        estimator.feedback(records, delta)
        if estimator.fresh:
            estimator.observe(records, signs)
    return estimator.gradient()


def flat(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


def distance(a, b):
    """Largest difference, relative to the largest entry."""
    a, b = flat(a), flat(b)
    return np.abs(a - b).max() / np.abs(b).max()
