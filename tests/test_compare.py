"""The comparison: what is measured, against numbers that are known, and the command as a user runs it."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rtrl
from rtrl import data
from rtrl.cli import main
from rtrl.comparison import Settings, Task, compare, gradients, learning, measuring, memory, report
from rtrl.comparison.progress import Progress
from rtrl.comparison.settings import ESTIMATORS

SMALL = Settings(cell=rtrl.RHN(8), batch_size=4, steps=600, reset_every=50)
WORDS = "the quick brown fox jumps over the lazy dog; " * 40


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(WORDS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def task():
    ids, vocabulary = data.encode(WORDS)
    return Task("words", ids, len(vocabulary))


@pytest.fixture(scope="module")
def result(task):
    return compare(SMALL, task)


def row(result, name):
    return next(each for each in result["rows"] if each["estimator"] == name)


# --- measurements -----------------------------------------------------------------------------------------------------


def test_learning_in_pieces_is_one_run(task):
    settings = dataclasses.replace(SMALL, steps=237)
    told = []
    learned = learning.learn(settings, task, rtrl.UORO(), 0.25 / 50, told.append)
    losses = settings.session(task, rtrl.UORO()).run(*task.batch(4, 237), settings.resets(237))
    assert told == [50, 100, 150, 200, 237]
    assert learned.score == pytest.approx(losses[-47:].mean() / np.log(2), rel=1e-12)
    assert learned.health["updates"] == 237


def test_gradients_against_exact_rtrl(task):
    which = (rtrl.RTRL(), rtrl.TBPTT(3000), rtrl.TBPTT(1), rtrl.Immediate(), rtrl.KFRTRL(), rtrl.UORO())
    small = gradients.SmallNet(SMALL, task)
    quality = {each: small.against_exact(each) for each in which}
    for exact in which[:2]:
        assert quality[exact]["cosine"] == pytest.approx(1, abs=1e-9)
        assert quality[exact]["relative_error"] < 1e-9
    assert quality[which[2]] == pytest.approx(quality[which[3]])
    assert 0.2 < quality[rtrl.Immediate()]["cosine"] < 0.999
    assert quality[rtrl.UORO()]["cosine"] + 0.1 < quality[rtrl.KFRTRL()]["cosine"] < 0.999
    assert quality[rtrl.KFRTRL()]["relative_error"] < quality[rtrl.UORO()]["relative_error"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc to tell the resident memory of a moment")
def test_peak_memory_follows_the_exact_bytes(task):
    big = dataclasses.replace(SMALL, cell=rtrl.RHN(48), batch_size=8)
    ballast = np.ones(30_000_000)  # 240 MB in this process, which the other must not count
    peak = memory.peak_memory(big, task, rtrl.RTRL(), 0.1)
    counted = big.session(task, rtrl.RTRL()).nbytes["total"]
    assert counted > 10e6
    assert abs(peak["peak"] - peak["before"] - counted) < 4e6
    assert peak["before"] < 0.8 * ballast.nbytes


def test_memory_process_that_fails_is_reported(task, monkeypatch):
    monkeypatch.setenv("RTRL_CPU_LEVEL", "abacus")
    with pytest.raises(RuntimeError, match="status 1: ImportError: RTRL_CPU_LEVEL is 'abacus'"):
        memory.peak_memory(SMALL, task, rtrl.UORO(), 1e-4)


def test_memory_process_ends_with_whoever_waits_for_it(task, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    started, popen = [], subprocess.Popen
    monkeypatch.setattr(memory.subprocess, "Popen", lambda *told, **how: started.append(popen(*told, **how)) or started[0])
    monkeypatch.setattr(memory, "_LOOK", 0.0)
    with pytest.raises(KeyboardInterrupt):
        memory.peak_memory(SMALL, task, rtrl.UORO(), 1e-9, interrupt)
    assert started[0].returncode not in (None, 0)


def test_rows_are_complete_and_consistent(result):
    assert [each["estimator"] for each in result["rows"]] == [str(each) for each in ESTIMATORS]
    assert [each["kind"] for each in result["rows"]] == ["biased"] * 8 + ["unbiased"] * 9 + ["exact"]
    assert [each["optimizer"] for each in result["rows"]].count("Kalman") == 1
    base = row(result, "TBPTT(25)")
    for each in result["rows"]:
        assert all(each[name] is not None for name in each if not name.startswith("peak")), each
        assert each["time_ratio"] == pytest.approx(each["us_per_step"] / base["us_per_step"])
        assert each["memory_ratio"] == pytest.approx(each["total_bytes"] / base["total_bytes"])
    assert row(result, "Immediate")["influence_bytes"] == 0
    assert row(result, "TBPTT(25)")["updates"] == 600 // 25
    assert row(result, "RTRL")["updates"] == 600
    assert result["notes"] == []


def test_results_repeat_apart_from_times(result, task):
    again = compare(SMALL, task)
    for name in ("score", "cosine", "relative_error", "total_bytes", "influence_bytes"):
        assert [each[name] for each in again["rows"]] == [each[name] for each in result["rows"]]
    other = compare(dataclasses.replace(SMALL, seed=5, estimators=(rtrl.UORO(),)), task)
    assert other["rows"][0]["score"] != row(result, "UORO")["score"]


def test_results_do_not_depend_on_how_many_are_measured_at_once(result, task, monkeypatch):
    for cpus in (1, 5):
        monkeypatch.setattr(measuring, "available_threads", lambda cpus=cpus: cpus)
        again = compare(SMALL, task)
        for name in ("score", "cosine", "relative_error", "updates"):
            assert [each[name] for each in again["rows"]] == [each[name] for each in result["rows"]]


def test_the_cheapest_come_first(task, monkeypatch):
    monkeypatch.setattr(measuring, "available_threads", lambda: 1)
    times = {rtrl.RTRL(): 3e-4, rtrl.OK(4): 2e-4, rtrl.Immediate(): 1e-4}
    settings = dataclasses.replace(SMALL, estimators=(*times, rtrl.UORO()))  # UORO has no session
    found = dict(measuring.measure(settings, task, times, Progress()))
    assert list(found) == [rtrl.Immediate(), rtrl.OK(4), rtrl.RTRL(), rtrl.UORO()]
    assert [each.learned is None for each in found.values()] == [False, False, False, True]


def test_rows_are_shown_when_they_are_finished(task):
    shown, which = [], (rtrl.RTRL(), rtrl.UORO(), rtrl.Immediate())
    settings = dataclasses.replace(SMALL, estimators=which)
    result = compare(settings, task, show=lambda result, row: shown.append(dict(row)))
    assert sorted(shown, key=lambda row: [str(each) for each in which].index(row["estimator"])) == result["rows"]
    lines = [report.line(result, row) for row in shown]
    table = report.render(result, "table").splitlines()
    assert all(any(line.split() == each.split() for each in table) for line in lines)
    assert len(set(map(len, lines))) == 1
    assert report.in_short(result, row(result, "RTRL")).startswith("RTRL: ")
    assert "us/step, gradient cosine 1.000, learned " in report.in_short(result, row(result, "RTRL"))


def waiting(settings, task, estimator, seconds, tell):
    """Learns until nobody waits for it any more."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        tell(1)
        time.sleep(0.01)
    raise AssertionError("nobody has said that it should end")


