"""The wheel: every sibling once and nothing stale, also from a compiler without OpenMP."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A compiler that refuses OpenMP, as Apple's does.
COMPILER = """#!/bin/sh
for word in "$@"; do
    [ "$word" != -fopenmp ] || { echo "unsupported option -fopenmp" >&2; exit 1; }
done
exec cc "$@"
"""

CHECK = """
import numpy as np
import rtrl

assert rtrl.show_config("dicts")["openmp"] is False
network = rtrl.Network(rtrl.GRU(8), 5, rtrl.Softmax(5), dtype="float64")
session = rtrl.Session(network, rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=2, threads=4)
ids = np.random.default_rng(0).integers(0, 5, (40, 2))
assert np.isfinite(session.run(ids[:-1], ids[1:])).all()
print("serial")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(output of the build, wheel) of a tree that earlier builds have littered, one level and one width."""
    folder = tmp_path_factory.mktemp("build")
    tree = folder / "tree"
    for name in ("src", "rtrl", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    for litter in ("src/rtrl_core/_f32_stale.so", "rtrl/_stale.so"):
        (tree / litter).write_bytes(b"stale")
    for platform in ("lib", f"lib.linux-x86_64-cpython-{sys.version_info[0]}{sys.version_info[1]}"):
        (tree / "build" / platform / "rtrl_core").mkdir(parents=True)
        (tree / "build" / platform / "rtrl_core" / "_f32_stale.so").write_bytes(b"stale")
    compiler = folder / "compiler"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    environment = dict(os.environ, CC=str(compiler), RTRL_LEVELS="baseline", RTRL_WIDTHS="f64")
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    (wheel,) = folder.glob("*.whl")
    return result.stdout + result.stderr, wheel


def test_wheel_holds_every_sibling_once(built):
    names = zipfile.ZipFile(built[1]).namelist()
    modules = sorted(name.split(".")[0] for name in names if name.endswith(".so"))
    assert modules == ["rtrl_core/_cpu", "rtrl_core/_f64_baseline"]
    assert not [name for name in names if "stale" in name or name.endswith((".pxi", ".pyx", ".c", ".h"))]
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "rtrl").glob("**/*.py")}
    assert expected <= set(names)
    assert {"rtrl/py.typed", "rtrl_core/py.typed"} <= set(names)


def test_no_openmp_is_a_warning_and_works(built, tmp_path):
    output, wheel = built
    assert "has no OpenMP" in output
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = dict(os.environ, PYTHONPATH=str(tmp_path))
    result = subprocess.run([sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.stdout == "serial\n", result.stderr[-2000:]
