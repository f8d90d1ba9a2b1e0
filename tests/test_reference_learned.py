"""The laws of KeRNL and DNI in the reference: closed forms, fixed points, and what they learn."""

from functools import partial

import numpy as np
import pytest
from tapes import distance, drive, every_cell, forward, problem

from rtrl import reference as ref


def random_signs(t_and_seed=0):
    rng = np.random.default_rng(t_and_seed)
    return lambda stage, count: rng.choice([-1.0, 1.0], count)


def given(pattern):
    """Signs from a list of vectors, in the order of calls."""
    source = iter(pattern)
    return lambda stage, count: next(source)


# KeRNL


def test_without_learning_it_is_rflo():
    """A = 1 and kappa = E: the trace of RFLO, where E is the same for all units and steps."""
    *_, deltas, tape = problem(ref.RNN(5, leak=0.3), 7)
    still = partial(ref.KeRNL, lr=0, kernel_lr=0)
    expected = drive(ref.RFLO(), tape, deltas)
    assert distance(drive(still(leak=0.3), tape, deltas, random_signs()), expected) < 1e-13
    assert distance(drive(still(leak=0.303), tape, deltas, random_signs()), expected) > 1e-4  # 1 % is seen


@every_cell
def test_the_perturbation_is_pushed_noise(make_cell):
    """Delta = sum over t of (product of the H after t) zeta_t; Omega fades with kappa; Gamma = d Omega / d alpha."""
    cell = make_cell(3)
    *_, deltas, tape = problem(cell, 5)
    kn, rng = 3 * cell.k, np.random.default_rng(0)
    pattern = rng.choice([-1.0, 1.0], (5 * cell.stages, kn))
    kernel = ref.KeRNL(lr=0, kernel_lr=0, noise=2.0)
    drive(kernel, tape, deltas, given(pattern))
    chain = [(stage, record) for records in tape for stage, record in enumerate(records)]
    for stage in range(cell.stages):
        Delta, Omega, alpha = np.zeros(kn), np.zeros(kn, complex), 0.8 + 1e-30j
        for (at, record), signs in zip(chain, pattern):
            Delta = ref.jacobian(record) @ Delta
            if at == stage:
                Delta, Omega = Delta + 2 / np.sqrt(kn) * signs, (1 - alpha) * Omega + 2 / np.sqrt(kn) * signs
        np.testing.assert_allclose(kernel.Delta[stage], Delta, atol=1e-13)
        np.testing.assert_allclose(kernel.Omega[stage], Omega.real, atol=1e-13)
        np.testing.assert_allclose(kernel.Gamma[stage], Omega.imag / 1e-30, atol=1e-13)


def test_learning_goes_down_the_gradient():
    """One step of A and alpha is -lr and -kernel_lr times the derivative of |A Omega(alpha) - Delta|^2 / 2, by complex step."""
    rng = np.random.default_rng(0)
    kernel = ref.KeRNL(lr=0.3, kernel_lr=0.2, leak=0.5)
    kernel.begin([(4, 4, 6)])
    kernel.A, kernel.Delta, kernel.Omega, kernel.Gamma = [rng.normal(size=(4, 4))], *([rng.normal(size=4) / 9] for _ in range(3))
    A, Delta, Omega, Gamma = kernel.A[0], kernel.Delta[0], kernel.Omega[0], kernel.Gamma[0]

    def loss(A, shift):
        error = A @ (Omega + Gamma * shift) - Delta
        return error @ error / 2

    kernel.learn(0)
    for index in np.ndindex(4, 4):
        step = np.zeros((4, 4), complex)
        step[index] = 1e-30j
        assert kernel.A[0][index] == pytest.approx(A[index] - 0.3 * loss(A + step, 0).imag / 1e-30, rel=1e-12)
    slopes = [loss(A, 1e-30j * unit).imag / 1e-30 for unit in np.eye(4)]
    np.testing.assert_allclose(kernel.alpha[0], 0.5 - 0.2 * np.array(slopes), rtol=1e-12)


def test_it_learns_a_kernel_that_is_exact():
    """Units that only leak: G = F that fades with 1 - leak, so alpha must find the leak, and A stays near 1."""
    cell = ref.RNN(3, leak=0.3)
    weights, xs, _, _ = problem(cell, 2500)
    weights[0][:, :3] = 0
    tape, _ = forward(cell, weights, xs, [False] * len(xs))
    deltas = np.random.default_rng(1).normal(size=(len(tape), 3))
    kernel, exact = ref.KeRNL(lr=0.01, kernel_lr=0.02), ref.RTRL(fresh=False)
    drive(kernel, tape[:2400], deltas, random_signs())
    drive(exact, tape[:2400], deltas)
    np.testing.assert_allclose(kernel.alpha[0], 0.3, atol=0.02)
    np.testing.assert_allclose(kernel.A[0], np.eye(3), atol=0.05)
    gradients = []
    for estimator, signs in ((kernel, random_signs(5)), (exact, None)):
        for records, delta in zip(tape[2400:], deltas[2400:]):
            estimator.observe(records, signs)
            estimator.feedback(records, delta)
        gradients.append(estimator.gradient())
    assert distance(*gradients) < 0.05


