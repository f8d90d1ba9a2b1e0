"""The forecast study: what must hold of it at a tiny size, and the command as a user runs it."""

import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import rtrl
from rtrl.cli import main
from rtrl.experiments import forecast, perform
from rtrl.experiments.forecast.models import RLS, LastValue
from rtrl.experiments.forecast.tables import best
from rtrl.experiments.store import Result, read_results

TINY = ["experiment", "forecast", "--steps", "1500", "--hidden", "12", "--lr", "3e-3", "--window", "100"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("forecast")
    models = "SnAp, TBPTT(8, sliding=True), RLS, LastValue"
    assert main([*TINY, "--models", models, "--ahead", "1,3", "--out", str(out), "--plot"]) == 0
    return out


def result(folder, model, ahead=1):
    (found,) = [each for each in read_results(folder) if each.settings["estimator"] == model and each.settings["ahead"] == ahead]
    return found


@pytest.mark.parametrize("ahead", [1, 3])
def test_nets_find_what_is_not_linear(folder, ahead):
    ratios = {name: [row["ratio"] for row in result(folder, name, ahead).rows] for name in ("SnAp", "RLS", "LastValue")}
    assert ratios["LastValue"] == [1.0] * 15
    assert max(ratios["RLS"][5:]) < 0.5
    assert np.mean(ratios["SnAp"][-5:]) < 0.8 * np.mean(ratios["RLS"][-5:])
    assert ratios["SnAp"][0] > ratios["SnAp"][-1]


def test_rows_and_files(folder):
    found = read_results(folder)
    assert len(found) == 8
    for each in found:
        assert each.done
        assert [row["step"] for row in each.rows] == list(range(100, 1501, 100))
        assert sum(row["scored"] for row in each.rows) == 1500 - each.settings["ahead"]
        total = sum(row["scored"] * row["mse"] for row in each.rows)
        assert each.rows[-1]["all_mse"] == pytest.approx(total / (1500 - each.settings["ahead"]), rel=1e-12)
        assert [sum(window["latency"].values()) for window in each.times] == [100] * 15
        assert each.about["command"].startswith("python -m rtrl experiment forecast --models ")
    assert (folder / "forecast.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("estimator", [rtrl.TBPTT(8, sliding=True), rtrl.SnAp(), RLS(), LastValue()])
def test_stopped_and_resumed_anywhere(tmp_path, folder, estimator):
    settings = forecast.Settings(estimator=estimator, hidden=12, lr=3e-3, window=100, ahead=3, steps=1500)
    part = replace(settings, steps=200)
    for steps in (200, 600, 1500):
        found = perform.perform(replace(part, steps=steps), tmp_path, resume=True)
    whole = [each for each in read_results(folder) if each.settings == settings.describe()]
    assert [found.rows] == [each.rows for each in whole]


def test_tables(folder, capsys):
    assert (
        main([*TINY, "--models", "Immediate, RLS, LastValue", "--ahead", "1,2", "--steps", "800", "--sweep", "lr=1e-3,1e-2"]) == 0
    )
    shown = capsys.readouterr().out
    for words in ("Mackey-Glass, 1 ahead: errors and latency", "squared error / RLS", "us, 95 %", "lr 0.01", "seeds 0"):
        assert words in shown
    glance, *details = forecast.tables(read_results(folder))
    assert set(glance.cells[0][1:]) == {"SnAp", "TBPTT(8, sliding=True)", "RLS", "LastValue"}
    assert [line[0] for line in glance.cells[1:]] == ["Mackey-Glass, 1 ahead", "Mackey-Glass, 3 ahead"]
    by_name = {line[0]: dict(zip(details[0].cells[0], line)) for line in details[0].cells[1:]}
    rows = result(folder, "SnAp").rows[6:]
    expected = sum(row["mse"] * row["scored"] for row in rows) / sum(row["last_mse"] * row["scored"] for row in rows)
    assert float(by_name["SnAp"]["squared error / last value"]) == pytest.approx(expected, abs=6e-4)
    assert by_name["LastValue"]["squared error / last value"] == by_name["RLS"]["squared error / RLS"] == "1.000"
    assert 0 < float(by_name["SnAp"]["us, 50 %"].replace(",", "")) <= float(by_name["SnAp"]["us, longest"].replace(",", ""))


def fabricated(lr, seed, errors, model="UORO"):
    """A run of 10 windows with these squared errors, where the last value's is 1."""
    rows = [
        {"step": 10 * (i + 1), "scored": 10, "mse": each, "mae": each, "last_mse": 1.0, "last_mae": 1.0, "ratio": each}
        for i, each in enumerate(errors)
    ]
    told = {"estimator": model, "series": "a/b.csv", "column": "x", "inputs": None, "ahead": 2, "steps": 100, "window": 10}
    return Result("forecast", {**told, "lr": lr, "seed": seed}, rows, [{"seconds": 1, "latency": {"500": 3}, "longest": 25.0}])


def test_choice_has_not_seen_what_is_scored():
    """Neither how a candidate begins nor how it ends counts, but what lies between 10 % and 40 % of the stream."""
    good = [fabricated(0.1, seed, [9.0] + [0.5] * 3 + [0.9] * 6) for seed in (0, 1)]
    bad = [fabricated(0.2, seed, [0.1] + [0.6] * 3 + [0.1] * 6) for seed in (0, 1)]
    failed = [fabricated(0.3, 0, [None] * 10), fabricated(0.3, 1, [0.1] * 10)]
    (models,) = best([*bad, *failed, *good]).values()
    assert models["UORO"] == good
    table = forecast.tables([*bad, *failed, *good])[0]
    assert table.title == "b x, 2 ahead: errors and latency"
    assert table.cells[1][:4] == ["UORO", "lr 0.1", "2", "0.900"]


def test_unfinished_and_failed_runs_are_shown(folder):
    begun, failed = fabricated(0.1, 0, [1.0]), fabricated(0.1, 1, [0.5] * 5 + [None] * 5)
    empty = fabricated(0.2, 0, [], "KFRTRL")
    for results in ([begun, failed], [empty], [begun, empty, *read_results(folder)]):
        assert forecast.tables(results)
        forecast.draw(results).canvas.draw()


def test_the_figure_says_what_it_shows(folder):
    figure = forecast.draw(read_results(folder))
    *panels, latency = figure.axes
    assert [axes.get_title() for axes in panels] == ["Mackey-Glass, 1 ahead", "Mackey-Glass, 3 ahead"]
    assert all(axes.get_xlabel() == "samples" and "last value" in axes.get_ylabel() for axes in panels)
    assert "microseconds" in latency.get_xlabel()
    names = {each.settings["estimator"] for each in read_results(folder)}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == names
    assert {text.get_text() for text in latency.get_yticklabels()} == names


def test_a_file_of_ones_own(tmp_path, capsys):
    times = np.arange(400) / 10
    lines = [f"{i};{np.sin(t):.6f};{np.cos(1.7 * t):.6f}".replace(".", ",") for i, t in enumerate(times)]
    path = tmp_path / "waves.csv"
    path.write_text("\n".join(['"i";"x";"y"', *lines]))
    command = ["experiment", "forecast", "--series", str(path), "--column", "x,y", "--ahead", "2", "--taps", "4"]
    assert main([*command, "--models", "RLS", "--format", "json"]) == 0
    first, *rows = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["settings"]["column"] == "x,y" and first["settings"]["estimator"] == "RLS"
    assert rows[-1]["step"] == 400  # all there are, though more were allowed
    assert rows[-1]["ratio"] < 1e-3


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--models", "Guess"], 2, "there is no estimator 'Guess'"),
        (["--models", "RLS(3)"], 2, "RLS(3)"),
        (["--models", ""], 2, "'' is not a name"),
        (["--ahead", "0"], 2, "--ahead"),
        (["--taps", "0"], 2, "--taps"),
        (["--forgetting", "1.5"], 2, "forgetting must be at most 1"),
        (["--column", "x"], 2, "need series"),
        (["--series", "/nowhere.csv"], 1, "/nowhere.csv"),
        (["--ahead", "200", "--steps", "200"], 2, "no target 200 samples ahead"),
        (["--batch", "4"], 2, "--batch"),
    ],
)
def test_wrong_usage(capsys, arguments, status, words):
    try:
        found = main(["experiment", "forecast", *arguments])
    except SystemExit as stop:
        found = stop.code
    assert found == status
    shown = capsys.readouterr()
    assert words in shown.err.splitlines()[-1]
    assert shown.out == ""


