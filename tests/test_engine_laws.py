"""The laws of the estimators, held by the compiled engine itself (tests/test_reference_laws.py holds the specification to them).

exactness      RTRL = BPTT; TBPTT with a long horizon = BPTT; windows of TBPTT
unbiasedness   signs are a pure function of the seed, so seeds can be found that give every sign pattern of a tiny
               net: their mean is RTRL to rounding, and an error of 1 % in one scale would be seen
noise          |G~ - mean|^2 of one step of KF-RTRL = 2 |H G~| |F| + 2 <H G~, F>, for every seed
scales         both products of a sum are balanced: their factors have equal norms
bias           Immediate and TBPTT are exact at one step and not at many
"""

import functools
import itertools

import numpy as np
import pytest
from common import as_reference, distance, flat, session
from drivers import every_cell

import rtrl
from rtrl import reference

ONE_STAGE = [rtrl.RNN(5), rtrl.RNN(5, leak=0.3), rtrl.GRU(4), rtrl.LSTM(4), rtrl.RHN(5)]
TINY = [
    rtrl.RNN(2),
    rtrl.RNN(2, "relu", 0.5),
    rtrl.RNN(2, "identity"),
    rtrl.GRU(2),
    rtrl.LSTM(2),
    rtrl.LSTM(1),
    rtrl.RHN(2),
    rtrl.RHN(2, 2),
    rtrl.RHN(1, 2),
]


def problem(cell, steps, lanes=1, seed=0):
    """Inputs [T, B, 3] and derivatives d loss / d h [T, B, n]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, lanes, 3)), rng.normal(size=(steps, lanes, cell.hidden))


def drive(cell, estimator, xs, credits, resets=None, **options):
    """A session without a readout that went through the stream and was credited at every step."""
    ran = session(cell, estimator, readout=None, batch_size=xs.shape[1], **options)
    for t, (x, credit) in enumerate(zip(xs, credits)):
        if resets is not None and resets[t].any():
            ran.reset(resets[t])
        ran.advance(x)
        ran.feedback(credit)
    return ran


def whole_bptt(cell, xs, credits, resets):
    """The gradient by one backward sweep over the records of the reference's forward pass, mean over lanes."""
    formula, net = as_reference(cell)(), session(cell, rtrl.Immediate(), readout=None).network
    weights = list(net.parameters().values())
    totals = []
    for b in range(xs.shape[1]):
        s, tape = formula.initial_state(), []
        for x, cut in zip(xs[:, b], resets[:, b]):
            s, records = formula.forward(weights, formula.initial_state() if cut else s, x)
            tape.append(records)
        deltas = np.pad(credits[:, b], [(0, 0), (0, (formula.k - 1) * formula.n)])
        totals.append(reference.bptt(tape, list(deltas), list(resets[:, b])))
    masks = [formula.mask(stage, net.inputs) for stage in range(formula.stages)]
    return [mask * np.mean(stage, 0) for mask, stage in zip(masks, zip(*totals))]


# Exactness

EXACT = [rtrl.RTRL(), rtrl.RTRL(fresh=False), rtrl.TBPTT(9), rtrl.TBPTT(50), rtrl.TBPTT(9, True), rtrl.TBPTT(50, True)]


@pytest.mark.parametrize("estimator", EXACT, ids=repr)
@every_cell
def test_exact_ones_are_bptt(cell, estimator):
    xs, credits = problem(cell, 9, lanes=2)
    resets = np.zeros((9, 2), bool)
    resets[4, 0] = resets[7, 1] = True
    assert distance(drive(cell, estimator, xs, credits, resets).gradient(), whole_bptt(cell, xs, credits, resets)) < 1e-12


