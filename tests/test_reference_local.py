"""The laws of SnAp and RFLO in the reference: closed forms, limits in which they are exact, and where they are not."""

import numpy as np
import pytest
from tapes import CELLS, INPUTS, distance, drive, every_cell, forward, fresh_or_not, problem

from rtrl import reference as ref

CUTS = [t == 3 for t in range(14)]


def sparse(cell, seed=0, fan_in=2):
    """Masks in which every unit reads `fan_in` others, the same ones in all maps."""
    rng, masks = np.random.default_rng(seed), []
    for stage in range(cell.stages):
        reads = np.array([rng.permutation(cell.n) < fan_in for _ in range(cell.n)])
        mask = cell.mask(stage, INPUTS)
        mask[:, : cell.n] &= np.tile(reads, (cell.r, 1))
        mask[:, cell.n] &= rng.random(len(mask)) < 0.5
        masks.append(mask)
    return masks


def sparse_problem(cell, masks, cuts=CUTS):
    """As `problem`, with weights of 0 under the masks."""
    weights, xs, deltas, _ = problem(cell, len(cuts))
    weights = [W * mask for W, mask in zip(weights, masks)]
    return deltas, forward(cell, weights, xs, cuts)[0]


def with_masks(estimator, masks):
    estimator.masks = masks
    return estimator


def masked(gradients, masks):
    return [gradient * mask for gradient, mask in zip(gradients, masks)]


def hops(masks, n):
    """Order from which on nothing is cut: one step to the unit itself, and the longest way from there, in time steps."""
    order = 1
    while any((a != b).any() for a, b in zip(ref.reachable(masks, n, order), ref.reachable(masks, n, order + 1))):
        order += 1
    return order


# Patterns


def test_reach_of_a_chain():
    """Unit i reads unit i - 1: order n reaches n - 1 units further; two stages make two hops a time step."""
    n = 6
    mask = np.concatenate([np.eye(n, k=-1, dtype=bool), np.ones((n, 3), bool)], axis=1)
    for order in range(1, 9):
        (pattern,) = ref.reachable([mask], n, order)
        np.testing.assert_array_equal(pattern, np.tri(n, dtype=bool) & ~np.tri(n, k=-order, dtype=bool))
    last = mask[:, : n + 1]
    np.testing.assert_array_equal(ref.reachable([mask, last], n, 2)[1], ref.reachable([mask], n, 3)[0])
    assert hops([mask], n) == n and hops([mask, last], n) == 4
    # Only the maps together decide: the second map reads the unit itself.
    assert ref.reachable([np.concatenate([np.zeros((n, n + 3), bool), mask])], n, 3)[0].sum() == n + n - 1 + n - 2


@pytest.mark.parametrize("name", ["rnn leak", "gru", "lstm", "rhn", "rhn 2"])
def test_only_the_pattern_is_kept(name):
    cell = CELLS[name](7)
    masks = sparse(cell)
    deltas, tape = sparse_problem(cell, masks, [False] * 8)
    assert hops(masks, cell.n) > 2 or cell.stages > 1
    for order in (1, 2, 3):
        estimator = with_masks(ref.SnAp(order), masks)
        drive(estimator, tape, deltas)
        for G, pattern, mask in zip(estimator.influence(), ref.reachable(masks, cell.n, order), masks):
            reached = G.reshape(cell.k, cell.n, cell.r, cell.n, -1).any(axis=(0, 2, 4))
            np.testing.assert_array_equal(reached, pattern)
            assert not G[:, ~mask].any()


# Closed forms


@every_cell
def test_snap1_is_the_recursion_of_single_units(make_cell):
    """J_j <- H[j, j] J_j + D_j h_hat with H[j, j] = E_j + D_j W_h[., j, j], written out unit by unit."""
    cell = make_cell(4)
    *_, deltas, tape = problem(cell, 6)
    estimator = ref.SnAp()
    drive(estimator, tape, deltas)
    for stage, G in enumerate(estimator.influence()):
        for j in range(cell.n):
            J = 0
            for records in tape:
                for s, record in enumerate(records):
                    H = record.E[:, :, j].copy()
                    H[:, 0] += record.D[:, :, j] @ record.W.reshape(cell.r, cell.n, -1)[:, j, j]
                    J = np.tensordot(H, J, 1) if np.ndim(J) else 0
                    if s == stage:
                        J = J + record.D[:, :, j, None] * record.h_hat
            np.testing.assert_allclose(G.reshape(cell.k, cell.n, cell.r, cell.n, -1)[:, j, :, j], J, atol=1e-14)


@every_cell
def test_rflo_is_a_leaky_trace(make_cell):
    """Without E nothing is remembered; with it, the products of E weigh what came before."""
    cell = make_cell(4)
    *_, deltas, tape = problem(cell, 5)
    estimator = ref.RFLO()
    drive(estimator, tape, deltas)
    chain = [(s, record) for records in tape for s, record in enumerate(records)]
    for stage, G in enumerate(estimator.influence()):
        expected = np.zeros((cell.k, cell.n, cell.r, cell.n, G.shape[2]))
        for at, (s, record) in enumerate(chain):
            if s == stage:
                for j in range(cell.n):
                    weight = np.eye(cell.k)
                    for _, later in chain[at + 1 :]:
                        weight = later.E[:, :, j] @ weight
                    expected[:, j, :, j] += (weight @ record.D[:, :, j])[..., None] * record.h_hat
        np.testing.assert_allclose(G, expected.reshape(G.shape), atol=1e-14)


# Limits


