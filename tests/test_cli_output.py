"""Where the command line writes: tried before the work, and shown whatever happens after it."""

import io
import sys
import tempfile
from pathlib import Path

import pytest

from rtrl import comparison
from rtrl.cli import main
from rtrl.commands import compare
from rtrl.experiments import copy, page
from rtrl.experiments.perform import perform
from rtrl.experiments.store import read_results
from rtrl.network import Network

COMPARE = ["compare", "--hidden", "4", "--batch", "2", "--steps", "60", "--estimators", "UORO"]
COPY = ["experiment", "copy", "--hidden", "4", "--batch", "2", "--steps", "60", "--window", "20", "--estimators", "UORO"]


def locked(folder, monkeypatch):
    """A folder in which no file can be made, as a user without rights finds it."""
    make = tempfile.TemporaryFile

    def refusing(*told, dir=None, **more):
        if Path(dir) == folder:
            raise PermissionError(13, "Permission denied", str(folder / "tmpname"))
        return make(*told, dir=dir, **more)

    folder.mkdir()
    monkeypatch.setattr(tempfile, "TemporaryFile", refusing)
    return folder


@pytest.mark.parametrize("command", [COMPARE, COPY])
def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr(Network, "__init__", None)  # there is no work without a network
    folder = locked(tmp_path / "locked", monkeypatch)
    assert main([*command, "--out", str(folder)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith(f"error: {folder}: Permission denied\n")
    assert list(folder.iterdir()) == []


def test_a_figure_that_cannot_be_written_here_is_refused_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Network, "__init__", None)
    locked(tmp_path / "locked", monkeypatch)
    monkeypatch.chdir(tmp_path / "locked")
    monkeypatch.setattr("os.curdir", str(tmp_path / "locked"))
    assert main([*COPY, "--plot"]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_refused_before_its_figures(tmp_path, capsys, monkeypatch):
    assert main([*COPY, "--out", str(tmp_path / "out")]) == 0
    folder = locked(tmp_path / "locked", monkeypatch)
    capsys.readouterr()
    assert main(["report", str(tmp_path / "out"), "--out", str(folder / "page.md")]) == 1
    assert f"{folder}: Permission denied" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["compare.txt", "compare.json", "compare.csv"])
def test_a_file_in_the_way_is_refused_before_the_work(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(comparison, "compare", None)
    (tmp_path / name).mkdir()
    assert main([*COMPARE, "--out", str(tmp_path)]) == 1
    assert f"{name}: Is a directory" in capsys.readouterr().err


def test_the_table_is_shown_where_it_cannot_be_saved(tmp_path, capsys, monkeypatch):
    def full(result, folder):
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(compare.report, "save", full)
    assert main([*COMPARE, "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "\nUORO  " in shown.out
    assert shown.err.endswith(f"{tmp_path}: No space left on device\n")


def test_letters_that_a_terminal_does_not_have_are_escaped(tmp_path, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp1252", newline="\n"))
    path = tmp_path / "gemessen-\u65e5\u672c.csv"
    path.write_text("v\n" + "\n".join(str(i % 7) for i in range(200)), encoding="utf-8")
    out = tmp_path / "\u65e5"
    assert main([*COMPARE, "--series", str(path), "--out", str(out)]) == 0
    assert b"gemessen-\\u65e5\\u672c.csv: 200 values" in shown.getvalue()
    assert "gemessen-\u65e5\u672c.csv: 200 values" in (out / "compare.txt").read_text(encoding="utf-8")
    assert main([*COPY, "--out", str(out)]) == main(["report", str(out)]) == 0
    assert b"\\u65e5/report.md\n" in shown.getvalue()


def test_a_tilde_is_the_home_of_the_user(tmp_path, capsys, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([*COMPARE, "--out", "~/compared"]) == 0
    assert main([*COPY, "--out", "~/runs"]) == 0
    assert main(["report", "~/runs", "--out", "~/pages/page.md"]) == main(["report", "~/runs"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"compared", "runs", "pages"}
    assert (tmp_path / "pages" / "page.md").exists() and (tmp_path / "runs" / "report.md").exists()
    settings = copy.Settings(estimator=comparison.settings.REFERENCE, hidden=4, batch_size=2, steps=20, window=20)
    assert perform(settings, "~/more").done
    assert perform(settings, b"~/bytes").done
    page.write("~/more", "~/more/page.md")
    assert [each.settings["hidden"] for each in read_results("~/more") + read_results(b"~/bytes")] == [4, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"compared", "runs", "pages", "more", "bytes"}
