"""One glitch must not end an endless stream: updates that no number can hold are refused whole, outliers are scaled down."""

import warnings

import numpy as np
import pytest
from common import CELLS, assert_same_bits, flat, troubles

import rtrl
from rtrl import reference

STEPS, AT = 1000, 600
GLITCHES = (1e3, 1e9, 1e15, 1e25, 9.96921e36, 3e38)  # the fifth is what netCDF writes where there is no number
OPTIMIZERS = {
    "sgd": (rtrl.SGD, {"lr": 0.03}),
    "momentum": (rtrl.SGD, {"lr": 5e-3, "momentum": 0.9}),
    "nesterov": (rtrl.SGD, {"lr": 5e-3, "momentum": 0.9, "nesterov": True}),
    "decay": (rtrl.SGD, {"lr": 0.03, "weight_decay": 1e-5}),
    "rmsprop": (rtrl.RMSprop, {"lr": 1e-3}),
    "adam": (rtrl.Adam, {"lr": 1e-3}),
    "kalman": (rtrl.Kalman, {"lr": 1e-3}),
    "quasi-diagonal": (rtrl.Kalman, {"lr": 1e-3, "metric": "quasi-diagonal"}),
    "exact": (rtrl.Kalman, {"lr": 1e-3, "fisher": "exact"}),
}
every_optimizer = pytest.mark.parametrize(("made", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
every_width = pytest.mark.parametrize("dtype", ["float32", "float64"])


def session(optimizer, dtype="float32", estimator=None, **options):
    network = rtrl.Network(rtrl.GRU(12), 1, rtrl.Linear(1), dtype, seed=1)
    return rtrl.Session(network, estimator or rtrl.SnAp(), optimizer, seed=1, **{"threads": 1, **options})


def stream(steps=STEPS):
    """A noisy wave and its next value [T, 1]."""
    series = np.sin(0.3 * np.arange(steps + 1)) + 0.1 * np.random.default_rng(3).normal(size=steps + 1)
    return series[:-1, None], series[1:, None]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def numbers(of):
    """Weights, and everything that the optimizer keeps."""
    kept = {name: block.copy() for name, block in of._arrays.items() if name.startswith("optimizer.")}
    return kept | {name: view.copy() for name, view in of.network.parameters().items()}


@every_width
@every_optimizer
def test_the_weights_stay_finite_and_learning_goes_on_without_any_guard(made, options, dtype):
    """What a type cannot hold is refused.  A finite glitch may still do harm: see the next test."""
    for where in ("x", "y"):
        for glitch in GLITCHES[3:]:
            xs, ys = (array.copy() for array in stream())
            (xs if where == "x" else ys)[AT] = glitch
            ran = session(made(**options), dtype)
            ran.run(xs, ys)
            assert all(np.isfinite(array).all() for array in numbers(ran).values()), (where, glitch)
            assert ran.health()["updates"] + ran.health()["updates_skipped"] == STEPS


@every_width
@every_optimizer
def test_with_the_guard_a_session_learns_again_within_200_steps(made, options, dtype):
    nothing_learned = np.mean(np.square(stream()[1])) / 2
    for where in ("x", "y"):
        for glitch in GLITCHES:
            xs, ys = (array.copy() for array in stream())
            (xs if where == "x" else ys)[AT] = glitch
            ran = session(made(**options, clip_outliers=10.0), dtype)
            losses = ran.run(xs, ys)
            before, after = np.mean(losses[AT - 100 : AT]), np.mean(losses[AT + 200 : AT + 300])
            assert before < nothing_learned / 2
            assert after < max(2 * before, nothing_learned / 2), (where, glitch)
            assert ran.health()["updates_scaled"] + ran.health()["updates_skipped"] > 0 or where == "x"


def test_without_the_guard_a_glitch_stops_adam_for_long():
    """The example of the documentation: the second moment forgets by a thousandth a step."""
    xs, ys = (array.copy() for array in stream())
    ys[AT] = 1e15
    unguarded, guarded = session(rtrl.Adam(1e-3)), session(rtrl.Adam(1e-3, clip_outliers=10.0))
    weights = []
    for each in (unguarded, guarded):
        each.run(xs[: AT + 100], ys[: AT + 100])
        before = flat(each.network.parameters())
        each.run(xs[AT + 100 :], ys[AT + 100 :])
        weights.append(np.abs(flat(each.network.parameters()) - before).max())
    assert weights[0] < 1e-2 * weights[1]


@every_width
@every_optimizer
def test_a_refused_update_changes_nothing(made, options, dtype):
    """All of it is refused, also what lies in other pieces of the parameters than the number that is too large."""
    largest = float(np.finfo(dtype).max)
    ran = session(made(**{**options, "lr": largest / 4 if made is rtrl.SGD else 0.1}), dtype)
    ran.advance([0.5])
    if made is rtrl.SGD:  # the step itself would be finite, and the weight would not
        ran.network.parameters()["readout.weight"][0, -1] = -largest
    before = numbers(ran)
    counted = ran.health()
    gradients = {name: np.zeros(view.shape) for name, view in ran.network.parameters().items()}
    gradients["readout.weight"][0, -1] = 2.0 if made is rtrl.SGD else largest / 2
    ran.apply(gradients)
    assert_same_bits(numbers(ran), before)
    assert ran.health()["updates_skipped"] == counted["updates_skipped"] + 1 and ran.health()["updates"] == counted["updates"]


@every_optimizer
def test_threads_agree_about_what_is_refused_and_scaled(made, options):
    xs, ys = (np.repeat(array[:, None], 3, 1) for array in stream(200))
    ys[[50, 90]] = np.reshape([9.96921e36, 1e4], (2, 1, 1))
    one, three = (session(made(**options, clip_outliers=5.0), batch_size=3, threads=threads) for threads in (1, 3))
    assert_same_bits(one.run(xs, ys), three.run(xs, ys))
    assert_same_bits(numbers(one), numbers(three))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_engine_and_reference_scale_alike(name):
    made, options = OPTIMIZERS[name]
    xs, ys = (array[:, None].copy() for array in stream(120))
    ys[[3, 40, 41, 80]] = np.reshape([1e3, 1e4, -1e6, 1e140], (4, 1, 1))
    ours = session(made(**options, clip_outliers=4.0, clip_norm=50.0), "float64", rtrl.RTRL())
    weights = ours.network.parameters()
    twin = reference.Learner(
        reference.GRU(12),
        reference.RTRL,
        [weights["cell.0.weight"]],
        reference.Linear(1),
        weights["readout.weight"],
        getattr(reference, made.__name__)(**options, clip_outliers=4.0, clip_norm=50.0),
    )
    losses = ours.run(xs, ys)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(losses, twin.run(xs, ys), rtol=1e-9)
    np.testing.assert_allclose(flat(weights), np.concatenate([W.ravel() for W in twin.parameters]), rtol=1e-8, atol=1e-12)
    assert ours.health()["updates_scaled"] == twin.optimizer.scaled > 0


def test_what_is_scaled_has_the_usual_norm_and_is_counted():
    """SGD with a rate of 1 moves by the gradient: norms 1 to 5, then one of 100 against a median of 3."""
    ran = session(rtrl.SGD(1.0, clip_outliers=2.0), "float64")
    ran.advance([0.0])
    unit = {name: np.zeros(view.shape) for name, view in ran.network.parameters().items()}
    unit["readout.weight"][0, -1] = 1.0
    moved = []
    for norm in (1, 2, 3, 0, 4, 5, 100, 5):
        before = ran.network.parameters()["readout.weight"][0, -1]
        ran.apply({name: norm * value for name, value in unit.items()})
        moved.append(before - ran.network.parameters()["readout.weight"][0, -1])
    np.testing.assert_allclose(moved, [1, 2, 3, 0, 4, 5, 6, 5])
    assert troubles(ran) == {"updates_scaled": 1}


def test_a_lasting_change_of_scale_is_followed():
    """An outlier is what differs from the last norms: after 16 large ones they are what is usual."""
    ran = session(rtrl.SGD(1e-6, clip_outliers=3.0))
    ran.advance([0.0])
    for norm in [1.0] * 31 + [1000.0] * 40:
        ran.apply({name: np.full(view.shape, norm) for name, view in ran.network.parameters().items()})
    assert ran.health()["updates_scaled"] == 16


def test_a_saved_session_remembers_what_is_usual(tmp_path):
    xs, ys = (array.copy() for array in stream(100))
    ys[60] = 1e4
    whole, parts = (session(rtrl.Adam(1e-3, clip_outliers=5.0)) for _ in range(2))
    losses = whole.run(xs, ys)
    first = parts.run(xs[:55], ys[:55])
    parts.save(tmp_path / "s")
    loaded = rtrl.Session.load(tmp_path / "s", threads=1)
    assert_same_bits(np.append(first, loaded.run(xs[55:], ys[55:])), losses)
    assert loaded.health() == whole.health() and loaded.health()["updates_scaled"] >= 1


@pytest.mark.parametrize("value", [0.5, 0.0, -1.0, float("nan"), "x", True])
def test_bad_options(value):
    with pytest.raises((TypeError, ValueError), match="clip_outliers must be"):
        rtrl.Adam(1e-3, clip_outliers=value)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_guard_that_never_acts_changes_no_bit(cell):
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(50, 3)), rng.integers(0, 4, 50)
    runs = []
    for options in ({}, {"clip_outliers": 1e6}):
        network = rtrl.Network(cell, 3, rtrl.Softmax(4), seed=2)
        runs.append(rtrl.Session(network, rtrl.KFRTRL(), rtrl.Adam(0.01, **options), threads=1).run(xs, ys))
    assert_same_bits(*runs)