@every_cell
def test_exactness_through_a_readout(cell):
    """The whole of `run`, at a learning rate of 0: RTRL's sum of gradients is BPTT's."""
    xs, ys = np.random.default_rng(0).normal(size=(9, 2, 3)), np.random.default_rng(1).integers(0, 4, (9, 2))
    runs = [session(cell, estimator, rtrl.SGD(0.0), batch_size=2, update_every=100) for estimator in (rtrl.RTRL(), rtrl.TBPTT(9))]
    assert runs[0].run(xs, ys).tolist() == runs[1].run(xs, ys).tolist()
    assert distance(runs[0].gradient(), runs[1].gradient()) < 1e-12


@every_cell
def test_windows_of_tbptt(cell):
    """Block: every block by itself.  Sliding: every loss by itself, through its last steps."""
    steps, horizon = 8, 3
    xs, credits = problem(cell, steps)
    block_starts = [t // horizon * horizon for t in range(steps)]
    for estimator, starts in (
        (rtrl.TBPTT(horizon), block_starts),
        (rtrl.TBPTT(horizon, sliding=True), [max(0, t + 1 - horizon) for t in range(steps)]),
    ):
        expected = 0
        for t, start in enumerate(starts):
            # A loss that reaches back to `start` only: exact, with the influence of all earlier steps taken away.
            exact = drive(cell, rtrl.RTRL(), xs[:start], 0 * credits[:start])
            _without_influence(exact)
            for x in xs[start : t + 1]:
                exact.advance(x)
            exact.feedback(credits[t])
            expected = expected + flat(exact.gradient())
        assert distance([flat(drive(cell, estimator, xs, credits).gradient())], [expected]) < 1e-12


def _without_influence(of):
    """Zero the influence of a session and keep its state."""
    of.reset(np.zeros(of.batch_size, bool))
    for name, block in of._arrays.items():
        if name.startswith("estimator.G"):
            block[:] = 0


# Unbiasedness, by every sign pattern


@functools.cache
def seeds_of_patterns(steps, stages, count):
    """A seed for every pattern of signs [steps, stages, count] of lane 0."""
    found, wanted = {}, 2 ** (steps * stages * count)
    for seed in itertools.count():
        pattern = b"".join(rtrl.random_signs(seed, t, 0, stage, count).tobytes() for t in range(steps) for stage in range(stages))
        found.setdefault(pattern, seed)
        if len(found) == wanted:
            return found


def sample(cell, estimator, xs, credits, seed):
    """Gradient and influence of one run as one vector."""
    ran = drive(cell, estimator, xs, credits, seed=seed)
    ran.reset(np.zeros(1, bool))  # close the step, so that the influence is the one after its reduction
    return np.concatenate([flat(ran.gradient()), flat(ran.influence())])


@pytest.mark.parametrize("estimator", [rtrl.UORO(), rtrl.UORO(fresh=False), rtrl.KFRTRL(), rtrl.KFRTRL(fresh=False)], ids=repr)
@pytest.mark.parametrize("cell", TINY, ids=repr)
def test_mean_over_every_sign_pattern(cell, estimator):
    stages = getattr(cell, "depth", 1)
    count = 2 if isinstance(estimator, rtrl.KFRTRL) else cell.hidden * (2 if isinstance(cell, rtrl.LSTM) else 1)
    steps = 8 // (stages * count)
    xs, credits = problem(cell, steps, seed=3)
    seeds = seeds_of_patterns(steps, stages, count).values()
    assert len(seeds) == 256
    samples = np.array([sample(cell, estimator, xs, credits, seed) for seed in seeds])
    expected = sample(cell, rtrl.RTRL(), xs, credits, 0)
    assert np.abs(samples.mean(0) - expected).max() < 1e-12 * np.abs(samples).max()
    assert np.abs(samples - expected).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("estimator", [rtrl.UORO(), rtrl.KFRTRL()], ids=repr)
def test_mean_over_random_seeds(estimator):
    """The real generator, over seeds, lanes and steps: within five standard errors of RTRL."""
    cell, lanes = rtrl.GRU(3), 64
    xs, credits = (np.repeat(each, lanes, 1) for each in problem(cell, 12))
    exact = flat(drive(cell, rtrl.RTRL(), xs, credits).gradient())
    samples = np.array([flat(drive(cell, estimator, xs, credits, seed=seed).gradient()) for seed in range(100)])
    error, scatter = np.abs(samples.mean(0) - exact), samples.std(0, ddof=1) / np.sqrt(len(samples))
    assert (error <= 5 * scatter + 1e-12).all()
    assert scatter.max() > 1e-4


# Noise and scales


@pytest.mark.parametrize("cell", ONE_STAGE, ids=repr)
def test_one_step_noise_of_kfrtrl(cell):
    """While a step is open, influence() is the mean H G~ + F; afterwards it is the sample."""
    xs, credits = problem(cell, 5)
    immediate = drive(cell, rtrl.Immediate(), xs, credits).influence()["cell.0.weight"]
    for seed in range(8):
        ran = drive(cell, rtrl.KFRTRL(), xs, credits, seed=seed)
        mean = ran.influence()["cell.0.weight"]
        ran.reset(np.zeros(1, bool))
        noise = np.sum((ran.influence()["cell.0.weight"] - mean) ** 2)
        carried = mean - immediate
        norms = np.linalg.norm(carried.ravel()) * np.linalg.norm(immediate.ravel())
        assert noise == pytest.approx(2 * norms + 2 * np.vdot(carried, immediate), rel=1e-11)
        assert norms > 1e-3


def factors(ran):
    """The two factors of a rank-one influence; that of KF-RTRL keeps a scale apart, that of UORO its newest product."""
    arrays = {name[len("estimator.") :]: block.copy() for name, block in ran._arrays.items()}
    if isinstance(ran.estimator, rtrl.UORO):
        assert arrays["waiting0"].all()
        new = np.multiply.outer(arrays["new_y0"], arrays["new_h0"])
        return arrays["v0"], arrays["carried0"] * arrays["w0"] + new.ravel()
    return arrays["u0"], arrays["A0"] * arrays["lazy"]


@pytest.mark.parametrize("estimator", [rtrl.UORO(), rtrl.KFRTRL()], ids=repr)
@pytest.mark.parametrize("cell", [rtrl.RNN(2), rtrl.GRU(2), rtrl.LSTM(1), rtrl.RHN(2)], ids=repr)
def test_scales_balance_both_products(cell, estimator):
    """With opposite signs of the new product, sum and difference of two runs show each product by itself."""
    xs, credits = problem(cell, 4)
    seeds = seeds_of_patterns(4, 1, 2)
    compared = 0
    for pattern, seed in list(seeds.items())[:16]:
        signs = np.frombuffer(pattern, np.int8).copy()
        signs[6 if isinstance(estimator, rtrl.UORO) else 7 :] *= -1
        pairs = []
        for each in (seed, seeds[signs.tobytes()]):
            ran = drive(cell, estimator, xs, credits, seed=each)
            ran.reset(np.zeros(1, bool))
            pairs.append(factors(ran))
        for sign in (1, -1):
            left, right = (np.linalg.norm(a + sign * b) for a, b in zip(*pairs))
            assert left == pytest.approx(right, rel=1e-12) and left > 1e-3
            compared += 1
    assert compared == 32


# Bias


@pytest.mark.parametrize("estimator", [rtrl.Immediate(), rtrl.TBPTT(1), rtrl.TBPTT(2), rtrl.TBPTT(2, sliding=True)], ids=repr)
@every_cell
def test_bias_appears_after_the_first_step(cell, estimator):
    xs, credits = problem(cell, 6)
    assert estimator.kind == "biased"
    for steps, low, high in ((1, 0, 1e-13), (6, 1e-3, 10)):
        biased, exact = (drive(cell, each, xs[:steps], credits[:steps]).gradient() for each in (estimator, rtrl.RTRL()))
        assert low <= distance(biased, exact) < high


def test_kinds():
    assert (rtrl.RTRL.kind, rtrl.UORO.kind, rtrl.KFRTRL.kind) == ("exact", "unbiased", "unbiased")
