"""What forecasts: nothing is known before its time, late targets are learned exactly, RLS is least squares."""

import dataclasses

import numpy as np
import pytest

import rtrl
from rtrl.experiments.forecast import scaling
from rtrl.experiments.forecast.latency import Times, percentile
from rtrl.experiments.forecast.models import RLS, LastValue, models
from rtrl.experiments.forecast.study import Settings, Stream

SMALL = {"hidden": 6, "taps": 3, "window": 25}


def series(path, columns, name="series.csv"):
    """A file with columns a, b, ..."""
    header = ";".join("abcdef"[: columns.shape[1]])
    lines = [";".join(map(repr, map(float, row))) for row in columns]
    (path / name).write_text("\n".join([header, *lines]) + "\n")
    return str(path / name)


def walk(samples=160, columns=2, seed=0):
    return np.random.default_rng(seed).normal(size=(samples, columns)).cumsum(0)


def finished(settings):
    run = settings.start()
    rows = []
    while run.step < run.steps:
        rows += run.window(lambda step: None)[0]
    return run, rows


# Standardising


@pytest.mark.parametrize("lookback", [0, 20])
def test_running_moments_are_those_of_the_past(lookback):
    values = walk() + 1e6
    result = scaling.standardised(values, lookback)
    assert not result[0].any()
    for t in (1, 5, 19, 100):
        if not lookback or t < lookback:
            past = values[: t + 1]
            np.testing.assert_allclose(result[t], (values[t] - past.mean(0)) / past.std(0), rtol=1e-6)
    if lookback:  # far from the beginning, exponential weights
        weights = 0.95 ** np.arange(160)[::-1]
        mean = weights @ values / weights.sum()
        deviation = np.sqrt(weights @ (values - mean) ** 2 / weights.sum())
        np.testing.assert_allclose(result[-1], (values[-1] - mean) / deviation, rtol=0.01)


@pytest.mark.parametrize("ahead", [1, 4])
def test_changes_are_in_units_of_past_changes(ahead):
    values = walk()
    scaled, scale = scaling.changes(values, ahead, 0)
    assert not scaled[:ahead].any() and not scale[:ahead].any()
    for t in (ahead, 30, 159):
        past = values[ahead : t + 1] - values[: t + 1 - ahead]
        np.testing.assert_allclose(scale[t], np.sqrt((past**2).mean(0)), rtol=1e-12)
        np.testing.assert_allclose(scaled[t] * scale[t], past[-1], rtol=1e-12)


def test_constant_columns_are_0():
    values = np.full((50, 1), 3.7)
    assert not scaling.standardised(values, 10).any()
    assert not any(each.any() for each in scaling.changes(values, 2, 10))


@pytest.mark.parametrize("shows", ["changes", "values"])
def test_what_models_are_shown(tmp_path, shows):
    values = walk(columns=3)
    file = series(tmp_path, values)
    stream = Stream(Settings(estimator=RLS(), series=file, column="b,a", inputs="c", taps=3, shows=shows, ahead=2))
    ordered = values[:, [1, 0, 2]]
    np.testing.assert_array_equal(stream.values, ordered[:, :2])
    newest = scaling.standardised(ordered, 1000)
    older = newest[1:] if shows == "values" else scaling.changes(ordered, 1, 1000)[0][2:]
    assert stream.shown.shape == (160, 9) and stream.inputs == 9 and stream.readout == rtrl.Linear(2)
    for t in (10, 159):
        last = (newest[t], newest[t - 1], newest[t - 2]) if shows == "values" else (newest[t], older[t - 2], older[t - 3])
        np.testing.assert_array_equal(stream.shown[t], np.concatenate(last))
    assert not stream.shown[0, 3:].any()


# Runs


@pytest.mark.parametrize("ahead", [1, 5])
@pytest.mark.parametrize("name", ["RLS", "KFRTRL", "TBPTT(4)"])
def test_the_future_changes_no_forecast(tmp_path, name, ahead):
    """Two series that differ from sample 100 on: rows up to there are the same, and so are the forecasts that wait there."""
    values, other = walk(columns=1), walk(columns=1)
    other[100:] *= -3
    runs = []
    for i, each in enumerate((values, other)):
        file = series(tmp_path, each, f"{i}.csv")
        run = Settings(estimator=models(name)[0], series=file, ahead=ahead, **SMALL).start()
        rows = [row for _ in range(4) for row in run.window(lambda step: None)[0]]
        runs.append((rows, run._forecasts[100 : 100 + ahead]))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert runs[0][0][-1]["scored"] == 25


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("estimator", [rtrl.RTRL(), rtrl.UORO(), rtrl.TBPTT(5)])
def test_late_targets_are_learned_as_if_they_were_not_late(tmp_path, estimator, ahead):
    """The session ends bit for bit where one ends that was given every sample together with its target."""
    file = series(tmp_path, walk())
    settings = Settings(estimator=estimator, series=file, column="a,b", ahead=ahead, **SMALL)
    run, _ = finished(settings)
    stream = Stream(settings)
    session = settings.session(stream)
    session.network.parameters()["readout.weight"][...] = 0
    session.run(stream.shown[:-ahead], stream.scaled[ahead:])
    assert session.steps == run._model.session.steps == 160 - ahead
    for name, weights in session.network.parameters().items():
        np.testing.assert_array_equal(weights, run._model.session.network.parameters()[name])
    np.testing.assert_array_equal(session.hidden, run._model.session.hidden)
    # The forecast for the sample after the last: from there through what was not read.
    expected = stream.values[-1] + stream.scale[-1] * session.predict_run(stream.shown[-ahead:])[-1, 0]
    np.testing.assert_array_equal(run._forecasts[-1], expected)


