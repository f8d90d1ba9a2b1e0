"""Tables and figure of the Kalman study, and the choice of learning rates."""

import numpy as np

from rtrl.experiments import kalman
from rtrl.experiments.kalman import page
from rtrl.experiments.store import Result


def result(scores, done=True, **changes):
    told = kalman.Settings(**changes).describe()
    rows = [
        {"step": i * told["steps"] // len(scores), "bits": 1.0, "answer_bits": each, "answers": 5}
        for i, each in enumerate(scores, 1)
    ]
    return Result("kalman", told, rows, done=done)


def test_rates_are_chosen_by_tuning_seeds_and_scored_by_others():
    """A rate that only the other seeds like is not chosen, and the tuning seeds' losses are not reported."""
    results = [
        result([2.0] * 9 + [score], lr_scale=scale, seed=seed)
        for scale, scores in ((0.3, (1.0, 1.2, 0.1, 0.1)), (1.0, (0.5, 0.6, 1.5, 1.9)), (3.0, (0.4, 2.0, 0.2, 0.2)))
        for seed, score in enumerate(scores)
    ]
    (cell,) = page.tuned(results).values()
    assert cell == {"lr": 3e-4, "edge": False, "scores": [1.5, 1.9], "chance": np.log2(5)}
    text = kalman.tables(results)
    assert text[0].cells[1] == ["KFRTRL + Adam", "1.70 (1.50 to 1.90)"]
    assert text[1].cells[1][1] == "0 of 2"
    assert text[2].cells[1][1] == "0.0003"
    alone = [each for each in results if each.settings["seed"] < 2]
    assert [table.cells[1][1] for table in kalman.tables(alone)[:3]] == ["-", "-", "0.0003"]
    results[0].done = False
    assert page.tuned(results) == {}
    assert "1 of 12 runs" in kalman.tables(results)[-1]
    assert "1 pairs of method and gap are left out" in kalman.tables(results)[-1]
    kalman.draw(results)


def test_fresh_seeds_run_at_the_chosen_rate_alone():
    runs = [
        kalman.Settings(gap=gap, lr_scale=scale, seed=seed) for gap in (2, 4) for scale in (0.3, 1.0) for seed in (0, 1, 2, 3)
    ]
    first = kalman.stage(runs, [])
    assert [each.seed for each in first] == [0, 1] * 4
    best = {2: 0.3, 4: 1.0}
    results = [
        result([float(each.lr_scale != best[each.gap])] * 10, gap=each.gap, lr_scale=each.lr_scale, seed=each.seed)
        for each in first
    ]
    second = kalman.stage(runs, results)
    assert [(each.gap, each.lr_scale, each.seed) for each in second] == [(2, 0.3, 2), (2, 0.3, 3), (4, 1.0, 2), (4, 1.0, 3)]
    results += [Result("kalman", each.describe()) for each in second]
    assert kalman.stage(runs, results) == []
    fresh = [each for each in runs if each.seed > 1]
    assert kalman.stage(fresh, []) == fresh


def test_runs_that_differ_in_other_settings_are_not_mixed():
    found = page.tuned([result([1.0] * 10, seed=2, hidden=hidden) for hidden in (4, 8)])
    assert [method for _, method, _ in found] == ["KFRTRL + Adam, hidden 4", "KFRTRL + Adam, hidden 8"]
    assert page.tuned([result([1.0] * 9 + [None], seed=2)]).popitem()[1]["scores"] == [np.inf]


def test_chance_is_that_of_the_alphabet():
    """0.7 bits are little among four symbols, not among two; the order of the runs does not matter."""
    results = [result([0.7] * 10, seed=2, symbols=symbols) for symbols in (4, 2)]
    losses, learned, *_ = kalman.tables(results)
    assert "1.00 or 2.00 by chance" in losses.title
    assert dict(learned.cells[1:]) == {"KFRTRL + Adam, symbols 4": "1 of 1", "KFRTRL + Adam, symbols 2": "0 of 1"}
    lines = kalman.draw(results).axes[2].get_lines()
    assert {1.0, 2.0} <= {line.get_ydata()[0] for line in lines}
    assert kalman.tables(results[::-1])[0].title == losses.title