def test_files_that_do_not_fit_together(tmp_path, capsys):
    for name, samples in (("long", 130), ("short", 120)):
        (tmp_path / name).write_text("\n".join(["v", *map(str, range(samples))]))
    files = f"{tmp_path / 'long'},{tmp_path / 'short'}"
    with pytest.raises(SystemExit, match="2"):
        main(["experiment", "forecast", "--series", files])
    assert "different numbers of samples: 130, 120" in capsys.readouterr().err


# --- files of users -----------------------------------------------------------------------------------------------------


def command(*words):
    """Status, and last line of the errors, of a run of the command."""
    options = ("--ahead", "1", "--window", "50", "--hidden", "4", "--checkpoint", "0")
    line = [sys.executable, "-m", "rtrl", *words[:2], *(() if words[0] == "report" else options), *words[2:]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, (done.stderr.strip().splitlines() or [""])[-1]


def series(path, values, header="v"):
    path.write_text("\n".join([header, *map(str, values)]) + "\n")
    return path


NOISE = np.random.default_rng(0).normal(size=300).round(3)


def test_another_series_under_the_same_name_is_not_mixed_in(tmp_path):
    path, out = tmp_path / "t.csv", tmp_path / "out"
    words = ("experiment", "forecast", "--series", str(series(path, NOISE)), "--models", "UORO", "--out", str(out))
    assert command(*words, "--steps", "150")[0] == 0
    series(path, 1000 - 37 * NOISE)
    status, _, told = command(*words, "--steps", "300", "--resume")
    assert status == 1 and "the first 150 samples of" in told and "t.csv are not those that this run has read" in told
    series(path, [*NOISE, *NOISE])  # a file that has grown is the same series
    assert command(*words, "--steps", "300", "--resume")[0] == 0


def test_results_of_another_series_do_not_stand_beside_new_ones(tmp_path):
    path, out = series(tmp_path / "t.csv", NOISE), tmp_path / "out"
    done = forecast.Settings(estimator=LastValue(), series=str(path), window=50)
    perform.perform(done, out)
    series(path, [*NOISE[:200], 1, *NOISE[201:]])
    with pytest.raises(ValueError, match="cannot be resumed: the first 300 samples of .*t.csv are not those"):
        perform.perform(replace(done), out, resume=True)
    series(path, [*NOISE, *NOISE])
    assert perform.perform(replace(done, steps=200), out, resume=True).step == 300  # it is done, and more than that
    assert perform.perform(replace(done), out, resume=True).step == 600


@pytest.mark.parametrize("change", [lambda path: series(path, [*NOISE, *NOISE]), lambda path: series(path, ["-"]), os.remove])
def test_what_becomes_of_a_file_while_a_run_is_at_work_does_not_matter(tmp_path, change):
    path = series(tmp_path / "t.csv", NOISE)
    settings = forecast.Settings(estimator=LastValue(), series=str(path), window=50)
    result = perform.perform(settings, tmp_path / "out", show=lambda row: change(path) if row["step"] == 100 else None)
    assert (result.step, result.work, result.done) == (300, 300, True)


def test_settings_travel_without_their_samples(tmp_path):
    settings = forecast.Settings(estimator=LastValue(), series=str(series(tmp_path / "t.csv", NOISE)))
    sent = pickle.dumps(settings)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).samples()[0][:, 0], NOISE)