def test_a_failure_of_one_ends_all(task, monkeypatch):
    def failing(settings, task, estimator, seconds, tell):
        if estimator == rtrl.UORO():
            raise RuntimeError("no luck")
        waiting(settings, task, estimator, seconds, tell)

    monkeypatch.setattr(measuring, "available_threads", lambda: 2)
    monkeypatch.setattr(learning, "learn", failing)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no luck"):
        compare(dataclasses.replace(SMALL, estimators=(rtrl.UORO(), rtrl.KFRTRL())), task)
    assert threading.active_count() == before


def test_an_interruption_ends_all(task, monkeypatch):
    def interrupting(self, message):
        if message.startswith("learning"):
            raise KeyboardInterrupt

    monkeypatch.setattr(learning, "learn", waiting)
    monkeypatch.setattr(Progress, "show", interrupting)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        compare(dataclasses.replace(SMALL, estimators=(rtrl.UORO(), rtrl.KFRTRL())), task, Progress())
    assert threading.active_count() == before


def test_filter_in_place_of_adam(task):
    settings = dataclasses.replace(SMALL, filter=True, lr=3e-3, estimators=(rtrl.TBPTT(5), rtrl.KFRTRL()))
    rows = compare(settings, task)["rows"]
    assert [each["optimizer"] for each in rows] == ["Kalman"] * 2
    assert [each["learning_rate"] for each in rows] == pytest.approx([5e-3, 1e-3])
    adam = compare(dataclasses.replace(settings, filter=False), task)["rows"]
    for mine, other in zip(rows, adam, strict=True):
        assert mine["score"] != other["score"]
        assert mine["cosine"] == other["cosine"]  # against the same small net


def test_both_unbiased_estimators_learn(task):
    settings = dataclasses.replace(SMALL, cell=rtrl.RHN(24), batch_size=8, steps=4000, lr=2e-3)
    xs, ys = task.batch(8, 800, 3200)
    unigram = next(iter(task.references(xs, ys).values()))
    which = (rtrl.UORO(), rtrl.KFRTRL(), rtrl.RTRL())
    scores = [learning.learn(settings, task, each, 1e-4, lambda *_: None).score for each in which]
    assert unigram - 0.2 > scores[0] > scores[1] > scores[2] > 0
    assert scores[1] < unigram / 2


