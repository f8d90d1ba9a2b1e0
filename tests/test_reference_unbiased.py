"""Laws of NoBackTrack, UORO(T), KFRTRL(average) and ReversedKFRTRL, as the reference states them.

unbiasedness   the mean over *every* sign pattern is exact, and an error of 1 % in one scale is seen
noise          closed forms of one reduction; the mean of r pairs has 1/r of the noise of one
limits         UORO(long) is BPTT; KFRTRL(average=r) is the mean of r KFRTRL(); with one unit NoBackTrack is UORO
"""

from functools import partial
from itertools import product

import numpy as np
import pytest
from tapes import CELLS, distance, drive, flat, fresh_or_not, no_signs, problem

from rtrl import reference as ref
from rtrl.reference import estimators, kronecker, nobacktrack, reversed

every_cell = pytest.mark.parametrize("name", ["rnn", "rnn relu leak", "gru", "lstm", "rhn", "rhn 2"])
one_stage = pytest.mark.parametrize("name", ["rnn", "rnn leak", "gru", "lstm", "rhn"])
# Estimators, and how many signs matter for one stage at step t.  At the first step of KF-RTRL c1 multiplies 0.
MAKERS = {
    "nobacktrack": (ref.NoBackTrack, lambda t, kn, rn: kn),
    "uoro 2": (partial(ref.UORO, 2), lambda t, kn, rn: kn if t % 2 == 1 else 0),
    "uoro 3": (partial(ref.UORO, 3), lambda t, kn, rn: kn if t % 3 == 2 else 0),
    "kfrtrl 2": (partial(ref.KFRTRL, average=2), lambda t, kn, rn: 4 if t else 2),
    "reversed": (ref.ReversedKFRTRL, lambda t, kn, rn: kn),
}
every_maker = pytest.mark.parametrize("maker", MAKERS)


def enumerable(cell_name, maker):
    """A cell, as many steps as can be enumerated, and their signs: two units wherever that leaves two reductions."""
    for n, most in ((2, 8), (2, 12), (1, 8), (1, 12)):
        cell, steps, used, reductions = CELLS[cell_name](n), 0, 0, 0
        while steps < 7:
            count = cell.stages * MAKERS[maker][1](steps, cell.k * n, cell.r * n)
            if used + count > most:
                break
            steps, used, reductions = steps + 1, used + count, reductions + (count > 0)
        if reductions >= 2:
            return cell, steps, used
    raise AssertionError("nothing to enumerate")


def samples_of(make, tape, deltas, signs, cuts=None):
    """Gradient and influence after the last step for every pattern of that many signs, as rows."""
    samples = []
    for pattern in product([-1, 1], repeat=signs):
        estimator, source = make(), iter(pattern)

        def deal(stage, count, estimator=estimator, source=source):
            first = isinstance(estimator, ref.KFRTRL) and not estimator.u[stage].any()
            return np.array([1 if first and i % 2 == 0 else next(source) for i in range(count)])

        gradient = drive(estimator, tape, deltas, deal, cuts)
        assert next(source, None) is None
        samples.append(np.concatenate([flat(gradient), flat(estimator.influence())]))
    return np.array(samples)


def enumeration_error(make, tape, deltas, signs, cuts=None):
    """Largest error of the mean over all patterns, relative to the largest entry of a sample."""
    exact = ref.RTRL()
    expected = np.concatenate([flat(drive(exact, tape, deltas, cuts=cuts)), flat(exact.influence())])
    samples = samples_of(make, tape, deltas, signs, cuts)
    assert np.abs(samples - expected).max() > 1e-3 * np.abs(expected).max()
    return np.abs(samples.mean(0) - expected).max() / np.abs(samples).max()


@fresh_or_not
@every_maker
@every_cell
def test_unbiased_over_every_sign_pattern(name, maker, fresh):
    cell, steps, signs = enumerable(name, maker)
    _, _, deltas, tape = problem(cell, steps, seed=3)
    assert enumeration_error(partial(MAKERS[maker][0], fresh=fresh), tape, deltas, signs) < 1e-12


@fresh_or_not
@pytest.mark.parametrize("name", ["lstm", "rhn 2"])
def test_unbiased_with_resets_within_windows(name, fresh):
    """A window that a reset cuts ends at its usual step and holds nothing from before."""
    cell, cuts = CELLS[name](2), [False, True, False, False, True, False, False]
    _, _, deltas, tape = problem(cell, len(cuts), seed=3, cuts=cuts)
    assert enumeration_error(partial(ref.UORO, 3, fresh=fresh), tape, deltas, 8, cuts) < 1e-12


