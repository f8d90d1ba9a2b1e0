"""docs/experiments.md: its scripts run, and its commands and studies are those that there are."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rtrl import cli
from rtrl.experiments import STUDIES
from rtrl.experiments.store import read_results

PAGE = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
COMMANDS = [shlex.split(line, comments=True) for line in re.findall(r"^    (python -m rtrl .*)$", PAGE, re.M)]


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_scripts_run(tmp_path, script):
    (tmp_path / "script.py").write_text(script)
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(result.done for result in read_results(tmp_path / "results"))
    assert bool(done.stdout) == ("print(" in script)


def test_commands_are_understood():
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        assert cli._parser().parse_args(command[3:]).run


def test_every_study_is_listed():
    table = PAGE.split("## Run")[0]
    assert all(f"`{name}`" in table for name in STUDIES)
