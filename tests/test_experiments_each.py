"""Every study as a command: killed with SIGKILL in the middle, and resumed to the same bits."""

import signal
import sys

import pytest
from kills import killed, rows_of

from rtrl.cli import main
from rtrl.experiments import STUDIES

# So long that a kill after a few lines comes before the end, by a wide margin, and windows so short that this takes seconds.
COMMANDS = {
    "copy": ["--estimators", "BlockOK(2, 4)", "--hidden", "16", "--batch", "4", "--steps", "8000", "--window", "100"],
    "charlm": [
        "--estimators",
        "KFRTRL",
        "--hidden",
        "16",
        "--batch",
        "4",
        "--steps",
        "6000",
        "--window",
        "100",
        "--validate",
        "600",
    ],
    "influence-balancing": ["--estimators", "UORO", "--steps", "20000", "--window", "200"],
    "anbn": ["--estimators", "UORO", "--hidden", "16", "--steps", "60000", "--window", "1000"],
    "brackets": ["--estimators", "NoBackTrack", "--hidden", "16", "--steps", "60000", "--window", "1000"],
    "kalman": ["--methods", "scrambled KFRTRL + Adam", "--gaps", "2", "--lr-scale", "1", "--seeds", "2", "--steps", "20000"]
    + ["--window", "200"],
    "forecast": ["--models", "KFRTRL", "--ahead", "5", "--steps", "6000"],
    "noise": ["--hidden", "12", "--steps", "100", "--estimators", "KFRTRL", "--samples", "64"],
}


def test_no_study_is_forgotten():
    assert set(COMMANDS) == set(STUDIES)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_study_is_resumed_to_the_same_bits(tmp_path, name):
    told = ["experiment", name, *COMMANDS[name]]
    command = [sys.executable, "-m", "rtrl", *told, "--out", str(tmp_path / "killed"), "--resume", "--checkpoint", "0"]
    for lines in (2, 6):
        assert killed(command, tmp_path / "killed", lines) == -signal.SIGKILL
    assert main([*told, "--out", str(tmp_path / "killed"), "--resume"]) == 0
    assert main([*told, "--out", str(tmp_path / "whole")]) == 0
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
