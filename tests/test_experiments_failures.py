"""Runs that lose their numbers, do not fit, or stop half-way, and what becomes of the others."""

import json

import numpy as np
import pytest

import rtrl
from rtrl import tasks
from rtrl.cli import main
from rtrl.experiments import balancing, charlm, copy, curves, forecast, kalman, store
from rtrl.experiments.kalman import page
from rtrl.experiments.perform import Refused, perform, perform_all
from rtrl.experiments.store import Result, read_results

# --- sessions that have lost their numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [np.nan, np.inf, 1e308])
def test_copy_goes_on_without_numbers(loss):
    stream = tasks.Copy(2, seed=1)
    for _ in range(50):
        xs, _, _ = stream.take(10)
        stream.learned(np.full(len(xs), loss))
    assert stream.longest == 1
    json.dumps(stream.state(), allow_nan=False)


@pytest.fixture
def without_numbers(monkeypatch):
    """Networks that begin with weights that are no numbers."""
    monkeypatch.setattr(rtrl.Network, "_initialise", lambda network, *_: network._flat.fill(np.nan))


@pytest.mark.parametrize(("task", "answers"), [("brackets", 2), ("recall", 5)])
def test_a_run_without_numbers_has_an_infinite_score(without_numbers, tmp_path, task, answers):
    told = {"method": "KFRTRL + SGD", "task": task, "gap": 2, "steps": 400, "window": 20}
    with pytest.warns(RuntimeWarning, match="not finite"):
        found = perform(kalman.Settings(**told), tmp_path)
    assert page.score(found) == np.inf
    assert found.rows[-1] == {"step": 400, "bits": None, "answer_bits": None, "answers": answers}


def test_a_forecast_without_numbers_is_kept_and_resumed(without_numbers, tmp_path):
    told = {"estimator": rtrl.UORO(), "ahead": 3, "cell": "lstm", "hidden": 4}
    with pytest.warns(RuntimeWarning, match="not finite"):
        for steps in (700, 1000):
            found = perform(forecast.Settings(steps=steps, **told), tmp_path, resume=True)
    assert found.done
    assert found.rows[-1]["all_ratio"] is None
    assert found.rows[-1]["all_last_mse"] > 0


# --- tables and figures of what there is ----------------------------------------------------------------------------------


def test_a_mean_says_how_many_seeds_it_is_of():
    assert curves.spread([1.0, 2.0], "{:.1f}", 3) == "1.5 (1.0 to 2.0), 2 of 3 seeds"
    assert curves.spread([1.0, None], "{:.1f}", 2) == "1.0, 1 failed"
    assert curves.spread([None, None], "{:.1f}", 3) == "2 of 3 seeds, 2 failed"
    assert curves.spread([], "{:.1f}", 3) == "-"


def test_a_figure_of_runs_that_have_nothing_to_show_yet(tmp_path):
    told = {"study": "charlm", "settings": {"estimator": "UORO", "seed": 0}}
    runs = [Result(**told, rows=[{"step": 100, "bits": 2.0}]), Result(**told, rows=[{"step": 100, "bits": 2.0, "valid": 3.0}])]
    for some in (runs[:1], runs, runs[1:]):
        figure = charlm.draw(some)
        figure.canvas.draw()
        (curve,) = figure.axes[0].lines
        assert len(curve.get_xdata()) == (len(some) == 1 and "valid" in some[0].rows[0])


def test_results_from_before_a_setting():
    old, new = ({"estimator": "UORO", "seed": seed} for seed in (0, 1))
    runs = [Result("copy", told, [{"step": 10, "longest": 1}], done=True) for told in (old, {**new, "gain": None})]
    assert "seeds 0, 1" in copy.tables(runs)[-1]


# --- runs that cannot start -----------------------------------------------------------------------------------------------

SWEEP = ["experiment", "copy", "--batch", "2", "--steps", "20", "--window", "10", "--sweep", "hidden=4,4096,6"]


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
def test_the_others_go_on_where_one_run_does_not_fit(tmp_path, capsys, jobs):
    if jobs:
        pytest.importorskip("joblib")
    told = [*SWEEP, "--estimators", "RTRL", "--out", str(tmp_path), *jobs]
    assert main(told) == 1
    shown = capsys.readouterr()
    assert "hidden 4 " in shown.out and "hidden 6 " in shown.out
    assert "RTRL, rhn, hidden 4096, seed 0: this needs" in shown.err.splitlines()[-1]
    assert [each.settings["hidden"] for each in read_results(tmp_path)] == [4, 6]  # nothing is left of the third
    assert main([*told, "--resume", "--format", "json"]) == 1
    steps = [json.loads(line).get("step") for line in capsys.readouterr().out.splitlines()]
    assert [step for step in steps if step] == [10, 20] * 2


