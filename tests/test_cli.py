"""The command line: help, exit status, one-line errors."""

import json
import os
import subprocess
import sys

import pytest

import rtrl
from rtrl import cli


def refusal(capsys, *arguments):
    """Exit status and stderr of a command that fails."""
    try:
        status = cli.main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    shown = capsys.readouterr()
    assert shown.out == ""
    return status, shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["compare", "info", "--version"]),
        (
            ["compare", "--help"],
            [
                "--text FILE",
                "--series FILE",
                "(default: rhn)",
                "(default: float32)",
                "OK(4), BlockOK(4, 8), RTRL)",
                "--out DIR",
            ],
        ),
        (["info", "--help"], ["--format", "(default: table)"]),
    ],
)
def test_help(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for word in words:
        assert word in shown


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"rtrl {rtrl.__version__}\n"


def test_info(capsys):
    assert cli.main(["info"]) == 0
    table = capsys.readouterr().out
    assert "cpu level" in table
    assert cli.main(["info", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == rtrl.show_config("dicts")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["cook"], "cook"),
        (["compare", "--salt"], "--salt"),
        (["compare", "--hidden", "0"], "--hidden: a whole number from 1"),
        (["compare", "--hidden", "many"], "--hidden: a whole number is needed; got 'many'"),
        (["compare", "--steps", "-5"], "--steps"),
        (["compare", "--seed", "1.5"], "--seed"),
        (["compare", "--lr", "0"], "--lr: a number above 0"),
        (["compare", "--lr", "nan"], "--lr"),
        (["compare", "--clip", "inf"], "--clip"),
        (["compare", "--patience", "-1"], "--patience: a number of at least 0"),
        (["compare", "--cell", "mlp"], "--cell: 'mlp' is none of rhn, rnn, gru, lstm, nor a cell with options: there is no cell"),
        (["compare", "--cell", "RNN"], "missing 1 required positional argument: 'hidden'"),
        (["compare", "--cell", "RNN(0)"], "RNN(0): hidden must be between 1 and"),
        (["compare", "--cell", "RNN(4, 'step')"], "nonlinearity must be one of 'tanh', 'relu'"),
        (["compare", "--cell", "UORO"], "there is no cell 'UORO'"),
        (["compare", "--cell", "GRU(4)", "--hidden", "64"], "--hidden is for cells by their short names; GRU(4) has its own"),
        (["compare", "--cell", "RHN(4)", "--depth", "2"], "--depth is an option of --cell rhn only"),
        (["experiment", "copy", "--cell", "GRU(4)", "--hidden", "64"], "--hidden is for cells by their short names; GRU(4) has"),
        (["experiment", "copy", "--sweep", "cell=rnn,GRU(4)", "hidden=4,6"], "--hidden is for cells by their short names"),
        (["experiment", "noise", "--cell", "GRU(4)", "--hidden", "4,6"], "--hidden is for cells by their short names"),
        (["compare", "--dtype", "int8"], "--dtype"),
        (["compare", "--estimators", "UORO,Guess"], "there is no estimator 'Guess'"),
        (["compare", "--estimators", "TBPTT"], "--estimators: TBPTT: "),
        (["compare", "--text", "a", "--series", "b"], "not allowed with"),
        (["compare", "--column", "x"], "--column needs --series"),
        (["compare", "--cell", "gru", "--depth", "2"], "--depth is an option of --cell rhn only"),
    ],
)
def test_wrong_usage_is_status_2(capsys, arguments, words):
    status, error = refusal(capsys, *arguments)
    assert status == 2
    assert words in error.splitlines()[-1]


def test_failures_are_status_1_and_one_line(capsys, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("t,x\n" + "1,2\n" * 99 + "1,two\n")
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    missing = str(tmp_path / "none.txt")
    cases = [
        (["--text", missing], f"{missing}: No such file or directory"),
        (["--text", str(tmp_path)], "Is a directory"),
        (["--text", str(blocked)], "holds only 10 characters"),
        (["--series", str(table)], "line 101, column 2: 'two' is not a number"),
        (["--series", str(table), "--column", "y"], "no column 'y'; its columns are t, x"),
        (["--out", str(blocked)], "File exists"),
        (["--hidden", "1000000"], "this needs "),
        (["--hidden", "64", "--batch", "1000000", "--estimators", "RTRL"], "this needs "),
    ]
    for arguments, words in cases:
        status, error = refusal(capsys, "compare", *arguments)
        assert status == 1
        assert error.startswith("rtrl compare: error: ")
        assert words in error
        assert error.count("\n") == 1


def test_interruption(capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("rtrl.comparison.compare", interrupt)
    assert refusal(capsys, "compare") == (130, "rtrl compare: interrupted\n")


def run(*arguments, **options):
    command = [sys.executable, "-m", "rtrl", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_as_a_module(child_environment):
    process = run("--version", env=child_environment)
    assert process.communicate() == (f"rtrl {rtrl.__version__}\n", "")
    assert process.returncode == 0
    process = run("compare", "--hidden", "none", env=child_environment)
    assert "a whole number is needed" in process.communicate()[1]
    assert process.returncode == 2


def test_reader_that_leaves(child_environment):
    process = run("compare", "--hidden", "4", "--steps", "50", "--estimators", "Immediate", env=child_environment)
    process.stdout.close()
    (told,) = process.stderr.read().splitlines()
    assert told.startswith("Immediate: ")  # its row is finished; there is no word of an error
    process.stderr.close()
    assert process.wait() == 1


@pytest.fixture
def child_environment():
    """An environment in which a child finds the same rtrl as this process."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