@pytest.mark.parametrize(
    ("names", "words"), [("", "one is empty"), ("a,,b", "one is empty"), ('"a,b', "list of names"), ("a\nb", "list")]
)
def test_lists_of_names_that_are_none(tmp_path, names, words):
    with pytest.raises(ValueError, match=words):
        forecast.Settings(estimator=LastValue(), series=names)


def test_a_file_that_changed_is_read_again(tmp_path):
    path = series(tmp_path / "t.csv", NOISE)
    for values in (NOISE, -NOISE, NOISE[:200]):
        series(path, values)
        settings = forecast.Settings(estimator=rtrl.UORO(), series=str(path))
        np.testing.assert_array_equal(settings.samples()[0][:, 0], values)


def test_a_series_that_does_not_change_has_no_ratio(tmp_path):
    day = [3, 4, 6, 9, 12, 13, 11, 8, 5, 4, 3, 2, 2, 3, 5, 7, 8, 7, 5, 4]
    for name, values, ahead in (("timetable", day * 10, "1,20"), ("stuck", [3.5] * 200, "1")):
        path, out = series(tmp_path / f"{name}.csv", values), tmp_path / name
        words = ("--series", str(path), "--models", "LastValue, RLS", "--ahead", ahead, "--out", str(out))
        status, table, told = command("experiment", "forecast", *words)
        assert status == 0, told
        assert re.search(r"^LastValue +1 .*- .*- ", table, re.M)
        assert command("report", str(out), "--out", str(tmp_path / "page.md"))[0] == 0


def test_names_with_commas_are_quoted(tmp_path):
    header, rows = '"temp, outside",day', [f"{i % 7},{i}" for i in range(200)]
    path = series(tmp_path / "a,b.csv", rows, header)
    settings = forecast.Settings(estimator=rtrl.UORO(), series=f'"{path}"', column='"temp, outside"', inputs="day")
    np.testing.assert_array_equal(settings.samples()[0], np.stack([np.arange(200) % 7, np.arange(200)], 1))
    status, table, told = command(
        "experiment", "forecast", "--series", f'"{path}"', "--column", '"temp, outside"', "--models", "LastValue"
    )
    assert status == 0 and "a,b" in table, told