def test_scripts_are_told_after_the_others_are_done(tmp_path):
    runs = [copy.Settings(estimator=rtrl.RTRL(), batch_size=2, steps=10, hidden=hidden) for hidden in (4096, 4, 4097)]
    found = perform_all(runs, tmp_path, type("Mapping", (), {"map": staticmethod(map)}))
    assert next(found).settings["hidden"] == 4
    with pytest.raises(
        Refused, match="2 runs cannot start: RTRL, rhn, hidden 4096, seed 0: this needs .*; RTRL, rhn, hidden 4097"
    ):
        next(found)


def test_a_study_in_stages_ends_where_no_run_starts(capsys):
    told = ["--methods", "RTRL + Adam", "--gaps", "2", "--lr-scale", "1,3", "--seeds", "0,2", "--steps", "10", "--window", "10"]
    assert main(["experiment", "kalman", *told, "--hidden", "4096"]) == 1
    assert "2 runs cannot start" in capsys.readouterr().err
    runs = [kalman.Settings(method="RTRL + Adam", hidden=hidden, seed=seed) for hidden in (4, 4096) for seed in (0, 2)]
    assert kalman.stage(runs, [Result("kalman", runs[0].describe())]) == [runs[1]]


def test_tables_are_shown_where_the_figure_cannot_be_written(tmp_path, capsys):
    (tmp_path / "copy.png").mkdir()
    assert main([*SWEEP, "--estimators", "UORO", "--sweep", "hidden=4", "--out", str(tmp_path), "--plot"]) == 1
    shown = capsys.readouterr()
    assert "Longest string" in shown.out
    assert "copy.png: Is a directory" in shown.err


def test_a_run_that_ended_early_is_done_after_more_steps_were_asked_for(tmp_path):
    """theta has run away: there is nothing left to do, however long the run should be."""
    told = {"estimator": rtrl.TBPTT(1), "lr": 1e-3}
    for steps in (2000, 3000):
        found = perform(balancing.Settings(steps=steps, **told), tmp_path, resume=True)
        assert (found.rows[-1]["away"], found.done, found.step) == (True, True, steps)


# --- folders that something has happened to -------------------------------------------------------------------------------


def test_all_that_have_worked_on_a_run_are_named(tmp_path, monkeypatch):
    told = {"estimator": rtrl.UORO(), "hidden": 4, "window": 10}
    for steps, level in ((10, "one"), (20, "one"), (30, "two")):
        monkeypatch.setattr(store.rtrl, "show_config", lambda mode, level=level: {"rtrl": "1.0", "cpu level": level})
        found = perform(copy.Settings(steps=steps, **told), tmp_path, resume=True)
    assert (found.about["version"], found.about["cpu_level"]) == ("1.0", "one, then two")


@pytest.mark.parametrize("name", ["rows", "times"])
def test_a_folder_that_has_lost_lines_is_refused(tmp_path, name):
    told = {"estimator": rtrl.UORO(), "hidden": 4, "window": 10}
    perform(copy.Settings(steps=20, **told), tmp_path)
    (path,) = tmp_path.glob(f"*/{name}.jsonl")
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    with pytest.raises(ValueError, match=f"is damaged: {name}.jsonl is shorter"):
        perform(copy.Settings(steps=40, **told), tmp_path, resume=True)
    assert {each: each.read_bytes() for each in path.parent.iterdir()} == before


def test_a_text_that_has_changed_is_refused(tmp_path):
    path = tmp_path / "text"
    told = {"estimator": rtrl.UORO(), "hidden": 4, "window": 10, "validate_every": 10, "text": str(path)}
    path.write_text("a stitch in time saves nine " * 10)
    perform(charlm.Settings(steps=10, **told), tmp_path)
    path.write_text("a stitch in time saves mine " * 10)
    with pytest.raises(ValueError, match="texts are not those that the run began with"):
        perform(charlm.Settings(steps=20, **told), tmp_path, resume=True)


def test_what_is_done_is_not_started_again(tmp_path, monkeypatch):
    settings = copy.Settings(estimator=rtrl.UORO(), hidden=4, window=10, steps=20)
    rows, shown = perform(settings, tmp_path).rows, []
    monkeypatch.setattr(copy.Settings, "start", None)
    assert perform(settings, tmp_path, resume=True, show=shown.append).rows == rows == shown