@pytest.mark.parametrize("name", ["gru", "lstm", "rhn"])
def test_one_reduction_of_reversed_over_every_pattern(name):
    """More units have too many signs for two steps: one step from a state that is not 0."""
    *_, deltas, tape = problem(CELLS[name](4), 4)
    before, rng = ref.ReversedKFRTRL(), np.random.default_rng(0)
    drive(before, tape[:3], deltas[:3], lambda stage, count: rng.choice([-1, 1], count))
    mean = 0
    for pattern, after in each_reduction(before, tape[3], tape[3][0].k * 4):
        mean = mean + after.influence()[0] / 2 ** len(pattern)
    expected = np.tensordot(ref.jacobian(tape[3][0]), before.influence()[0], 1) + ref.immediate(tape[3][0])
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12 * np.abs(after.influence()[0]).max())


@every_maker
@pytest.mark.parametrize("which", [0, 1], ids=["carried product", "new product"])
def test_enumeration_sees_one_percent(maker, which, monkeypatch):
    """Every reduction asks for the scale of the carried product first, and then for that of the new one, or for several."""
    calls, scales = [], 3 if maker == "reversed" else 2

    def planted(a, b):
        calls.append(a)
        rho, inverse = ref.balance(a, b)
        return (1.01 * rho if maker == "nobacktrack" or (len(calls) % scales != 1) == which else rho), inverse

    modules = {"nobacktrack": [estimators, nobacktrack][which], "reversed": reversed, "kfrtrl 2": kronecker}
    monkeypatch.setattr(modules.get(maker, estimators), "balance", planted)
    cell, steps, signs = enumerable("rnn", maker)
    assert cell.n == 2
    _, _, deltas, tape = problem(cell, steps, seed=3)
    assert 1e-4 < enumeration_error(partial(MAKERS[maker][0], fresh=False), tape, deltas, signs) < 1e-1


# Noise


def each_reduction(before, records, signs):
    """The estimator after one more step, for every pattern of signs; `before` stays as it was."""
    for pattern in product([-1, 1], repeat=signs):
        after = type(before).__new__(type(before))
        after.__dict__.update({key: list(value) if isinstance(value, list) else value for key, value in vars(before).items()})
        after.observe(records, lambda stage, count, pattern=pattern: np.array(pattern))
        yield pattern, after


def one_reduction(make, name, steps=4, units=3):
    """State before the last step, and mean square error of the influence of the last reduction."""
    *_, deltas, tape = problem(CELLS[name](units), steps)
    before, rng = make(), np.random.default_rng(0)
    drive(before, tape[:-1], deltas[:-1], lambda stage, count: rng.choice([-1, 1], count))
    mean = np.tensordot(ref.jacobian(tape[-1][0]), before.influence()[0], 1) + ref.immediate(tape[-1][0])
    record = tape[-1][0]
    signs = 2 * before.average if isinstance(before, ref.KFRTRL) else record.k * units
    noise = np.mean([np.sum((after.influence()[0] - mean) ** 2) for _, after in each_reduction(before, tape[-1], signs)])
    return before, tape, noise


@one_stage
def test_noise_of_nobacktrack(name):
    """(sum |F_i|)^2 - |F|^2 + 2 sum |F_i| |Hv| |w| + 2 <Hv (x) w, F>."""
    before, tape, noise = one_reduction(ref.NoBackTrack, name)
    v, w, F = ref.push(tape[-1][0], before.v[0]), before.w[0], ref.immediate(tape[-1][0])
    total = np.linalg.norm(F.reshape(len(F), -1), axis=1).sum()
    carried = np.linalg.norm(v) * np.linalg.norm(w)
    closed_form = total**2 - np.sum(F**2) + 2 * total * carried + 2 * np.vdot(np.multiply.outer(v, w), F)
    assert noise == pytest.approx(closed_form, rel=1e-12)
    one_scale = ref.UORO()
    one_scale.begin(before.shapes)
    one_scale.v, one_scale.w = list(before.v), list(before.w)
    samples = [after.influence()[0] for _, after in each_reduction(one_scale, tape[-1], len(v))]
    assert noise < np.mean([np.sum((G - np.mean(samples, 0)) ** 2) for G in samples])


@one_stage
def test_noise_of_a_window(name):
    """(kn - 1) |F|^2 + 2 sqrt(kn) |Hv| |w| mean |nu F| + 2 <Hv (x) w, F>, with H and F of the whole window."""
    before, tape, noise = one_reduction(partial(ref.UORO, 2), name)
    H, F = ref.jacobian(tape[3][0]), ref.immediate(tape[2][0])
    F = np.tensordot(H, F, 1) + ref.immediate(tape[3][0])
    v, w = H @ before.v[0], before.w[0]
    sizes = [np.linalg.norm(np.tensordot(nu, F, 1)) for nu in product([-1.0, 1.0], repeat=len(v))]
    carried = np.sqrt(len(v)) * np.linalg.norm(v) * np.linalg.norm(w) * np.mean(sizes)
    closed_form = (len(v) - 1) * np.sum(F**2) + 2 * carried + 2 * np.vdot(np.multiply.outer(v, w), F)
    assert noise == pytest.approx(closed_form, rel=1e-12)