@fresh_or_not
@every_cell
def test_long_reach_is_rtrl(make_cell, fresh):
    """From the diameter on, on sparse nets of every cell; one order less is not enough, a huge order is."""
    cell = make_cell(7)
    masks = sparse(cell)
    deltas, tape = sparse_problem(cell, masks)
    exact = masked(drive(ref.RTRL(), tape, deltas, cuts=CUTS), masks)
    enough = hops(masks, cell.n)
    for order in (enough, 10**6):
        gradient = drive(with_masks(ref.SnAp(order, fresh=fresh), masks), tape, deltas, cuts=CUTS)
        assert distance(masked(gradient, masks), exact) < 1e-12
    # A relu may be silent on the one path that is cut.
    too_short = 1 if getattr(cell, "nonlinearity", "tanh") == "relu" else enough - 1
    gradient = drive(with_masks(ref.SnAp(too_short, fresh=fresh), masks), tape, deltas, cuts=CUTS)
    assert distance(masked(gradient, masks), exact) > 1e-9


@every_cell
def test_order_two_is_rtrl_on_a_dense_net(make_cell):
    *_, deltas, tape = problem(make_cell(4), 6)
    masks = [make_cell(4).mask(stage, INPUTS) for stage in range(len(tape[0]))]
    exact = masked(drive(ref.RTRL(), tape, deltas), masks)
    assert distance(masked(drive(ref.SnAp(2), tape, deltas), masks), exact) < 1e-12
    assert distance(masked(drive(ref.SnAp(1), tape, deltas), masks), exact) > 1e-3


@fresh_or_not
@every_cell
def test_units_by_themselves(make_cell, fresh):
    """Where no unit reads another SnAp-1 is exact, and where none reads even itself RFLO is."""
    cell = make_cell(5)
    for make, own in ((ref.SnAp, True), (ref.RFLO, False)):
        weights, xs, deltas, _ = problem(cell, len(CUTS))
        for W in weights:
            W[:, : cell.n] *= np.tile(np.eye(cell.n) * own, (cell.r, 1))
        tape, _ = forward(cell, weights, xs, CUTS)
        exact = drive(ref.RTRL(), tape, deltas, cuts=CUTS)
        assert distance(drive(make(fresh=fresh), tape, deltas, cuts=CUTS), exact) < 1e-12
        # 1 % of a reading of another unit, or of a slip in the recursion, would be seen.
        for W in weights:
            W[:, : cell.n] += 0.01
        tape, _ = forward(cell, weights, xs, CUTS)
        exact = drive(ref.RTRL(), tape, deltas, cuts=CUTS)
        assert distance(drive(make(fresh=fresh), tape, deltas, cuts=CUTS), exact) > 1e-8


@fresh_or_not
@pytest.mark.parametrize("make", [ref.SnAp, ref.RFLO])
@every_cell
def test_bias_appears_after_the_first_steps(make_cell, make, fresh):
    """Exact at the first step where the cell has one stage; a fresh one carries the credit of the newest step exactly."""
    cell = make_cell(4)
    *_, deltas, tape = problem(cell, 6)
    if cell.stages == 1:
        early = [1, 2] if fresh else [1]
        for steps in early:
            gradient = drive(make(fresh=fresh), tape[:steps], deltas[:steps])
            assert distance(gradient, ref.bptt(tape[:steps], deltas[:steps])) < 1e-14
    assert distance(drive(make(fresh=fresh), tape, deltas), ref.bptt(tape, deltas)) > 1e-3


# Random feedback


def test_random_feedback():
    """A fixed matrix of signs that depends on the seed only takes the place of the readout's weights, for the cell alone."""
    rng = np.random.default_rng(0)
    cell, readout, V = ref.RNN(4), ref.Linear(3), rng.normal(size=(3, 5))
    xs, ys, W = rng.normal(size=(5, 2, 2)), rng.normal(size=(5, 2, 3)), rng.normal(size=(4, 7)) / 2
    B = ref.feedback_weights(7, 3, 4)
    assert (np.abs(B) == 0.5).all() and len(np.unique(B, axis=0)) > 1
    assert (B == ref.feedback_weights(7, 3, 4)).all() and (B != ref.feedback_weights(8, 3, 4)).any()
    random = ref.Learner(cell, lambda: ref.RFLO(random_feedback=True), [W], readout, V, batch_size=2, seed=7)
    exact = ref.Learner(cell, ref.RFLO, [W], readout, V, batch_size=2, seed=7)
    by_hand = ref.Learner(cell, ref.RFLO, [W], batch_size=2)
    for x, y in zip(xs, ys):
        assert random.step(x, y) == exact.step(x, y)
        h = by_hand.advance(x)
        by_hand.feedback((np.hstack([h, np.ones((2, 1))]) @ V.T - y) @ B)
    gradient, readout_gradient = random.gradient()
    assert distance([gradient], by_hand.gradient()) < 1e-14
    assert distance([gradient], exact.gradient()[:1]) > 1e-2
    assert (readout_gradient != 0).all()


def test_masks_reach_the_estimators():
    cell, rng = ref.GRU(4), np.random.default_rng(0)
    masks = [rng.random((16, 4 + INPUTS + 1)) < 0.5]
    weights = [masks[0] * cell.mask(0, INPUTS) * 0.5]
    for estimator in (ref.SnAp, ref.RFLO, ref.RTRL):
        learner = ref.Learner(cell, estimator, weights, ref.Linear(2), rng.normal(size=(2, 5)), ref.Adam(0.1), masks=masks)
        learner.run(rng.normal(size=(6, 1, INPUTS)), rng.normal(size=(6, 1, 2)))
        learner.step(np.ones((1, INPUTS)), np.full((1, 2), np.nan))
        assert not learner.weights[0][~masks[0]].any() and learner.weights[0].any()
    with pytest.raises(ValueError, match="masks"):
        ref.Learner(cell, ref.SnAp, [np.ones((16, 7))], masks=masks)
