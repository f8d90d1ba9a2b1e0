"""The cap of the influence: where it cuts, what it leaves, how it is counted."""

import warnings

import numpy as np
import pytest
from common import CELLS, ESTIMATORS, INPUTS, as_reference, distance, flat, growing, reference_twin, session, troubles

import rtrl
from rtrl import reference


def capped(make, cap, counted):
    """A reference estimator whose influence is scaled down to `cap` wherever the engine's guard looks at it."""

    class Capped(make.func):
        def observe(self, records, signs):
            if isinstance(self, reference.OK):
                super().observe(records, signs)
            elif isinstance(self, reference.UORO):
                self.observe_pairs(records, signs)
            else:
                self.observe_products(records, signs)

        def observe_pairs(self, records, signs):
            """Each v (x) w is looked at once a step, when its own stage has moved it."""
            self.steps += 1
            closes = self.steps % self.horizon == 0
            for stage, record in enumerate(records):
                self.v = [reference.push(record, v) for v in self.v]
                self.limit("v", "w", stage)
                if closes:
                    self.reduce(stage, record, signs(stage, record.k * record.n).astype(float))
                self.window = [] if closes and stage == len(records) - 1 else [*self.window, (stage, record)]

        def observe_products(self, records, signs):
            """Each block is looked at whenever a stage has moved it, and A once more where a block of steps ends."""
            name, other = {"RTRL": ("G", None), "KFRTRL": ("A", "u"), "ReversedKFRTRL": ("B", "a")}[make.func.__name__]
            if name == "A":
                self.count(signs)
            for stage, record in enumerate(records):
                moved = getattr(self, name)
                for block in range(len(moved)):
                    moved[block] = np.tensordot(reference.jacobian(record), moved[block], 1)
                    # In the middle of a block of steps KF-RTRL has an estimate of |A| alone.
                    self.limit(name, other, block, (lambda _, block=block: self.size(block)) if name == "A" else np.linalg.norm)
                if name == "G":
                    self.G[stage] = self.G[stage] + reference.immediate(record)
                elif name == "A":
                    for pair, chosen in enumerate(signs(stage, 2 * self.average).astype(float).reshape(-1, 2)):
                        self.reduce(pair * len(records) + stage, record, *chosen)
                else:
                    self.reduce(stage, record, signs(stage, record.k * record.n).astype(float))
            if name == "A" and self.block > 1 and self.steps % self.block == 0:
                for block in range(len(self.A)):
                    self.limit(name, other, block)

        def limit(self, name, other, block, size=np.linalg.norm):
            moved = getattr(self, name)
            norm = size(moved[block]) * (1 if other is None else np.linalg.norm(getattr(self, other)[block]))
            if norm > cap:
                moved[block] = moved[block] * (cap / norm)
                counted.append(block)

        def reduce(self, stage, *arguments):
            if isinstance(self, reference.OK):  # looked at as the sum of all terms, before they become fewer
                u, A, *arguments = arguments
                norm = np.linalg.norm(np.einsum("ixp,iq->xpq", A, u))
                if norm > cap:
                    A = A * (cap / norm)
                    counted.append(stage)
                arguments = (u, A, *arguments)
            super().reduce(stage, *arguments)

    return lambda: Capped(**make.keywords)


@pytest.mark.parametrize("estimator", [each for each in ESTIMATORS.values() if each.kind in ("exact", "unbiased")], ids=repr)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_cap(cell, estimator):
    """Equal to the reference with the same cap, and counted where it cuts."""
    cap, counted = 0.6, []
    ours = session(cell, estimator, readout=None, batch_size=2, influence_cap=cap)
    ours.network.parameters()["cell.0.weight"][...] *= 3
    twin = reference_twin(ours)
    make = capped(as_reference(estimator), cap, counted)
    twin.estimators = [make() for _ in range(2)]
    for each in twin.estimators:
        each.begin([(twin.cell.k * twin.cell.n, *W.shape) for W in twin.weights])
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for x in rng.normal(size=(15, 2, INPUTS)):
            ours.advance(x)
            twin.advance(x)
        ours.reset(np.zeros(2, bool))
    twin.observe()
    for G, expected in zip(ours.influence().values(), zip(*(each.influence() for each in twin.estimators))):
        assert distance([G], [np.stack(expected)]) < 1e-11
    assert troubles(ours) == {"influence_capped": len(counted)} and len(counted) > 5


@pytest.mark.parametrize("estimator", [rtrl.RTRL(), rtrl.UORO(), rtrl.KFRTRL()], ids=repr)
def test_default_cap_keeps_float32_finite(estimator):
    """The state is kept small by resets of nothing: only the influence grows, by 2 a step."""
    ran = growing(estimator, readout=None)
    ran.network.parameters()["cell.0.weight"][:, 3:] = 0  # no input reaches the state, which stays at 0 ...
    ran.network.parameters()["cell.0.weight"][:, -1] = 1e-30  # ... but for a trace that keeps the relu open
    with pytest.warns(RuntimeWarning, match="health") as heard:
        for _ in range(120):
            ran.advance(np.ones(INPUTS))
    assert [each.filename for each in heard] == [__file__]
    norm = np.linalg.norm(flat(ran.influence()))
    assert set(troubles(ran)) == {"influence_capped"} and 1e6 < norm < 1e10
    assert ran.health()["influence_capped"] > 80


@pytest.mark.parametrize("estimator", [rtrl.RTRL(), rtrl.UORO(), rtrl.KFRTRL()], ids=repr)
def test_an_influence_beyond_all_caps_is_dropped(estimator):
    """With the cap out of reach the influence overflows, is set to 0, counted, and grows again."""
    ran = growing(estimator, readout=None, influence_cap=1e300)
    ran.network.parameters()["cell.0.weight"][...] = np.hstack([1e3 * np.eye(3), np.zeros((3, INPUTS)), np.full((3, 1), 1e-30)])
    with pytest.warns(RuntimeWarning, match="health"):
        for _ in range(100):
            ran.advance(np.ones(INPUTS))
            if ran.steps % 8 == 0:
                # Only the influence is to overflow; no public call sets back the state alone.
                ran._arrays["session.s"][:] = 0
    assert set(troubles(ran)) == {"influence_not_finite"}
    for name, block in ran._arrays.items():
        if name.startswith("estimator."):
            assert np.isfinite(block).all(), name
