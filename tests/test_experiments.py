"""What every study shares: folders, sweeps, many runs at once, formats, progress."""

import concurrent.futures
import csv
import dataclasses
import io
import json
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

import rtrl
from rtrl.cli import main
from rtrl.comparison import progress
from rtrl.experiments import STUDIES, copy, store
from rtrl.experiments.perform import perform, perform_all
from rtrl.experiments.runs import Learning
from rtrl.experiments.store import Store, read_results

ROOT = Path(__file__).parents[1]
SETTINGS = copy.Settings(estimator=rtrl.UORO(), hidden=8, batch_size=2, lr=3e-3, steps=3000, window=100)
QUICK = ["experiment", "copy", "--hidden", "8", "--batch", "2", "--steps", "300", "--window", "100"]


class Kill(BaseException):
    """Ends a run in this process as a signal would: nothing catches it."""


def rows_of(folder):
    """Bytes of the rows of the only run below a folder."""
    (path,) = Path(folder).glob("**/rows.jsonl")
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The rows of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert perform(SETTINGS, folder).done
    return rows_of(folder)


# --- folders --------------------------------------------------------------------------------------------------------------


def test_more_steps_extend_a_run(tmp_path, whole):
    for steps in (700, 1000, 1950, 3000):  # 1950 ends in the middle of a window
        result = perform(dataclasses.replace(SETTINGS, steps=steps), tmp_path / str(steps > 1000), resume=True)
        assert result.done
        assert result.rows[-1]["step"] == result.work == steps
    assert [row["step"] for row in result.rows] == sorted([*range(100, 3001, 100), 1950])
    assert len(list(tmp_path.glob("*/*/run.json"))) == 2
    for steps in (700, 3000):
        perform(dataclasses.replace(SETTINGS, steps=steps), tmp_path / "even", resume=True)
    assert rows_of(tmp_path / "even") == whole


def test_a_run_with_more_to_do_is_not_done(tmp_path, monkeypatch):
    perform(dataclasses.replace(SETTINGS, steps=200), tmp_path)
    monkeypatch.setattr(Learning, "window", lambda *told: (_ for _ in ()).throw(Kill()))
    with pytest.raises(Kill):
        perform(SETTINGS, tmp_path, resume=True)
    (result,) = read_results(tmp_path)
    assert (result.step, result.work, result.done) == (200, 3000, False)


def test_results_are_not_overwritten(tmp_path, capsys):
    told = [*QUICK, "--estimators", "UORO", "--out", str(tmp_path)]
    assert main(told) == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
    assert main(told) == 1
    assert "has results: --resume goes on with them" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()} == before
    assert main([*told, "--resume"]) == 0  # there is nothing left to do
    assert {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()} == before


@pytest.mark.skipif(store.fcntl is None, reason="files cannot be locked here")
def test_a_folder_in_use_is_refused(tmp_path, capsys):
    told = [*QUICK, "--estimators", "UORO", "--out", str(tmp_path)]
    script = f"from rtrl.cli import main; raise SystemExit(main({[*told, '--resume']!r}))"
    first = Store(tmp_path / "copy", dataclasses.replace(SETTINGS, steps=300, lr=copy.Settings.lr))
    first.open(resume=False)
    try:
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        other = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **path}, capture_output=True, text=True
        )
        assert other.returncode == 1
        assert "is in use by another process" in other.stderr
    finally:
        first.close()
    assert main([*told, "--resume"]) == 0


def test_resume_needs_a_folder(capsys):
    with pytest.raises(SystemExit) as stop:
        main([*QUICK, "--resume"])
    assert stop.value.code == 2
    assert "--resume needs --out" in capsys.readouterr().err


# --- sweeps ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_is_all_combinations(tmp_path):
    told = ["--estimators", "UORO, OK(2)", "--sweep", "seed=0,1,1", "lr=1e-3,3e-3", "hidden=4,6"]
    assert main([*QUICK, "--steps", "100", *told, "--out", str(tmp_path)]) == 0
    found = {(each.settings["estimator"], *map(each.settings.get, ("seed", "lr", "hidden"))) for each in read_results(tmp_path)}
    assert found == {(e, s, lr, n) for e in ("UORO", "OK(2)") for s in (0, 1) for lr in (1e-3, 3e-3) for n in (4, 6)}


