"""Runs that are killed, and resumed to the same bits."""

import dataclasses
import os
import signal
import sys

import pytest
from kills import killed, rows_of

import rtrl
from rtrl.cli import main
from rtrl.experiments import copy, store
from rtrl.experiments.perform import perform
from rtrl.experiments.runs import Learning
from rtrl.experiments.store import read_result, read_results

SETTINGS = copy.Settings(estimator=rtrl.UORO(), hidden=8, batch_size=2, lr=3e-3, steps=3000, window=100)


class Kill(BaseException):
    """Ends a run in this process as a signal would: nothing catches it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The rows of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert perform(SETTINGS, folder).done
    return rows_of(folder)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize("checkpoint", [["--checkpoint", "0"], []])
def test_a_killed_command_is_resumed_to_the_same_bits(tmp_path, checkpoint):
    # Long enough that the last kill comes before the end: 300 windows, of which the third kill waits for 60.
    told = ["experiment", "copy", "--hidden", "32", "--batch", "8", "--steps", "30000", "--window", "100", "--lr", "3e-3"]
    told += ["--estimators", "UORO"]
    command = [sys.executable, "-m", "rtrl", *told, "--out", str(tmp_path / "killed"), "--resume", *checkpoint]
    reached = []
    for lines in (1, 20, 60):
        assert killed(command, tmp_path / "killed", lines) == -signal.SIGKILL
        reached.append(read_results(tmp_path / "killed")[0].step)
    if checkpoint:
        assert 0 < reached[1] < reached[2] < 30000
    else:
        assert reached == [0, 0, 0]  # killed before the first minute is over: nothing but the beginning can be gone back to
    assert main([*told, "--out", str(tmp_path / "killed"), "--resume"]) == 0
    assert main([*told, "--out", str(tmp_path / "whole")]) == 0
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")


def replacing(calls, when):
    """os.replace that kills at a certain call, before or after its work."""
    replace, made = os.replace, []

    def replaced(source, target):
        made.append(target)
        if len(made) == calls and when == "before":
            raise Kill
        replace(source, target)
        if len(made) == calls:
            raise Kill

    return replaced


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("calls", [1, 2, 3, 17])  # 1 is run.json, the others are checkpoints
def test_a_kill_while_files_are_replaced(tmp_path, monkeypatch, whole, calls, when):
    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", replacing(calls, when))
        with pytest.raises(Kill):
            perform(SETTINGS, tmp_path, every=0)
    assert perform(SETTINGS, tmp_path, resume=True, every=0).done
    assert rows_of(tmp_path) == whole


@pytest.mark.parametrize("at", [100, 1500, 3000])
def test_a_kill_while_a_checkpoint_is_written(tmp_path, monkeypatch, whole, at):
    save = Learning.save

    def cut(self, path):
        save(self, path)
        if self.step == at:
            path.write_bytes(path.read_bytes()[:1000])
            raise Kill
        return {"step": self.step, "stream": self.stream.state()}

    with monkeypatch.context() as patch:
        patch.setattr(Learning, "save", cut)
        with pytest.raises(Kill):
            perform(SETTINGS, tmp_path, every=0)
    assert read_results(tmp_path)[0].step == at - 100
    assert perform(SETTINGS, tmp_path, resume=True, every=0).done
    assert rows_of(tmp_path) == whole
    assert [path.name for path in tmp_path.glob("*/step-*")] == ["step-3000.npz"]


def test_lines_that_a_kill_cut_short(tmp_path, whole):
    perform(dataclasses.replace(SETTINGS, steps=1000), tmp_path)
    (path,) = tmp_path.glob("*/rows.jsonl")
    with open(path, "ab") as file:
        file.write(b'{"step": 1100, "longest": 1, "bits": 1.0}\n{"step": 12')
    found = read_result(path.parent)
    assert [row["step"] for row in found.rows] == list(range(100, 1101, 100))  # the cut line is left out
    assert perform(SETTINGS, tmp_path, resume=True).done
    assert path.read_bytes() == whole  # and what came after the checkpoint has been done again
