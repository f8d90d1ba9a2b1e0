"""The studies of a^n b^n and of distant brackets: what is learned at a tiny size, resuming, and the commands."""

import dataclasses

import numpy as np
import pytest

import rtrl
from rtrl import tasks
from rtrl.cli import main
from rtrl.experiments import anbn, brackets, strings
from rtrl.experiments.perform import perform
from rtrl.experiments.store import Result

TINY = {"steps": 3000, "window": 1000, "hidden": 6}


def test_defaults_are_the_settings_of_uoro():
    told = anbn.Settings(estimator=rtrl.UORO())
    session = told.session(told.stream())
    assert session.network.cell == rtrl.GRU(64)
    assert session.batch_size == 1
    assert [session.optimizer.lr(step) for step in (0, 10_000)] == pytest.approx([1e-3, 1e-3 / 4])
    weights = session.network.parameters()["cell.0.weight"][:64]
    assert np.std(weights[:, 64:67]) == pytest.approx(1, rel=0.2)
    assert np.abs(weights[:, :64]).max() < 1 / 8
    assert told.stream().floor == pytest.approx(5 / 35)
    assert brackets.Settings(estimator=rtrl.UORO()).stream().vocabulary == "[]\nabcdefghij"


def test_answers_are_the_repeated_letters():
    for s, k in ((1, 5), (3, 2)):
        stream = tasks.Brackets(s, k, 4)
        stream.take(7)
        xs, ys, _ = stream.take(5 * stream.length)
        losses = np.arange(len(ys), dtype=float)
        found = strings.answers(stream, 7, losses).astype(int)
        assert len(found) == 5 * s
        before = np.concatenate([xs[:, 0], ys[-1:, 0]])
        assert (ys[found[s:], 0] == before[found[s:] - s - k - 1]).all()
        assert (ys[found, 0] >= 3).all()


def test_counting_is_learned_to_less_than_guessing(tmp_path):
    """One value of k leaves nothing to chance: whoever counts to 3 has no loss, who knows the last letter alone has 0.94 bits."""
    at = {"low": 3, "high": 3, "hidden": 12, "steps": 4000, "window": 200, "lr": 0.01, "decay": 0.0}
    found = perform(anbn.Settings(estimator=rtrl.KFRTRL(), **at), tmp_path)
    assert found.rows[0]["bits"] > 0.6
    assert found.rows[-1]["bits"] < 0.1
    table = anbn.tables([found])[0]
    assert table.cells[0][2] == "loss per character (entropy 0.0000)"
    assert float(table.cells[1][2]) == pytest.approx(np.mean([row["bits"] for row in found.rows[-2:]]), abs=1e-4)


def test_letters_that_return_are_learned_within_the_window_alone(tmp_path):
    at = {"k": 2, "a": 2, "hidden": 12, "steps": 20_000, "window": 1000, "lr": 0.01, "decay": 0.0}
    for estimator, low, high in ((rtrl.RTRL(), 0, 0.3), (rtrl.TBPTT(2, sliding=True), 0.7, 1.3)):
        row = perform(brackets.Settings(estimator=estimator, **at), tmp_path).rows[-1]
        assert low <= row["answer_bits"] < high
        assert row["bits"] > brackets.Settings(estimator=estimator, **at).stream().floor - 0.05


@pytest.mark.parametrize("study", [anbn, brackets])
@pytest.mark.parametrize("estimator", [rtrl.KFRTRL(), rtrl.UORO(), rtrl.TBPTT(16)])
def test_resumed_runs_have_the_same_rows(tmp_path, study, estimator):
    whole = perform(study.Settings(estimator=estimator, **TINY), tmp_path / "whole").rows
    for steps in (1000, 2000, 3000):
        found = perform(study.Settings(estimator=estimator, **{**TINY, "steps": steps}), tmp_path, resume=True)
    assert found.rows == whole
    assert len(whole) == 3


def result(bits, seed=0, done=True, high=32):
    settings = {"estimator": "UORO", "steps": 100, "low": 1, "high": high, "seed": seed}
    return Result("anbn", settings, [{"step": 5 * i, "bits": each} for i, each in enumerate(bits, 1)], done=done)


def test_score_is_the_mean_of_the_last_tenth():
    done = [result([1.0] * 18 + [0.4, 0.2]), result([1.0] * 18 + [0.6, 0.6], seed=1)]
    assert anbn.tables(done)[0].cells[1] == ["UORO", "2", "0.4500 (0.3000 to 0.6000)"]
    unfinished = result([0.1] * 3, seed=2, done=False)
    assert anbn.tables([*done, unfinished])[0].cells[1][1:] == ["3", "0.4500 (0.3000 to 0.6000), 2 of 3 seeds"]
    assert anbn.tables([*done, unfinished])[1].cells[1][-1] == "0.400 (0.200 to 0.600), 2 of 3 seeds"
    assert anbn.tables([result([1.0] * 19 + [None])])[0].cells[1][2] == "1 failed"
    assert anbn.tables([unfinished])[0].cells[1][2] == "-"
    uneven = [{"step": step, "bits": bits} for step, bits in ((90, 1.0), (98, 0.4), (100, 0.9))]
    assert anbn.tables([dataclasses.replace(unfinished, rows=uneven, done=True)])[0].cells[1][2] == "0.5000"
    assert "entropy 0.1429, 0.2642" in anbn.tables([*done, result([1.0] * 20, high=9)])[0].cells[0][2]
    anbn.draw([*done, unfinished])


@pytest.mark.parametrize("study", ["anbn", "brackets"])
def test_command(tmp_path, capsys, study):
    arguments = ["experiment", study, "--estimators", "UORO, TBPTT(2)", "--sweep", "seed=0,1", "--hidden", "4", "--steps", "400"]
    assert main([*arguments, "--window", "40", "--out", str(tmp_path), "--plot"]) == 0
    shown = capsys.readouterr().out
    for words in ("Loss over the last 10% of a run (bits)", "TBPTT(2)", "entropy", "after so many steps", "decay 0.03"):
        assert words in shown
    assert ("loss of a repeated letter (chance 3.3219)" in shown) == (study == "brackets")
    assert (tmp_path / f"{study}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["anbn", "--low", "5", "--high", "4"], "--low must be at most --high", 2),
        (["anbn", "--low", "0"], "--low", 2),
        (["brackets", "--a", "27"], "--a", 2),
        (["brackets", "--estimators", "Guess"], "there is no estimator 'Guess'", 2),
    ],
)
def test_wrong_usage(capsys, arguments, words, status):
    try:
        assert main(["experiment", *arguments]) == status
    except SystemExit as stop:
        assert stop.code == status
    assert words in capsys.readouterr().err.splitlines()[-1]