def test_a_sweep_may_list_estimators_with_options(tmp_path):
    assert main([*QUICK, "--sweep", "estimators=BlockOK(2, 3),UORO", "--out", str(tmp_path)]) == 0
    assert {each.settings["estimator"] for each in read_results(tmp_path)} == {"BlockOK(2, 3)", "UORO"}


def test_cells_are_told_as_estimators_are(tmp_path):
    """In a study as in a sweep, and the command of a run makes that run again."""
    told = ["--estimators", "UORO", "--sweep", "cell=rhn,RHN(8, depth=2),RNN(6, 'relu')", "--out", str(tmp_path)]
    assert main([*QUICK[:2], *QUICK[4:], *told]) == 0
    results = read_results(tmp_path)
    assert {(each.settings["cell"], each.settings["hidden"]) for each in results} == {
        ("rhn", 64),
        ("RHN(8, depth=2)", 8),
        ("RNN(6, 'relu')", 6),
    }
    for each in results:
        assert main([*shlex.split(each.about["command"])[3:], "--out", str(tmp_path / "again")]) == 0
    names = [{path.name for path in folder.glob("copy/*")} for folder in (tmp_path, tmp_path / "again")]
    assert names[0] == names[1]


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if hasattr(study.Settings, "cell")])
def test_a_cell_has_its_own_units_in_every_study(name):
    settings = STUDIES[name].Settings
    told = {"estimator": rtrl.UORO()} if hasattr(settings, "estimator") else {}
    made = settings(cell=rtrl.RHN(5, depth=2), **told)
    assert made.hidden == 5
    assert made.describe()["cell"] == "RHN(5, depth=2)"
    stream = types.SimpleNamespace(inputs=2, readout=rtrl.Softmax(2))
    assert (made.session(stream).network.cell if hasattr(made, "session") else made.made_cell) == rtrl.RHN(5, depth=2)


def test_names_of_runs_stay():
    """A folder is found again by a later version."""
    assert copy.Settings(estimator=rtrl.UORO()).name == "uoro-rhn-hidden-64-seed-0-e326d45c"
    assert STUDIES["noise"].Settings(estimator=rtrl.UORO(), hidden=8).name == "uoro-rhn-hidden-8-untrained-seed-0-40343a5e"
    assert STUDIES["kalman"].Settings().name == "kfrtrl-adam-brackets-gap-4-lr-scale-1.0-seed-0-9dd8b3c3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed=1,2", "NAME=A,B is needed with one of seed, "),
        ("seed", "seed: a whole number is needed"),
        ("seed=0,one", "seed: a whole number is needed; got 'one'"),
        ("seed=", "seed: a whole number is needed; got ''"),
        ("lr=0,1", "lr: a number above 0 is needed"),
        ("cell=rhn,mlp", "cell: 'mlp' is none of rhn"),
        ("seed=0 seed=1", "seed has two lists"),
        ("estimators=Guess", "there is no estimator 'Guess'"),
        ("batch_size=1", "NAME=A,B is needed"),  # the option's name is batch
    ],
)
def test_a_wrong_sweep_is_status_2(capsys, text, words):
    with pytest.raises(SystemExit) as stop:
        main([*QUICK, "--sweep", *text.split()])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


# --- many runs at once ----------------------------------------------------------------------------------------------------


class Mapping:
    """An executor that has nothing but `map`."""

    map = staticmethod(map)


@pytest.mark.parametrize(
    "executor",
    [
        lambda: concurrent.futures.ThreadPoolExecutor(2),
        lambda: concurrent.futures.ProcessPoolExecutor(2),
        Mapping,
    ],
)
def test_any_executor_gives_what_one_run_after_the_other_gives(tmp_path, executor):
    runs = [dataclasses.replace(SETTINGS, seed=seed, steps=300) for seed in range(3)]
    expected = [perform(each, tmp_path / "one").rows for each in runs]
    made = executor()
    found = list(perform_all(runs, tmp_path / "many", made))
    if hasattr(made, "shutdown"):
        made.shutdown()
    assert [each.settings["seed"] for each in found] == [0, 1, 2]
    assert [each.rows for each in found] == expected


