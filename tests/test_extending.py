"""The documents on adding a cell and an estimator, followed to the letter: one new file and one line each."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtrl.comparison.settings import ESTIMATORS

ROOT = Path(__file__).resolve().parents[1]

CHECK = """
import numpy as np
import rtrl

inputs, steps, lanes = 3, 6, 2
generator = np.random.default_rng(0)
xs = generator.normal(size=(steps, lanes, inputs))
cell = rtrl.cells.Softsign(5)
assert repr(cell) == "Softsign(hidden=5)", cell
network = rtrl.Network(cell, inputs, dtype="float64", seed=1)
W = network.parameters()["cell.0.weight"]

def final(weights):
    h = np.zeros((lanes, 5))
    for x in xs:
        z = np.concatenate([h, x, np.ones((lanes, 1))], axis=1) @ weights.T
        h = z / (1 + np.abs(z))
    return h

# The cell: exact RTRL against central differences of its formula.
session = rtrl.Session(network, rtrl.RTRL(), batch_size=lanes)
for x in xs:
    h = session.advance(x)
assert np.allclose(h, final(W), atol=1e-14)
session.feedback(np.ones((lanes, 5)))
gradient = session.gradient()["cell.0.weight"]
for row, column in np.ndindex(W.shape):
    step = np.zeros(W.shape)
    step[row, column] = 1e-6
    difference = (final(W + step).sum() - final(W - step).sum()) / 2e-6 / lanes
    assert abs(difference - gradient[row, column]) < 1e-8

# The estimator: against its formula in NumPy, with one thread and two.
for threads in (1, 2):
    estimator = rtrl.estimators.Fading(fade=0.8)
    assert estimator.kind == "biased" and repr(estimator) == "Fading(fade=0.8)"
    network = rtrl.Network(rtrl.RNN(5), inputs, dtype="float64", seed=1)
    W = network.parameters()["cell.0.weight"]
    session = rtrl.Session(network, estimator, batch_size=lanes, threads=threads)
    trace, h = np.zeros((lanes, *W.shape)), np.zeros((lanes, 5))
    for x in xs:
        h_hat = np.concatenate([h, x, np.ones((lanes, 1))], axis=1)
        h = np.tanh(h_hat @ W.T)
        new = (1 - h**2)[:, :, None] * h_hat[:, None, :]
        old, trace = trace, 0.8 * trace + new
        session.advance(x)
    # Fresh: delta through the last step exactly, the trace before it for the rest.
    delta = np.ones((lanes, 5))
    back = (delta * (1 - h**2)) @ W[:, :5]
    expected = (delta[:, :, None] * new + back[:, :, None] * old).mean(axis=0)
    session.feedback(delta)
    assert np.allclose(session.gradient()["cell.0.weight"], expected, atol=1e-14)

network = rtrl.Network(rtrl.GRU(4), 3, rtrl.Softmax(3), dtype="float64")
session = rtrl.Session(network, estimator, rtrl.Adam(1e-2), batch_size=lanes)
ids = generator.integers(0, 3, (50, lanes))
session.run(ids[:20], ids[1:21])
session.save("middle")
twin = rtrl.Session.load("middle")
assert np.array_equal(session.run(ids[20:49], ids[21:]), twin.run(ids[20:49], ids[21:]))
print("extended")
"""


COMMANDS = """
import json, re, shlex, sys
from contextlib import redirect_stdout
from io import StringIO
from rtrl import cli

small = {"compare": ["--batch", "2", "--steps", "60"], "experiment": ["--estimators", "UORO", "--batch", "2", "--steps", "40"]}
for line in sys.argv[1:]:
    words = shlex.split(line)[3:]
    with redirect_stdout(StringIO()) as shown:
        assert cli.main([*words, *small[words[0]], "--dtype", "float64", "--format", "json"]) == 0
    found = shown.getvalue()
    print(re.findall(r'"cell": "(.*?)"', found), re.findall(r'"estimator": "(.*?)"', found))
"""


def commands(document):
    """The commands of a document."""
    return re.findall(r"^    (python -m rtrl .*)$", (ROOT / "docs" / document).read_text(), re.M)


def blocks(document):
    """The code blocks of a document, and the file that it says to save the first one as."""
    text = (ROOT / "docs" / document).read_text()
    return re.findall(r"```cython\n(.*?)```", text, re.S), re.search(r"[Ss]ave it as `src/rtrl_core/(.+?)`", text)[1]


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with the two examples added, built for float64 only."""
    copy = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copytree(ROOT / "rtrl", copy / "rtrl", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    for document in ("adding-a-cell.md", "adding-an-estimator.md"):
        (source, line), target = blocks(document)
        assert not (copy / "src/rtrl_core" / target).exists()
        (copy / "src/rtrl_core" / target).write_text(source)
        with (copy / "src/rtrl_core/registry.pxi").open("a") as registry:
            assert len(line.splitlines()) == 1
            registry.write(line)
    environment = dict(os.environ, RTRL_LEVELS="baseline", RTRL_WIDTHS="f64")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    built = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    return copy


def python(folder, *arguments):
    """What a script prints, with the rtrl of a folder."""
    environment = dict(os.environ, PYTHONPATH=f"{folder}{os.pathsep}{folder / 'src'}", RTRL_CPU_LEVEL="baseline")
    result = subprocess.run([sys.executable, "-c", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_documents_are_followed_to_the_letter(extended):
    assert python(extended, CHECK) == "extended\n"


def test_commands_know_what_was_added(extended):
    told = [*commands("adding-a-cell.md"), *commands("adding-an-estimator.md")]
    assert python(extended, COMMANDS, *told).splitlines() == [
        f"{['Softsign(hidden=32)']} {[str(each) for each in ESTIMATORS]}",
        "['Softsign(32)', 'RNN(32)'] ['UORO', 'UORO']",
        "['RHN(hidden=64, depth=1)'] ['TBPTT(25)', 'Fading(fade=0.8)', 'RTRL']",
    ]
