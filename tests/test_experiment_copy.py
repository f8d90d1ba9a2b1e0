"""String memorisation: what must hold of it at a tiny size, and the command as a user runs it."""

import csv
import io
import json
from dataclasses import replace

import pytest

import rtrl
from rtrl.cli import main
from rtrl.experiments import copy, perform
from rtrl.experiments.store import read_results

TINY = ["experiment", "copy", "--hidden", "16", "--lr", "3e-3", "--steps", "4000", "--window", "500"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("copy")
    assert main([*TINY, "--estimators", "BlockOK(4, 8), TBPTT(16, sliding=True), Immediate", "--out", str(out), "--plot"]) == 0
    return out


def test_what_is_remembered_is_learned_and_what_is_not_is_not(folder):
    longest = {each.settings["estimator"]: [row["longest"] for row in each.rows] for each in read_results(folder)}
    assert longest["BlockOK(4, 8)"][-1] >= 2
    assert longest["TBPTT(16, sliding=True)"][-1] >= 2
    assert longest["Immediate"] == [1] * 8  # a bit to repeat came three steps before, further than it can look
    for values in longest.values():
        assert values == sorted(values)


def test_rows_and_files(folder):
    for each in read_results(folder):
        assert each.done
        assert [row["step"] for row in each.rows] == list(range(500, 4001, 500))
        assert len(each.times) == 8
        assert each.about["command"].startswith("python -m rtrl experiment copy --estimators ")
    assert (folder / "copy.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_formats(capsys):
    assert main([*TINY, "--estimators", "UORO", "--steps", "1000", "--format", "json"]) == 0
    first, *rows = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["study"] == "copy"
    assert first["settings"]["estimator"] == "UORO"
    assert [row["step"] for row in rows] == [500, 1000]
    assert main([*TINY, "--estimators", "UORO", "--steps", "1000", "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["bits"]) for row in table] == [row["bits"] for row in rows]
    assert main([*TINY, "--estimators", "UORO", "--steps", "1000", "--sweep", "seed=0,1"]) == 0
    shown = capsys.readouterr().out
    assert "Longest string" in shown
    assert "seeds 0, 1" in shown


def test_stopped_and_resumed_anywhere(tmp_path, folder):
    """Each perform is a process of its own as far as the run can tell: nothing is left of the one before but its files."""
    settings = copy.Settings(estimator=rtrl.BlockOK(4, 8), hidden=16, lr=3e-3, window=500, steps=500)
    for steps in range(500, 4001, 1500):
        result = perform.perform(replace(settings, steps=steps), tmp_path, resume=True)
    result = perform.perform(replace(settings, steps=4000), tmp_path, resume=True)
    (whole,) = [each for each in read_results(folder) if each.settings["estimator"] == "BlockOK(4, 8)"]
    assert result.rows == whole.rows
    assert result.settings == whole.settings


def test_the_figure_says_what_it_shows(folder):
    figure = copy.draw(read_results(folder))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "time steps"
    assert axes.get_ylabel() == "longest string (bits)"
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "BlockOK(4, 8)",
        "TBPTT(16, sliding=True)",
        "Immediate",
    }
