"""The laws that the reference obeys; everything else is tested against the reference.

    derivatives    D and E against the complex step; <u, push v> = <pull u, v>
    exactness      RTRL = BPTT = complex step; TBPTT with a long horizon = BPTT
    unbiasedness   the mean over *every* sign pattern of a tiny net is the exact gradient: no statistics, no tolerance
                   wider than rounding, and an error of 1 % in one scale is seen
    noise          one step of KF-RTRL scatters by 2 |u||A'||h_hat||D| + 2 <u, h_hat><A', D>
    bias           Immediate and TBPTT(2) are exact at one step and not at many

Elsewhere: signs, readouts and the learner in test_reference_signs.py, _readouts.py and _clock.py; optimizers and PyTorch in
test_reference_torch.py.
"""

from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapes import CELLS, distance, drive, every_cell, flat, forward, fresh_or_not, problem

from rtrl import reference as ref
from rtrl.reference import estimators, kronecker

mixing = pytest.mark.parametrize("make", [ref.UORO, ref.KFRTRL])


# Derivatives


@every_cell
def test_derivatives_against_complex_step(make_cell):
    cell, rng, step = make_cell(5), np.random.default_rng(1), 1e-30
    for stage in range(cell.stages):
        z, s = rng.normal(size=(cell.r, cell.n)), rng.normal(size=(cell.k, cell.n))
        D, E = cell.derivatives(stage, z, s)
        for a, e in enumerate(np.eye(cell.r)):
            np.testing.assert_allclose(D[:, a], cell.phi(stage, z + step * 1j * e[:, None], s).imag / step, atol=1e-14)
        for d, e in enumerate(np.eye(cell.k)):
            np.testing.assert_allclose(E[:, d], cell.phi(stage, z, s + step * 1j * e[:, None]).imag / step, atol=1e-14)


def test_relu_is_flat_at_zero():
    D, _ = ref.RNN(1, "relu").derivatives(0, np.zeros((1, 1)), np.zeros((1, 1)))
    assert D == 0


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 19), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_push_and_pull_are_adjoint(k, r, n, inputs, seed):
    rng = np.random.default_rng(seed)
    m = n + inputs + 1
    record = ref.Record(*(rng.normal(size=shape) for shape in [(r * n, m), (k, r, n), (k, k, n), (m,)]))
    u, v = rng.normal(size=(2, k * n))
    pushed, pulled = ref.push(record, v), ref.pull(record, u)
    scale = np.linalg.norm(u) * np.linalg.norm(pushed) + 1e-300
    assert abs(u @ pushed - pulled @ v) <= 1e-12 * scale
    np.testing.assert_allclose(ref.jacobian(record) @ v, pushed, atol=1e-12 * scale)
    np.testing.assert_allclose(np.tensordot(u, ref.immediate(record), 1), ref.immediate_gradient(record, u), atol=1e-12)


# Exactness


@fresh_or_not
@every_cell
def test_rtrl_is_bptt_is_complex_step(make_cell, fresh):
    cell, cuts = make_cell(4), [False, False, False, True, False, False, True, False]
    weights, xs, deltas, tape = problem(cell, len(cuts), cuts=cuts)
    exact = ref.bptt(tape, deltas, cuts)

    def loss(perturbed):
        return sum(delta @ s for delta, s in zip(deltas, forward(cell, perturbed, xs, cuts)[1]))

    assert distance(exact, ref.complex_step_gradient(loss, weights)) < 1e-12
    assert distance(drive(ref.RTRL(fresh=fresh), tape, deltas, cuts=cuts), exact) < 1e-12


@pytest.mark.parametrize("sliding", [False, True], ids=["block", "sliding"])
@every_cell
def test_long_horizon_is_bptt(make_cell, sliding):
    cuts = [False, False, True, False, False, False]
    _, _, deltas, tape = problem(make_cell(4), len(cuts), cuts=cuts)
    exact = ref.bptt(tape, deltas, cuts)
    for horizon in (len(cuts), 100):
        assert distance(drive(ref.TBPTT(horizon, sliding), tape, deltas, cuts=cuts), exact) < 1e-12


def test_windows_of_tbptt():
    """Block: BPTT of every block by itself. Sliding: BPTT of every loss by itself over its last steps."""
    T, horizon = 8, 3
    cuts = [t == 4 for t in range(T)]
    _, _, deltas, tape = problem(ref.LSTM(3), T, cuts=cuts)

    blocks = [slice(t, t + horizon) for t in range(0, T, horizon)]
    expected = sum(flat(ref.bptt(tape[b], deltas[b], cuts[b])) for b in blocks)
    assert distance([flat(drive(ref.TBPTT(horizon), tape, deltas, cuts=cuts))], [expected]) < 1e-13

    windows = [slice(max(0, t + 1 - horizon), t + 1) for t in range(T)]
    single = [np.where(np.arange(T)[:, None] == t, deltas, 0) for t in range(T)]
    expected = sum(flat(ref.bptt(tape[w], d[w], cuts[w])) for w, d in zip(windows, single))
    assert distance([flat(drive(ref.TBPTT(horizon, True), tape, deltas, cuts=cuts))], [expected]) < 1e-13