@one_stage
def test_noise_of_reversed(name):
    """(sum |F_i|)^2 - |F|^2 + 2 |a| |B'| sum |F_i| + 2 <a (x) B', F>, less than with signs for the rows of W."""
    before, tape, noise = one_reduction(ref.ReversedKFRTRL, name)
    record, F = tape[-1][0], ref.immediate(tape[-1][0])
    a, B, D = before.a[0], ref.jacobian(record) @ before.B[0], ref.dense_D(record)
    total = np.linalg.norm(F.reshape(len(F), -1), axis=1).sum()
    carried, common = np.linalg.norm(a) * np.linalg.norm(B), 2 * np.vdot(np.einsum("p,iq->ipq", a, B), F) - np.sum(F**2)
    assert noise == pytest.approx(total**2 + 2 * carried * total + common, rel=1e-12)
    # The same with one scale and a <- p0 a + p1 nu, B <- B' / p0 + (D nu) (x) h_hat / p1.
    sizes = [np.linalg.norm(D @ nu) for nu in product([-1.0, 1.0], repeat=len(a))]
    new = np.sqrt(len(a)) * np.linalg.norm(record.h_hat) * np.mean(sizes)
    assert noise < len(a) * np.sum(F**2) + 2 * carried * new + common


@one_stage
def test_noise_of_a_mean(name):
    """Pairs have signs of their own: their noises add up, and the mean has 1/r^2 of the sum."""
    before, tape, noise = one_reduction(partial(ref.KFRTRL, average=3), name)
    D, h_hat, H = ref.dense_D(tape[-1][0]), tape[-1][0].h_hat, ref.jacobian(tape[-1][0])
    closed_form = 0
    for u, A in zip(before.u, before.A):
        A = H @ A
        norms = np.linalg.norm(u) * np.linalg.norm(A) * np.linalg.norm(h_hat) * np.linalg.norm(D)
        closed_form += (2 * norms + 2 * (u @ h_hat) * np.vdot(A, D)) / 9
    assert noise == pytest.approx(closed_form, rel=1e-12)


# Limits


@pytest.mark.parametrize("name", CELLS)
def test_long_memory_is_bptt(name):
    """A window that never closes asks for no signs; one that closes after the last loss makes no difference to it."""
    cuts = [False, False, True, False, False, False]
    _, _, deltas, tape = problem(CELLS[name](4), len(cuts), cuts=cuts)
    exact = ref.bptt(tape, deltas, cuts)
    rng = np.random.default_rng(0)
    closing = drive(ref.UORO(6), tape, deltas, lambda stage, count: rng.choice([-1, 1], count), cuts)
    assert distance(closing, exact) < 1e-12
    for fresh in (True, False):
        assert distance(drive(ref.UORO(7, fresh=fresh), tape, deltas, no_signs, cuts), exact) < 1e-12


@pytest.mark.parametrize("name", CELLS)
def test_average_is_the_mean_of_single_pairs(name):
    """Pair i takes signs 2i and 2i + 1."""
    *_, deltas, tape = problem(CELLS[name](3), 5)
    dealt = {}

    def deal(stage, count, pair=None):
        calls = counters.setdefault((pair, stage), iter(range(len(tape))))
        signs = dealt.setdefault((next(calls), stage), np.random.default_rng(len(dealt)).choice([-1, 1], 6))
        return signs if pair is None else signs[2 * pair : 2 * pair + 2]

    counters = {}
    together = drive(ref.KFRTRL(average=3), tape, deltas, deal)
    singles = [drive(ref.KFRTRL(), tape, deltas, partial(deal, pair=pair)) for pair in range(3)]
    assert distance(together, [np.mean(stage, 0) for stage in zip(*singles)]) < 1e-13
    assert distance(singles[0], singles[1]) > 1e-3


@pytest.mark.parametrize("name", ["rnn", "rnn leak", "gru", "rhn", "rhn 2"])
def test_one_component_has_one_scale(name):
    """With one unit of one component NoBackTrack is UORO, sign for sign."""
    *_, deltas, tape = problem(CELLS[name](1), 5)
    runs = []
    for make in (ref.NoBackTrack, ref.UORO):
        rng = np.random.default_rng(0)
        runs.append(drive(make(), tape, deltas, lambda stage, count, rng=rng: rng.choice([-1, 1], count)))
    assert distance(*runs) < 1e-13


def test_a_component_without_immediate_influence_is_dropped():
    """relu that is flat: F_i = 0 gets the scale 0, and nothing is divided by it."""
    *_, deltas, tape = problem(ref.RNN(4, "relu"), 6, seed=5)
    assert any((record.D == 0).any() and record.D.any() for records in tape for record in records)
    estimator, rng = ref.NoBackTrack(), np.random.default_rng(0)
    gradient = drive(estimator, tape, deltas, lambda stage, count: rng.choice([-1, 1], count))
    assert np.isfinite(flat(gradient)).all() and np.isfinite(flat(estimator.influence())).all() and flat(gradient).any()