def test_what_does_not_fit_is_refused_with_its_bytes(task, monkeypatch):
    session = Settings.session

    def refusing(settings, task, estimator):
        if isinstance(estimator, rtrl.RTRL):
            raise MemoryError("this needs 70 GiB")
        return session(settings, task, estimator)

    monkeypatch.setattr(Settings, "session", refusing)
    settings = dataclasses.replace(SMALL, estimators=(rtrl.TBPTT(25), rtrl.RTRL()))
    result = compare(settings, task)
    refused = row(result, "RTRL")
    assert refused["influence_bytes"] == settings.exact_influence_bytes(task)
    for name in ("us_per_step", "time_ratio", "total_bytes", "memory_ratio", "peak_bytes", "score"):
        assert refused[name] is None
    assert refused["cosine"] == pytest.approx(1)
    assert result["notes"] == ["RTRL was neither timed nor trained: this needs 70 GiB."]
    assert "RTRL" in report.render(result, "table")


def test_impatience_skips_learning_only(task):
    result = compare(dataclasses.replace(SMALL, patience=0.0, estimators=(rtrl.UORO(),)), task)
    assert result["rows"][0]["score"] is None
    assert result["rows"][0]["us_per_step"] > 0
    assert "UORO was timed but not trained: 600 steps" in result["notes"][0]


def test_guards_are_reported_and_losses_that_are_no_numbers_left_out(task):
    result = compare(dataclasses.replace(SMALL, steps=100, lr=3e37, estimators=(rtrl.Immediate(),)), task)
    assert result["rows"][0]["score"] is None
    assert result["notes"] == ["Immediate: guards of the session acted while it learned: loss not finite 376."]
    assert json.loads(report.render(result, "json")) == result


# --- the command ------------------------------------------------------------------------------------------------------


QUICK = ["--hidden", "6", "--batch", "3", "--steps", "200", "--estimators", "TBPTT(25),KFRTRL"]


def test_command_on_a_text_writes_all_files(text_file, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    choices = ["--cell", "gru", "--optimizer", "kalman", "--out", str(out), "--format", "json"]
    assert main(["compare", "--text", str(text_file), *QUICK, *choices]) == 0
    shown = capsys.readouterr().out
    assert sorted(os.listdir(out)) == ["compare.csv", "compare.json", "compare.txt"]
    assert (out / "compare.json").read_text() == shown
    saved = json.loads(shown)
    assert saved["configuration"]["cell"] == "GRU(hidden=6)"
    assert saved["configuration"]["batch_size"] == 3
    assert {row["optimizer"] for row in saved["rows"]} == {"Kalman"}
    assert saved["environment"] == rtrl.show_config("dicts")
    assert "bits/char" in (out / "compare.txt").read_text()


@pytest.mark.parametrize(
    ("told", "cell"),
    [
        (["--cell", "RHN(6, depth=3)"], rtrl.RHN(6, depth=3)),
        (["--cell", 'RNN(6, "relu")'], rtrl.RNN(6, "relu")),
        (["--cell", "RHN(6)", "--hidden", "6"], rtrl.RHN(6)),
        (["--cell", "rhn", "--hidden", "6", "--depth", "2"], rtrl.RHN(6, depth=2)),
    ],
)
def test_cells_are_told_as_estimators_are(text_file, capsys, told, cell):
    small = ["--batch", "2", "--steps", "60", "--estimators", "UORO", "--format", "json"]
    assert main(["compare", "--text", str(text_file), *told, *small]) == 0
    assert json.loads(capsys.readouterr().out)["configuration"]["cell"] == repr(cell)


def test_command_on_a_series(tmp_path, capsys):
    path = tmp_path / "waves.csv"
    path.write_text("t;x\n" + "".join(f"{i};{np.sin(i / 5):.3f}\n".replace(".", ",") for i in range(300)))
    arguments = ["--hidden", "6", "--steps", "200", "--estimators", "KFRTRL", "--depth", "2", "--dtype", "float64"]
    arguments += ["--sparsity", "0.5"]
    assert main(["compare", "--series", str(path), "--column", "x", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "MSE/variance" in shown
    assert "predicting the last value" in shown
    assert "1 lane x 200 steps" in shown
    assert "RHN(hidden=6, depth=2)" in shown
    assert "float64" in shown
    assert "50% of the cell's weights do not exist" in shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_rows_as_they_come_and_the_table_at_the_end(text_file, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["compare", "--text", str(text_file), *QUICK]) == 0
    rows, *table = sys.stdout.getvalue().split("\n\n")
    first, second, rule, *lines = rows.splitlines()
    assert (first.split()[0], second.split()[0], set(rule)) == ("estimator", "us/step", {"-"})
    assert sorted(line.split()[0] for line in lines) == ["KFRTRL", "TBPTT(25)"]
    assert [part.split()[0] for part in table] == ["data", "estimator", "kind"]
    assert {" ".join(line.split()) for line in lines} <= {" ".join(line.split()) for line in table[1].splitlines()}


def test_elsewhere_finished_rows_are_told_on_stderr(text_file, capsys):
    assert main(["compare", "--text", str(text_file), *QUICK, "--format", "csv"]) == 0
    shown = capsys.readouterr()
    assert sorted(line.split(":")[0] for line in shown.err.splitlines()) == ["KFRTRL", "TBPTT(25)"]
    assert len(shown.out.splitlines()) == 3