# Unbiasedness, by enumeration


def enumeration_error(make, cell, steps):
    """Largest error of the mean over all sign patterns, of the gradient and of the influence, relative to a sample."""
    _, _, deltas, tape = problem(cell, steps, seed=3)
    exact = ref.RTRL()
    expected = np.concatenate([flat(drive(exact, tape, deltas)), flat(exact.influence())])
    per_step = cell.stages * (cell.k * cell.n if make.func is ref.UORO else 2)
    mean, size, patterns = 0.0, 0.0, 2 ** (steps * per_step)
    assert patterns <= 4096
    for pattern in product([-1, 1], repeat=steps * per_step):
        source = iter(pattern)
        estimator = make()
        gradient = drive(estimator, tape, deltas, lambda stage, count: np.array([next(source) for _ in range(count)]))
        assert next(source, None) is None
        sample = np.concatenate([flat(gradient), flat(estimator.influence())])
        mean, size = mean + sample / patterns, max(size, np.abs(sample).max())
    return np.abs(mean - expected).max() / size


@fresh_or_not
@mixing
@pytest.mark.parametrize("name", ["rnn", "rnn relu leak", "gru", "lstm", "rhn", "rhn 2"])
def test_unbiased_over_every_sign_pattern(name, make, fresh):
    assert enumeration_error(partial(make, fresh=fresh), CELLS[name](2), steps=3) < 1e-12


@mixing
@pytest.mark.parametrize("which", [0, 1], ids=["carried term", "new term"])
def test_enumeration_sees_one_percent(make, which, monkeypatch):
    calls = []

    def planted(a, b):
        calls.append(a)
        rho, inverse = ref.balance(a, b)
        return (1.01 * rho if len(calls) % 2 == 1 - which else rho), inverse

    monkeypatch.setattr(kronecker if make is ref.KFRTRL else estimators, "balance", planted)
    assert 1e-4 < enumeration_error(partial(make, fresh=False), ref.RNN(2), steps=3) < 1e-1


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "rhn"])
def test_one_step_noise_of_kfrtrl(name):
    """|G~ - mean|^2 of one reduction, given the state before it; the same for all four sign patterns."""
    *_, deltas, tape = problem(CELLS[name](5), 4)
    before, rng = ref.KFRTRL(), np.random.default_rng(0)
    drive(before, tape[:3], deltas[:3], lambda stage, count: rng.choice([-1, 1], count))
    u, A, D, h_hat = before.u[0], ref.jacobian(tape[3][0]) @ before.A[0], ref.dense_D(tape[3][0]), tape[3][0].h_hat
    mean = np.multiply.outer(A, u) + np.multiply.outer(D, h_hat)
    norms = np.linalg.norm(u) * np.linalg.norm(A) * np.linalg.norm(h_hat) * np.linalg.norm(D)
    closed_form = 2 * norms + 2 * (u @ h_hat) * np.vdot(A, D)
    for c in product([-1, 1], repeat=2):
        after = ref.KFRTRL()
        after.begin(before.shapes)
        after.u, after.A = list(before.u), list(before.A)
        after.observe(tape[3], lambda stage, count: np.array(c))
        assert np.sum((after.influence()[0] - mean) ** 2) == pytest.approx(closed_form, rel=1e-12)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "rhn"])
@mixing
def test_scales_balance_both_pairs(name, make):
    """With opposite signs on the new pair, sum and difference of the results show each pair by itself."""
    *_, deltas, tape = problem(CELLS[name](5), 4)
    after, rng = [make(), make()], np.random.default_rng(0)
    nu = rng.choice([-1, 1], tape[0][0].k * 5) if make is ref.UORO else np.array([1, 1])
    for estimator, sign in zip(after, [1, -1]):
        drive(estimator, tape[:3], deltas[:3], lambda stage, count: np.resize([-1, 1, 1], count))
        opposite = sign * nu if make is ref.UORO else nu * [1, sign]
        estimator.observe(tape[3], lambda stage, count: opposite)
    left, right = ("v", "w") if make is ref.UORO else ("u", "A")
    for sign in (1, -1):
        a, b = (np.linalg.norm(getattr(after[0], factor)[0] + sign * getattr(after[1], factor)[0]) for factor in (left, right))
        assert a == pytest.approx(b, rel=1e-12) and a > 1e-3


@every_cell
@pytest.mark.parametrize("make", [ref.Immediate, partial(ref.TBPTT, 2), partial(ref.TBPTT, 2, True)])
def test_bias_appears_after_the_first_step(make_cell, make):
    _, _, deltas, tape = problem(make_cell(4), 6)
    assert distance(drive(make(), tape[:1], deltas[:1]), ref.bptt(tape[:1], deltas[:1])) < 1e-14
    assert distance(drive(make(), tape, deltas), ref.bptt(tape, deltas)) > 1e-3
