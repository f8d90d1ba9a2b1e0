"""Folders of results that are damaged, or made on purpose: one sentence that names the place, and nothing outside is touched."""

import json
import os
import shutil

import pytest

from rtrl.cli import main
from rtrl.experiments.store import read_result

COPY = ["experiment", "copy", "--hidden", "4", "--batch", "1", "--window", "100", "--estimators", "UORO", "--resume"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of 300 steps."""
    out = tmp_path_factory.mktemp("whole")
    assert main([*COPY, "--steps", "300", "--out", str(out)]) == 0
    return out


@pytest.fixture
def out(whole, tmp_path):
    """A copy of it that may be damaged."""
    return shutil.copytree(whole, tmp_path / "out")


@pytest.fixture
def run(out):
    """The folder of its only run."""
    (found,) = (out / "copy").iterdir()
    return found


def edit(path, **changes):
    """Change entries of a JSON file; None: take one out."""
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, run, *arguments):
    """The only line of a command that fails, which names the folder of the run; nothing in it has changed."""
    before = contents(run)
    capsys.readouterr()
    assert main(list(arguments)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert run.name in error
    assert contents(run) == before
    return error


STATES = [
    ("", "Expecting value"),
    ("[]", "an object in braces is needed; got []"),
    ("{}", "step is missing"),
    ("[" * 100_000, "state.json: "),
    ({"step": "x"}, "step must be a whole number; got 'x'"),
    ({"step": True}, "step must be a whole number; got True"),
    ({"step": -1}, "step must be between 0 and"),
    ({"rows": -5}, "rows must be between 0 and"),
    ({"times": 1.5}, "times must be a whole number"),
    ({"rows": float("nan")}, "NaN is no number"),
    ({"rows": 10**9}, "rows.jsonl is shorter than at the last checkpoint"),
    ({"steps": "300"}, "steps must be a whole number"),
    ({"unit": 3}, "unit must be text"),
    ({"state": [1]}, "state must be an object in braces"),
    ({"state": None}, "state is missing"),
    ({"file": None}, "file is missing"),
    ({"file": 3}, "file must be the name of a checkpoint"),
    ({"file": "/etc/passwd"}, "file must be the name of a checkpoint"),
    ({"file": "../step-300.npz"}, "file must be the name of a checkpoint"),
    ({"file": "step-300.npz/../../x"}, "file must be the name of a checkpoint"),
]


@pytest.mark.parametrize(("change", "words"), STATES)
def test_a_damaged_state_is_named(out, run, capsys, change, words):
    edit(run / "state.json", **change) if isinstance(change, dict) else (run / "state.json").write_text(change)
    for told in (["report", str(out)], [*COPY, "--steps", "400", "--out", str(out)]):
        assert words in refused(capsys, run, *told)


RUNS = [
    ("[]", "an object in braces is needed"),
    (b"\xff\xfe", "run.json: "),
    ({"title": None}, "title is missing"),
    ({"study": 3}, "study must be text"),
    ({"settings": [1]}, "settings must be an object in braces"),
    ({"settings": {"seed": [0]}}, "settings: seed must be a word or a number"),
    ({"command": "python 'x"}, "No closing quotation"),
    ({"command": " "}, "command is empty"),
    ({"work": -1}, "work must be between"),
    ({"version": 1}, "version must be text"),
]


@pytest.mark.parametrize(("change", "words"), RUNS)
def test_a_damaged_description_is_named(out, run, capsys, change, words):
    path = run / "run.json"
    edit(path, **change) if isinstance(change, dict) else path.write_bytes(getattr(change, "encode", lambda: change)())
    for told in (["report", str(out)], [*COPY, "--steps", "400", "--out", str(out)]):
        assert words in refused(capsys, run, *told)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("rows", b'"step"', b"\x00\x00\x00\x00\x00\x00", "rows.jsonl, line 1: "),
        ("rows", b"100", b"NaN", "rows.jsonl, line 1: NaN is no number"),
        ("times", b"seconds", b"minutes", "times.jsonl, line 1: seconds is missing"),
        ("rows", b'"step"', b'"stop"', "does not hold results of copy: KeyError: 'step'"),
        ("rows", b"100,", b'"x",', "does not hold results of copy: TypeError: "),
    ],
)
def test_damaged_lines_are_named(out, run, capsys, name, old, new, words):
    path = run / f"{name}.jsonl"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert path.stat().st_size == size
    for told in (["report", str(out)], [*COPY, "--steps", "300", "--out", str(out)]):
        assert words in refused(capsys, run, *told)


def test_settings_that_a_study_needs_are_missed_by_name(out, run, capsys):
    edit(run / "run.json", settings={})
    assert "does not hold results of copy: KeyError: 'seed'" in refused(capsys, run, "report", str(out))


@pytest.mark.parametrize(
    "rest", [bytes(64), bytes(64) + b"\n", b'{"step": 400, "lon\n', b"[]\n", b"\xff\n", b'{"step": NaN}\n'], ids=range(6)
)
def test_what_a_loss_of_power_leaves_behind_the_checkpoint_is_cut_off(whole, out, run, rest, tmp_path):
    for name in ("rows", "times"):
        with open(run / f"{name}.jsonl", "ab") as file:
            file.write(rest)
    assert [row["step"] for row in read_result(run).rows] == [100, 200, 300]
    assert main(["report", str(out)]) == 0
    assert main([*COPY, "--steps", "300", "--out", str(out)]) == 0
    assert main([*COPY, "--steps", "600", "--out", str(out)]) == 0
    assert main([*COPY, "--steps", "600", "--out", str(tmp_path / "never stopped")]) == 0
    (expected,) = (tmp_path / "never stopped").glob("copy/*/rows.jsonl")
    assert (run / "rows.jsonl").read_bytes() == expected.read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.update(step=200), "its checkpoint is of steps 200, and not 300"),
        (lambda state: state.update(step="x"), "its checkpoint is of steps x"),
        (lambda state: state.update(stream={"a": 1}), "KeyError: "),
        (lambda state: state["stream"].update(longest="x"), "TypeError: "),
        (lambda state: state["stream"].update(read=[10**6]), "read must be between 0 and"),
        (lambda state: state["stream"].update(read=[]), "zip() argument 2 is longer"),
        (lambda state: state["stream"].update(sequences=[[1, 2, 3]]), "cannot be resumed: "),
        (lambda state: state["stream"]["generators"][0].update(state={}), "KeyError: "),
    ],
    ids=range(8),
)
def test_a_checkpoint_of_another_kind_is_named(out, run, capsys, change, words):
    state = json.loads((run / "state.json").read_text())["state"]
    change(state)
    edit(run / "state.json", state=state)
    assert main([*COPY, "--steps", "600", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"{run} cannot be resumed: " in error
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["rows.jsonl", "step-300.npz"])
@pytest.mark.parametrize("kind", ["link", "pipe", "missing"])
def test_a_run_is_resumed_from_its_own_files_alone(tmp_path, out, run, capsys, name, kind):
    outside = tmp_path / "outside"
    outside.write_bytes((run / name).read_bytes())
    (run / name).unlink()
    if kind == "link":
        (run / name).symlink_to(outside)
    if kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("there are no pipes here")
        os.mkfifo(run / name)
    before = outside.read_bytes()
    assert main([*COPY, "--steps", "600", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"{run} is damaged: {name}" in error
    assert outside.read_bytes() == before


@pytest.mark.parametrize("name", ["state.tmp", "step-600.npz"])
def test_nothing_is_written_through_a_link_in_a_folder(tmp_path, out, run, name):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (run / name).symlink_to(outside)
    assert main([*COPY, "--steps", "600", "--out", str(out)]) == 0
    assert outside.read_text() == "precious"
    assert read_result(run).step == 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize("name", ["run.json", "state.json", "rows.jsonl", "times.jsonl"])
def test_a_report_does_not_wait_for_a_pipe(out, run, capsys, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    assert f"{name} is no file" in refused(capsys, run, "report", str(out))
