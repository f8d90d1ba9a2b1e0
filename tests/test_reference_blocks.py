"""KFRTRL(block=K) of the reference: unbiased whatever its probe w says, and the per-step form where |A| is exact.

unbiasedness   the mean over every pattern of c1, c2 is exact for each w, on every cell, also where |A w| is 0
scales         the mean square of |A w| is that of |A|; with exact norms the two forms are one; 1 % is seen
"""

from functools import partial
from itertools import product

import numpy as np
import pytest
from tapes import CELLS, distance, drive, flat, fresh_or_not, problem

from rtrl import reference as ref

every_cell = pytest.mark.parametrize("name", ["rnn", "rnn relu leak", "gru", "lstm", "rhn", "rhn 2"])
CUTS = [False, False, False, True, False]


def steps_of(cell, average):
    """As many steps as give at most 2^8 patterns; at the first step c1 multiplies 0, and c2 changes nothing by itself."""
    return 1 + max(1, 8 // (2 * average * cell.stages))


def samples_of(make, tape, deltas, seed, cuts=None):
    """Gradient and influence after the last step for every pattern of c1, c2 but those of the first step; w from a seed."""
    average, stages = make().average, len(tape[0])
    samples = []
    for pattern in product([-1, 1], repeat=2 * average * stages * (len(tape) - 1)):
        estimator, source, probes = make(), iter(pattern), np.random.default_rng(seed)

        def deal(stage, count, estimator=estimator, source=source, probes=probes):
            if count > 2 * average:
                return probes.choice([-1, 1], count)
            return np.array([1 if estimator.steps == 1 else next(source) for _ in range(count)])

        gradient = drive(estimator, tape, deltas, deal, cuts)
        assert next(source, None) is None
        samples.append(np.concatenate([flat(gradient), flat(estimator.influence())]))
    return np.array(samples)


def enumeration_error(make, tape, deltas, seed=0, cuts=None):
    """Largest error of the mean over all patterns, relative to the largest entry of a sample."""
    exact = ref.RTRL()
    expected = np.concatenate([flat(drive(exact, tape, deltas, cuts=cuts)), flat(exact.influence())])
    samples = samples_of(make, tape, deltas, seed, cuts)
    assert np.abs(samples - expected).max() > 1e-3 * np.abs(expected).max()
    return np.abs(samples.mean(0) - expected).max() / np.abs(samples).max()


@fresh_or_not
@pytest.mark.parametrize("block, average", [(2, 1), (3, 1), (2, 2)])
@every_cell
def test_unbiased_for_every_probe(name, block, average, fresh):
    cell = CELLS[name](2)
    *_, deltas, tape = problem(cell, steps_of(cell, average), seed=3)
    for seed in range(3):
        assert enumeration_error(partial(ref.KFRTRL, block=block, average=average, fresh=fresh), tape, deltas, seed) < 1e-12


@fresh_or_not
@pytest.mark.parametrize("name", ["gru", "rhn"])
def test_unbiased_with_a_reset_within_a_block(name, fresh):
    *_, deltas, tape = problem(CELLS[name](2), len(CUTS), seed=3, cuts=CUTS)
    assert enumeration_error(partial(ref.KFRTRL, block=2, fresh=fresh), tape, deltas, cuts=CUTS) < 1e-12


@pytest.mark.parametrize("wrong", [0.0, 1e-30, 1e3])
@pytest.mark.parametrize("name", ["lstm", "rhn 2"])
def test_unbiased_whatever_the_probe_says(name, wrong, monkeypatch):
    """A w may be 0 where A is not."""
    monkeypatch.setattr(ref.KFRTRL, "size", lambda self, block: wrong)
    cell = CELLS[name](2)
    *_, deltas, tape = problem(cell, 3, seed=3)
    assert enumeration_error(partial(ref.KFRTRL, block=2), tape, deltas) < 1e-12


@pytest.mark.parametrize("which", [0, 1], ids=["u", "A"])
@pytest.mark.parametrize("name", ["rnn", "gru", "rhn 2"])
def test_enumeration_sees_one_percent(name, which, monkeypatch):
    original = ref.KFRTRL.carried

    def planted(self, *sizes):
        scales = list(original(self, *sizes))
        scales[which] *= 1.01
        return scales

    monkeypatch.setattr(ref.KFRTRL, "carried", planted)
    cell = CELLS[name](2)
    *_, deltas, tape = problem(cell, steps_of(cell, 1), seed=3)
    assert 1e-4 < enumeration_error(partial(ref.KFRTRL, block=2, fresh=False), tape, deltas) < 1e-1


@every_cell
def test_mean_square_of_the_probe(name):
    """|A w|^2 over every w is |A|^2."""
    *_, deltas, tape = problem(CELLS[name](2), 5)
    estimator, rng = ref.KFRTRL(block=3), np.random.default_rng(0)
    drive(estimator, tape, deltas, lambda stage, count: rng.choice([-1, 1], count))
    sizes = []
    for w in product([-1, 1], repeat=estimator.shapes[0][1]):
        estimator.w = [np.array(w)] * len(tape[0])
        sizes.append(estimator.size(0))
    assert np.mean(np.square(sizes)) == pytest.approx(np.sum(estimator.A[0] ** 2), rel=1e-12)


@pytest.mark.parametrize("average", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_with_exact_norms_it_is_the_form_of_single_steps(name, average, monkeypatch):
    cuts = [False, False, True, False, False, False, True, False, False]
    *_, deltas, tape = problem(CELLS[name](4), len(cuts), cuts=cuts)

    def deal(stage, count):
        return dealt.setdefault((stage, estimator.steps), np.random.default_rng(len(dealt)).choice([-1, 1], 2 * average))

    dealt, runs = {}, []
    for block in (1, 4):
        if block > 1:
            monkeypatch.setattr(ref.KFRTRL, "count", lambda self, signs: setattr(self, "steps", self.steps + 1))
            monkeypatch.setattr(ref.KFRTRL, "size", lambda self, block: np.linalg.norm(self.A[block]))
        estimator = ref.KFRTRL(block=block, average=average)
        gradient = drive(estimator, tape, deltas, deal, cuts)
        runs.append([*gradient, *estimator.influence()])
    assert distance(*runs) < 1e-13
