"""README.md and docs/choosing.md: the ten lines run as printed, and every estimator is named."""

import re
import subprocess
import sys
from pathlib import Path

import rtrl
from rtrl.estimators import Estimator

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run_and_learn(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in script.splitlines() if line]) <= 10
    script += "\nassert losses[-500:].mean() < 0.05 * losses[:100].mean() and rtrl.Session.load('session.npz').steps == 5001\n"
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_estimator_is_in_the_table_of_choosing():
    table = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8").split("## Measured")[0]
    for name in rtrl.__all__:
        if isinstance(getattr(rtrl, name), type) and issubclass(getattr(rtrl, name), Estimator):
            assert f"| `{name}(" in table, name
