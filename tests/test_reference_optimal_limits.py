"""Where the optimal Kronecker sums of `rtrl.reference` are exact, and what they do about resets and updates.

limits         BlockOK(rank, 1) = OK(rank); with no more terms than rank, and inside a block, everything is exact
resets         in the middle of a block as well
updates        H_t is that of the weights of its own forward pass
"""

from functools import partial

import numpy as np
import pytest
from tapes import distance, drive, every_cell, fresh_or_not, no_signs, problem
from test_reference_optimal import SUMS, every_sum, random_signs

from rtrl import reference as ref


@fresh_or_not
@every_cell
@pytest.mark.parametrize("rank", [1, 3])
def test_block_of_one_step_is_ok(make_cell, rank, fresh):
    cuts = [t == 4 for t in range(9)]
    *_, deltas, tape = problem(make_cell(4), len(cuts), cuts=cuts)
    both = ref.OK(rank, fresh=fresh), ref.BlockOK(rank, 1, fresh=fresh)
    gradients = [drive(each, tape, deltas, random_signs(7), cuts) for each in both]
    assert distance(*gradients) < 1e-10


@fresh_or_not
@every_cell
def test_as_many_products_as_terms_is_rtrl(make_cell, fresh):
    cuts = [t == 5 for t in range(9)]
    *_, deltas, tape = problem(make_cell(4), len(cuts), cuts=cuts)
    exact = ref.bptt(tape, deltas, cuts)
    for make in (partial(ref.OK, 9), partial(ref.BlockOK, 9, 2), partial(ref.BlockOK, 9, 4), partial(ref.BlockOK, 12, 4)):
        assert distance(drive(make(fresh=fresh), tape, deltas, random_signs(0), cuts), exact) < 1e-12


@fresh_or_not
@every_cell
def test_a_block_is_exact(make_cell, fresh):
    """Before its first block ends, BlockOK asks for no signs; fresh, also at the step that ends it."""
    *_, deltas, tape = problem(make_cell(4), 6)
    estimator = ref.BlockOK(1, 6 if fresh else 7, fresh=fresh)
    gradient = drive(estimator, tape[:5], deltas[:5], no_signs)
    assert distance(gradient, ref.bptt(tape[:5], deltas[:5])) < 1e-13
    gradient = drive(estimator, tape, deltas, random_signs(0))
    assert distance(gradient, ref.bptt(tape, deltas)) < 1e-13


# Resets and updates


@fresh_or_not
@every_sum
def test_a_reset_forgets_everything_before(name, fresh):
    """In every place of a block: afterwards the same as a stream of zero credit up to the reset."""
    cell, steps = ref.LSTM(3), 10
    for cut in range(1, 8):
        cuts = [t == cut for t in range(steps)]
        *_, deltas, tape = problem(cell, steps, cuts=cuts)
        deltas[: cut + 1] = 0
        estimators, gradients = [SUMS[name][0](fresh=fresh) for _ in range(2)], []
        for estimator, start in zip(estimators, (0, cut)):
            fed = [records if t >= start else blank(records) for t, records in enumerate(tape)]
            gradients.append(drive(estimator, fed, deltas, random_signs(0), cuts if start == 0 else None))
        assert distance(*gradients) < 1e-11
        assert distance(*(each.influence() for each in estimators)) < 1e-11


def blank(records):
    """A step that leaves no influence behind."""
    return [ref.Record(record.W, 0 * record.D, 0 * record.E, record.h_hat) for record in records]


@fresh_or_not
def test_weights_may_change_inside_a_block(fresh):
    """Updates in place, as the learner makes them: H_t stays that of its own forward pass."""
    cell = ref.GRU(3)
    weights, xs, deltas, _ = problem(cell, 8)
    changes, s = np.random.default_rng(2), cell.initial_state()
    exact, ours = ref.RTRL(fresh=fresh), ref.BlockOK(8, 4, fresh=fresh)
    for each in (exact, ours):
        each.begin([(cell.k * cell.n, *W.shape) for W in weights])
    for x, delta in zip(xs, deltas):
        s, records = cell.forward(weights, s, x)
        for each in (exact, ours):
            if not fresh:
                each.observe(records, random_signs(0))
            each.feedback(records, delta)
            if fresh:
                each.observe(records, random_signs(0))
        weights[0] += 0.1 * changes.normal(size=weights[0].shape)
    assert distance(ours.gradient(), exact.gradient()) < 1e-12
    assert distance(ours.influence(), exact.influence()) < 1e-12