@pytest.mark.parametrize(("name", "least"), [("RLS", 0.01), ("SnAp", 0.1)])
def test_forecasts_belong_to_their_samples(tmp_path, name, least):
    """Where x[t + 3] = -x[t] and nothing else is known, a model that sees x[t] alone is right 3 ahead and not 2 ahead."""
    pieces = np.random.default_rng(0).normal(size=3)
    values = np.concatenate([(-1) ** i * pieces for i in range(400)])
    values[::150] = np.random.default_rng(1).normal(size=8)  # no constant pattern to remember
    file = series(tmp_path, values[:, None])
    told = {"estimator": models(name)[0], "series": file, "taps": 1, "lr": 0.01, "window": 50, "hidden": 12, "cell": "rnn"}
    right = finished(Settings(ahead=3, **told))[1][-1]
    assert right["ratio"] < least
    assert right["ratio"] == right["mse"] / right["last_mse"]
    if name == "RLS":
        assert finished(Settings(ahead=2, **told))[1][-1]["ratio"] > 0.2


def test_errors_are_in_the_units_of_the_series(tmp_path):
    values = walk(columns=2) * [3.0, 50.0]
    file = series(tmp_path, values)
    (*_, row) = finished(Settings(estimator=LastValue(), series=file, column="a,b", ahead=4, window=40))[1]
    missed = values[4:] - values[:-4]
    assert row["all_mse"] == row["all_last_mse"] == pytest.approx((missed**2).mean(), rel=1e-12)
    assert row["all_mae"] == pytest.approx(np.abs(missed).mean(), rel=1e-12)
    assert row["mse"] == pytest.approx((missed[-40:] ** 2).mean(), rel=1e-12)
    assert row["all_ratio"] == row["ratio"] == 1


def test_several_files_are_columns(tmp_path):
    first, second = walk(columns=2), walk(columns=2, seed=1)
    files = ",".join(series(tmp_path, each, f"{i}.csv") for i, each in enumerate((first, second)))
    values, targets = Settings(estimator=LastValue(), series=files, column="b", inputs="a").samples()
    np.testing.assert_array_equal(values, np.stack([first[:, 1], second[:, 1], first[:, 0], second[:, 0]], 1))
    assert targets == 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_net_that_bursts_has_rows_without_numbers():
    burst = {"optimizer": "sgd", "lr": 1e200, "clip_norm": 0, "dtype": "float64"}
    rows = finished(Settings(estimator=rtrl.Immediate(), steps=300, ahead=2, **burst))[1]
    assert rows[-1]["mse"] is None and rows[-1]["all_ratio"] is None and rows[-1]["last_mse"] > 0


def test_a_baseline_forgets_what_it_does_not_look_at():
    told = {"series": None, "lr": 0.5, "hidden": 9, "forgetting": 0.9, "taps": 5}
    assert Settings(estimator=RLS(), **told) == Settings(estimator=RLS(), forgetting=0.9, taps=5)
    assert Settings(estimator=LastValue(), **told) == Settings(estimator=LastValue())
    assert Settings(estimator=RLS(), seed=1).seed == 1  # the synthetic series depends on it
    assert Settings(estimator=rtrl.UORO(), **told).lr == 0.5


# RLS


@pytest.mark.parametrize("forgetting", [1.0, 0.97])
def test_rls_is_weighted_least_squares(forgetting):
    """Its weights solve the normal equations, every square weighted with forgetting^age, with a ridge that fades alike."""
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(200, 4)), rng.normal(size=(200, 2))
    settings = dataclasses.replace(Settings(estimator=RLS()), forgetting=forgetting, ridge=0.5)
    model = RLS().start(settings, 4, 2)
    for i in range(200):
        forecast = model.step(features[i], targets[i], features[i : i + 1])
    phi = np.concatenate([features, np.ones((200, 1))], 1)
    weights = forgetting ** np.arange(200)[::-1]
    moments = (phi.T * weights) @ phi + 0.5 * forgetting**200 * np.eye(5)
    expected = np.linalg.solve(moments, (phi.T * weights) @ targets)
    np.testing.assert_allclose(forecast, phi[-1] @ expected, rtol=1e-8)


def test_rls_stays_bounded_where_nothing_happens():
    rng = np.random.default_rng(0)
    model = RLS().start(Settings(estimator=RLS(), forgetting=0.9), 2, 1)
    quiet = np.zeros(2)
    for _ in range(5000):
        model.step(quiet, np.zeros(1), quiet[None])
    for x in rng.normal(size=(50, 2)):
        forecast = model.step(x, x[:1] + 1e-6 * rng.normal(size=1), np.ones((1, 2)))
    assert forecast == pytest.approx([1], abs=0.01)
    assert np.trace(model._inverse) <= 3 / 0.9


# Latency


def test_percentiles_of_added_counts():
    times, rng = (Times(), Times()), np.random.default_rng(0)
    values = np.exp(rng.normal(10, 1, 2000)).astype(int)
    for i, value in enumerate(values):
        times[i % 2].add(int(value))
    for share in (0.5, 0.95, 1.0):
        found = percentile([each.counts for each in times], share)
        assert found == pytest.approx(np.quantile(values, share, method="inverted_cdf") / 1000, rel=0.011)
    assert max(each.longest for each in times) == values.max() / 1000
    assert percentile([], 0.5) is None
