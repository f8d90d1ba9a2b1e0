"""Runs that lose their numbers, do not fit, or stop half-way, and what becomes of the others."""

import json

import numpy as np
import pytest

from rtrl import tasks
from rtrl.experiments import kalman
from rtrl.experiments.kalman import page
from rtrl.experiments.perform import perform

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
