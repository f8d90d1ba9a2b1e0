"""Runs that lose their numbers, do not fit, or stop half-way, and what becomes of the others."""

import json

import numpy as np
import pytest

import rtrl
from rtrl import tasks
from rtrl.experiments import charlm, copy, curves, forecast, kalman
from rtrl.experiments.kalman import page
from rtrl.experiments.perform import perform
from rtrl.experiments.store import Result

# --- sessions that have lost their numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [np.nan, np.inf, 1e308])
def test_copy_goes_on_without_numbers(loss):
    stream = tasks.Copy(2, seed=1)
    for _ in range(50):
        xs, _, _ = stream.take(10)
        stream.learned(np.full(len(xs), loss))
    assert stream.longest == 1
    json.dumps(stream.state(), allow_nan=False)


@pytest.mark.parametrize(("task", "answers"), [("brackets", 2), ("recall", 5)])
def test_a_run_without_numbers_has_an_infinite_score(tmp_path, task, answers):
    told = {"method": "KFRTRL + SGD", "task": task, "gap": 2, "steps": 400, "window": 20, "lr_scale": 1e38}
    with pytest.warns(RuntimeWarning, match="not finite"):
        found = perform(kalman.Settings(**told), tmp_path)
    assert page.score(found) == np.inf
    assert found.rows[-1] == {"step": 400, "bits": None, "answer_bits": None, "answers": answers}


def test_a_forecast_without_numbers_is_kept_and_resumed(tmp_path):
    told = {"estimator": rtrl.UORO(), "ahead": 3, "cell": "lstm", "hidden": 4, "lr": 1e38}
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