@every_cell
def test_influence_is_what_credit_uses(make_cell):
    cell = make_cell(3)
    *_, deltas, tape = problem(cell, 6)
    kernel = ref.KeRNL(lr=0.2, kernel_lr=0.1)
    drive(kernel, tape, deltas, random_signs())
    for gradient, G, A, B in zip(kernel.credit(deltas[0]), kernel.influence(), kernel.A, kernel.B):
        product = np.einsum("icj,cajq->iajq", A.reshape(-1, cell.k, 3), B).reshape(G.shape)
        np.testing.assert_allclose(G, product, atol=1e-13)
        np.testing.assert_allclose(gradient, np.tensordot(deltas[0], product, 1), atol=1e-13)


# DNI


@every_cell
def test_without_learning_it_is_immediate(make_cell):
    cuts = [t == 3 for t in range(7)]
    *_, deltas, tape = problem(make_cell(4), 7, cuts=cuts)
    assert distance(drive(ref.DNI(lr=0), tape, deltas, cuts=cuts), drive(ref.Immediate(), tape, deltas, cuts=cuts)) < 1e-14
    assert distance(drive(ref.DNI(), tape, deltas, cuts=cuts), drive(ref.Immediate(), tape, deltas, cuts=cuts)) > 1e-4


@every_cell
def test_it_learns_the_credit_of_a_fixed_point(make_cell):
    """Where every step is alike the credit of the future is delta H (1 - H)^-1, and DNI finds it to many digits."""
    cell, rng = make_cell(3), np.random.default_rng(2)
    weights, x = [0.5 * W for W in problem(cell, 1)[0]], rng.normal(size=2)
    delta, s = rng.normal(size=cell.k * cell.n), cell.initial_state()
    for _ in range(300):
        s, records = cell.forward(weights, s, x)
    H = np.eye(cell.k * cell.n)
    for record in records:
        H = ref.jacobian(record) @ H
    dni = ref.DNI(lr=1.0)
    gradient = drive(dni, [records] * 400, [delta] * 400)
    future = delta @ H @ np.linalg.inv(np.eye(len(H)) - H)
    np.testing.assert_allclose(dni.A @ records[0].h_hat, future, atol=1e-9)
    dni.observe(records, None)
    dni.feedback(records, delta)
    assert distance(dni.gradient(), [g for g in ref.backward(records, delta + future)[0]]) < 1e-8
    assert np.isfinite(gradient[0]).all()


def test_its_sum_comes_near_the_exact_gradient():
    """Over a long stream the synthetic credit makes up for most of what the immediate gradient misses."""
    cell, steps = ref.RHN(8), 3000
    weights, xs, _, _ = problem(cell, steps)
    tape, states = forward(cell, weights, xs, [False] * steps)
    rng = np.random.default_rng(1)
    V, wanted = rng.normal(size=(3, 8)), rng.normal(size=3)
    deltas = [(V @ s - wanted) @ V for s in states]
    half = steps // 2
    sums = {}
    for name, estimator in (("exact", ref.RTRL(fresh=False)), ("dni", ref.DNI()), ("immediate", ref.Immediate())):
        drive(estimator, tape[:half], deltas[:half])
        for records, delta in zip(tape[half:], deltas[half:]):
            if not estimator.fresh:
                estimator.observe(records, None)
            estimator.feedback(records, delta)
        sums[name] = np.ravel(estimator.gradient()[0])

    def cosine(name):
        return sums[name] @ sums["exact"] / np.linalg.norm(sums[name]) / np.linalg.norm(sums["exact"])

    assert cosine("dni") > 0.95 > 0.9 > cosine("immediate")


# Both


@pytest.mark.parametrize("make", [ref.KeRNL, ref.DNI])
@every_cell
def test_reset_keeps_what_was_learned(make_cell, make):
    *_, deltas, tape = problem(make_cell(3), 6)
    estimator = make()
    drive(estimator, tape, deltas, random_signs())
    learned = [np.array(A) for A in estimator.A]
    estimator.reset()
    assert not any(G.any() for G in estimator.influence()) and not any(g.any() for g in estimator.credit(deltas[0]))
    assert all((A == before).all() for A, before in zip(estimator.A, learned)) and any(A.any() for A in learned)
    if make is ref.KeRNL:
        assert not any(np.any(each) for each in (estimator.Delta, estimator.Omega, estimator.Gamma))


@pytest.mark.parametrize("make", [ref.KeRNL, ref.DNI])
@every_cell
def test_bias_appears_after_the_first_step(make_cell, make):
    cell = make_cell(4)
    *_, deltas, tape = problem(cell, 6)
    if make is ref.DNI or cell.stages == 1:
        first = drive(make(**({} if make is ref.DNI else {"lr": 0})), tape[:1], deltas[:1], random_signs())
        assert distance(first, ref.bptt(tape[:1], deltas[:1])) < 1e-14
    assert distance(drive(make(), tape, deltas, random_signs()), ref.bptt(tape, deltas)) > 1e-3
