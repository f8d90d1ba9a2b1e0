"""The study of span against truncation: what its methods are, the control, and the command."""

import copy
import json

import numpy as np
import pytest

import rtrl
from rtrl.cli import main
from rtrl.experiments import kalman
from rtrl.experiments.kalman.methods import DEFAULTS, Method, methods
from rtrl.experiments.kalman.scrambled import Scrambled
from rtrl.experiments.perform import perform

FILTER = "NoBackTrack('kalman') + Kalman"
TINY = {"steps": 600, "window": 200, "hidden": 4}


def rows(tmp_path, **changes):
    return perform(kalman.Settings(**{**TINY, **changes}), tmp_path).rows


# Methods


def test_texts_of_methods_are_what_they_are_known_by():
    assert methods(", ".join(DEFAULTS)) == DEFAULTS
    assert methods("KFRTRL+Adam,scrambled  KFRTRL(average=2)+SGD(momentum=0.5)") == (
        "KFRTRL + Adam",
        "scrambled KFRTRL(average=2) + SGD(momentum=0.5)",
    )
    assert methods("RTRL + Kalman(trust=1.0, warm_up=5)") == ("RTRL + Kalman(trust=1.0, warm_up=5)",)
    made = Method.parse("NoBackTrack('kalman') + Kalman('quasi-diagonal', decay=0.01)")
    assert made.made_optimizer(0.2, clip_norm=1.0) == rtrl.Kalman(0.2, "quasi-diagonal", decay=0.01)
    assert Method.parse("UORO + Adam").made_optimizer(0.2, clip_norm=1.0) == rtrl.Adam(0.2, clip_norm=1.0)
    assert Method.parse("UORO + SGD(clip_norm=2.0)").made_optimizer(0.2) == rtrl.SGD(0.2, clip_norm=2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("KFRTRL", "no method"),
        ("KFRTRL + Adam + SGD", "no method"),
        ("Guess + Adam", "there is no estimator 'Guess'"),
        ("KFRTRL + Guess", "there is no optimizer 'Guess'"),
        ("KFRTRL + Adam(lr=0.1)", "--lr-scale"),
        ("KFRTRL + Adam(2, 3, 4, 5, 6, 7)", "Adam"),
        ("NoBackTrack('kalman') + Adam", "needs the metric"),
        ("scrambled " + FILTER + "(fisher='exact')", "fisher='outer'"),
    ],
)
def test_texts_that_are_no_methods(text, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        Method.parse(text)
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        kalman.Settings(method=text)


# The control


class _Unscrambled:
    """Signs that are all +1, and a state of theirs."""

    bit_generator = np.random.PCG64(0)

    def random(self, count):
        return np.ones(count)


@pytest.mark.parametrize("method", ["KFRTRL + Adam", FILTER])
@pytest.mark.parametrize("task", ["brackets", "recall"])
def test_control_with_signs_that_are_all_plus_is_the_method(tmp_path, monkeypatch, method, task):
    plain = rows(tmp_path, method=method, task=task)
    start = Scrambled.__init__

    def unscrambled(self, settings):
        start(self, settings)
        self.signs = _Unscrambled()

    monkeypatch.setattr(Scrambled, "__init__", unscrambled)
    assert rows(tmp_path, method=f"scrambled {method}", task=task) == plain
    assert plain[0]["answer_bits"] != plain[-1]["answer_bits"]


def test_control_turns_what_is_carried_and_nothing_else():
    """A net without an influence from earlier steps has nothing to scramble; with one, the weights go another way."""
    for estimator, same in (("Immediate", True), ("RTRL", False)):
        runs = [kalman.Settings(method=f"{words}{estimator} + SGD", **TINY).start() for words in ("", "scrambled ")]
        for run in runs:
            run.window(lambda step: None)
        assert np.array_equal(runs[1].session.hidden, runs[1].twin.hidden)
        (plain, _), (control, _) = [[*run.session.network.parameters().values()] for run in runs]
        assert np.allclose(plain, control, atol=1e-6) == same


def test_gradient_of_the_control(monkeypatch):
    """eps = -1 at every step: the applied gradient is 2 immediate - exact, and the estimator goes on as it was."""
    run = kalman.Settings(method="scrambled RTRL + SGD", gap=2, dtype="float64", **TINY).start()
    exact = rtrl.Session(copy.deepcopy(run.session.network), rtrl.RTRL())
    now = exact.shadow(rtrl.Immediate())
    applied = []
    monkeypatch.setattr(rtrl.Session, "apply", lambda self, gradients: applied.append(gradients))
    monkeypatch.setattr(run, "signs", type("Minus", (), {"random": staticmethod(np.zeros)}))
    xs, ys, resets = run.stream.take(12)
    run.learn(xs, ys, resets)
    for x, y, gradients in zip(xs, ys, applied):
        exact.step(x, y)
        whole = exact.gradient()
        assert gradients["readout.weight"] == pytest.approx(whole["readout.weight"])
        for name, immediate in now.gradient().items():
            assert gradients[name] == pytest.approx(2 * immediate - whole[name], abs=1e-14)
    assert len(applied) == 12


# Runs


@pytest.mark.parametrize("method", [FILTER, "scrambled " + FILTER, "scrambled KFRTRL + Adam", "TBPTT(5, sliding=True) + Adam"])
@pytest.mark.parametrize("task", ["brackets", "recall"])
def test_resumed_runs_have_the_same_rows(tmp_path, method, task):
    whole = rows(tmp_path / "whole", method=method, task=task, decay=0.01)
    for steps in (200, 400, 600):
        found = perform(kalman.Settings(**{**TINY, "steps": steps}, method=method, task=task, decay=0.01), tmp_path, resume=True)
    assert found.rows == whole
    assert len(whole) == 3


def test_answers_are_those_of_the_task():
    """One loss of a string is 1 bit, and it is the one that is counted."""
    run = kalman.Settings(gap=4, **TINY).start()
    run.step = 11
    assert run.row(np.full(11, np.nan))["answer_bits"] is None
    # "[" cue "]" 4 letters "[": the next target is the answer, at place 7 of 11.
    losses = np.full(11, 5.0)
    losses[7] = np.log(2)
    assert run.row(losses) == {"bits": pytest.approx((50 / np.log(2) + 1) / 11), "answer_bits": pytest.approx(1), "answers": 1}
    recall = kalman.Settings(gap=4, task="recall", **TINY).start()
    xs, ys, _ = recall.stream.take(6)
    assert (ys[:, 0] >= 0).tolist() == [False] * 5 + [True]
    assert recall.row(np.where(ys[:, 0] < 0, np.nan, np.log(2)))["answers"] == 1


def test_exact_gradient_learns_what_truncation_and_control_cannot(tmp_path):
    """Span 3 at a tiny size: with the whole gradient the answer is learned, without it it stays at chance (1 bit)."""
    at = {"gap": 1, "symbols": 2, "hidden": 8, "steps": 12_000, "window": 1000, "lr_scale": 30.0}
    ends = {name: rows(tmp_path, method=f"{name} + Adam", **at)[-1]["answer_bits"] for name in ("RTRL", "TBPTT(2, True)")}
    ends["scrambled"] = rows(tmp_path, method="scrambled RTRL + Adam", **at)[-1]["answer_bits"]
    assert ends["RTRL"] < 0.2
    assert ends["TBPTT(2, True)"] > 0.7
    assert ends["scrambled"] > 0.7


def test_command(tmp_path, capsys):
    arguments = ["experiment", "kalman", "--methods", f"KFRTRL + Adam, scrambled {FILTER}", "--gaps", "2,3", "--seeds", "0,2,3"]
    arguments += ["--sweep", "task=brackets,recall", "lr-scale=0.3,1", "--steps", "200", "--window", "20", "--hidden", "3"]
    assert main([*arguments, "--out", str(tmp_path), "--plot"]) == 0
    shown = capsys.readouterr().out
    assert "Brackets: loss of the answer in bits, 2.32 by chance" in shown
    for words in ("Recall: loss", "gap 3, span 5", "gap 3, span 4", "*", "All runs: cell gru"):
        assert words in shown
    assert (tmp_path / "kalman.png").read_bytes()[:4] == b"\x89PNG"
    stored = [json.loads(path.read_text()) for path in tmp_path.glob("kalman/*/run.json")]
    # The tuning seed at 2 rates and 2 others at the chosen one, for 2 tasks, methods and gaps.
    assert len(stored) == 2 * 2 * 2 * (2 + 2)
    assert main([*arguments, "--out", str(tmp_path), "--resume"]) == 0
    assert capsys.readouterr().out == shown
    assert {each["settings"]["lr"] for each in stored} == {3e-4, 9e-5, 1e-3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "KFRTRL"], "no method"),
        (["--methods", ","], "at least one method"),
        (["--gaps", "0"], "--gaps"),
        (["--gaps", "2,,4"], "--gaps"),
        (["--task", "latch"], "--task"),
        (["--lr-scale", "0"], "--lr-scale"),
        (["--seeds", "0,x"], "--seeds"),
    ],
)
def test_wrong_usage_is_status_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(["experiment", "kalman", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