def test_jobs_give_the_same_lines(tmp_path, capsys):
    pytest.importorskip("joblib")
    told = [*QUICK, "--estimators", "UORO, OK(2)", "--sweep", "seed=0,1", "--format", "json"]
    assert main(told) == 0
    expected = capsys.readouterr().out
    assert main([*told, "--jobs", "2", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == expected
    assert len(read_results(tmp_path)) == 4


def test_a_scheduler_gives_the_same_lines(tmp_path, capsys):
    distributed = pytest.importorskip("distributed")
    told = [*QUICK, "--estimators", "UORO", "--sweep", "seed=0,1", "--format", "json"]
    assert main(told) == 0
    expected = capsys.readouterr().out
    with distributed.LocalCluster(n_workers=2, processes=False, dashboard_address=None) as cluster:
        assert main([*told, "--scheduler", cluster.scheduler_address, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == expected
    with pytest.raises(SystemExit):
        main([*told, "--scheduler", "tcp://127.0.0.1:1"])
    assert "--scheduler needs --out" in capsys.readouterr().err


def test_a_scheduler_without_distributed_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*QUICK, "--scheduler", "tcp://127.0.0.1:1", "--out", str(tmp_path)]) == 1
    assert "pip install 'rtrl[cluster]'" in capsys.readouterr().err


def test_jobs_without_joblib_are_refused(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert main([*QUICK, "--jobs", "2"]) == 1
    assert "pip install 'rtrl[sweep]'" in capsys.readouterr().err


# --- what is shown --------------------------------------------------------------------------------------------------------


def test_formats(capsys):
    told = [*QUICK, "--estimators", "UORO", "--sweep", "seed=0,1"]
    assert main([*told, "--format", "json"]) == 0
    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [line.get("step") for line in lines] == [None, 100, 200, 300] * 2
    assert [line["settings"]["seed"] for line in lines[::4]] == [0, 1]
    assert main([*told, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    rows = [line for line in lines if "step" in line]
    assert [(int(row["step"]), float(row["bits"])) for row in table] == [(row["step"], row["bits"]) for row in rows]
    assert main(told) == 0
    assert "Longest string (bits) after so many steps" in capsys.readouterr().out


def test_lines_come_as_they_are_made(monkeypatch, capsys):
    """With --format json the line of a window is there before the next window begins."""
    shown, window = [], Learning.window

    def watching(self, tell):
        shown.append(capsys.readouterr().out)
        return window(self, tell)

    monkeypatch.setattr(Learning, "window", watching)
    assert main([*QUICK, "--estimators", "UORO", "--format", "json"]) == 0
    assert ["settings" in shown[0], '"step": 100' in shown[1], '"step": 200' in shown[2]] == [True] * 3
    assert '"step": 300' in capsys.readouterr().out


def test_resumed_lines_are_all_shown(tmp_path, capsys):
    told = ["--estimators", "UORO", "--out", str(tmp_path), "--resume", "--format", "json"]
    assert main([*QUICK, *told]) == 0
    first = capsys.readouterr().out.splitlines()[1:]
    assert main([*QUICK, *told, "--steps", "500"]) == 0
    assert capsys.readouterr().out.splitlines()[1:4] == first


@pytest.mark.parametrize(("sizes", "words"), [("4,6,8", "3 of 3 runs are done"), ("4,4096,6", "2 of 3 runs are done")])
def test_the_last_word_on_many_runs_is_how_many_are_done(capsys, monkeypatch, sizes, words):
    monkeypatch.setattr("rtrl.commands.experiment.Cores", lambda jobs: Mapping())
    told = ["--estimators", "RTRL", "--sweep", f"hidden={sizes}", "--steps", "20", "--window", "10", "--jobs", "2"]
    main([*QUICK[:2], *QUICK[4:], *told])
    assert [line for line in capsys.readouterr().err.splitlines() if "error" not in line] == [words]


def test_progress_has_a_rate_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_NEW_LINE", 0)
    assert main([*QUICK, "--estimators", "UORO, OK(2)", "--steps", "2000"]) == 0
    lines = capsys.readouterr().err.splitlines()
    pattern = r"copy: run 2 of 2, OK\(2\), rhn, .*: [\d,]+ of 2,000 steps, [\d,]+ steps/s, \d+ s left, strings of \d bits"
    assert any(re.fullmatch(pattern, line) for line in lines)
    assert lines[-1].startswith("copy: run 2 of 2") and "2,000 of 2,000 steps" in lines[-1]
