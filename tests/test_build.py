"""The wheel: every sibling once, translated once, nothing stale, also from a compiler without OpenMP; and the source archive."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
X86 = platform.machine().lower() in ("x86_64", "amd64")

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


# A compiler that compiles nothing: it makes the files that it is asked for, as programs that run and print nothing.
NO_COMPILER = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/calls"
while [ $# -gt 1 ]; do
    [ "$1" != -o ] || { echo '#!/bin/sh' > "$2"; chmod +x "$2"; }
    shift
done
"""
IN_ARCHIVE = ("src", "rtrl", "docs", "tests", "bench")


def copied(tree, *folders):
    """A copy of the sources, without what builds and runs leave in them."""
    for name in folders:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "run"):
        shutil.copy(ROOT / name, tree / name)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(output of the build, wheel) of a tree that earlier builds have littered, one level and one width."""
    folder = tmp_path_factory.mktemp("build")
    tree = folder / "tree"
    copied(tree, "src", "rtrl", "docs")
    for litter in ("src/rtrl_core/_f32_stale.so", "rtrl/_stale.so"):
        (tree / litter).write_bytes(b"stale")
    for place in ("lib", f"lib.linux-x86_64-cpython-{sys.version_info[0]}{sys.version_info[1]}"):
        (tree / "build" / place / "rtrl_core").mkdir(parents=True)
        (tree / "build" / place / "rtrl_core" / "_f32_stale.so").write_bytes(b"stale")
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
    assert modules == ["rtrl_core/_cpu", "rtrl_core/_cyutility", "rtrl_core/_f64_baseline"]
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


def test_sources_are_translated_once_and_only_when_they_change(tmp_path):
    tree = tmp_path / "tree"
    copied(tree, "src", "rtrl")
    compiler = tmp_path / "compiler"
    compiler.write_text(NO_COMPILER)
    compiler.chmod(0o755)
    environment = dict(os.environ, CC=str(compiler), RTRL_LEVELS="baseline,avx2" if X86 else "baseline")
    siblings = 4 if X86 else 2

    def run(*words):
        """Translations and compilations of one command."""
        (tmp_path / "calls").write_text("")
        result = subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]
        calls = (tmp_path / "calls").read_text().splitlines()
        compiled = [call for call in calls if " -c " in f" {call} " and "siblings" in call]
        return result.stdout.count("Cythonizing src/rtrl_core/floors.pyx"), len(compiled)

    assert run("setup.py", "-q", "egg_info") == (0, 0)
    assert run("setup.py", "-q", "build_ext") == (1, siblings)
    assert run("setup.py", "-q", "build_ext") == (0, 0)
    later = time.time() + 5
    os.utime(tree / "src/rtrl_core/estimators/snap.pxi", (later, later))
    assert run("setup.py", "-q", "build_ext")[0] == 1


def test_source_archive_holds_what_its_tests_need_and_no_figures(tmp_path):
    tree = tmp_path / "tree"
    copied(tree, *IN_ARCHIVE)
    (tree / "src/rtrl_core/_f32_stale.so").write_bytes(b"stale")
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    result = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=tree, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    for folder in IN_ARCHIVE:
        expected = {str(path.relative_to(tree)) for path in (tree / folder).glob("**/*") if path.is_file()}
        expected = {name for name in expected if not name.startswith(("docs/results/", "src/rtrl.egg-info/", "rtrl.egg-info/"))}
        assert expected - names == ({"src/rtrl_core/_f32_stale.so"} if folder == "src" else set())
    assert not [name for name in names if name.endswith((".png", ".so"))]
    assert {"setup.py", "pyproject.toml", "run", "README.md", "LICENSE"} <= names


def imported(package, code, **environment):
    """What a program prints, and the last line of its errors, with a copy of the packages that `package` made."""
    environment = {**os.environ, "PYTHONPATH": str(package), **environment}
    result = subprocess.run([sys.executable, "-c", code], cwd=package, env=environment, capture_output=True, text=True)
    return result.stdout.strip(), (result.stderr.strip().splitlines() or [""])[-1]


def installed_copy(folder):
    """The installed packages, to be spoiled."""
    for name in ("rtrl", "rtrl_core"):
        place = Path(importlib.util.find_spec(name).origin).parent
        shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyx", "*.pxi"))
    return folder


@pytest.mark.parametrize("width", ["f32", "f64"])
def test_one_float_width_is_enough(tmp_path, width):
    package = installed_copy(tmp_path)
    other = {"f32": "f64", "f64": "f32"}[width]
    for path in (package / "rtrl_core").glob(f"_{other}_*"):
        path.unlink()
    known, missing = {"f32": ("float32", "float64"), "f64": ("float64", "float32")}[width]
    code = f"""
import rtrl
network = rtrl.Network(rtrl.GRU(3), 4, rtrl.Softmax(4), dtype={known!r})
rtrl.Session(network, rtrl.KFRTRL(), rtrl.SGD(0.1)).step(0, 1)
rtrl.random_signs(0, 0, 0, 0, 3)
print(rtrl.show_config("dicts")["float widths"])
rtrl.Network(rtrl.GRU(3), 4, rtrl.Softmax(4), dtype={missing!r})
"""
    printed, error = imported(package, code)
    assert printed == f"[{known!r}]"
    assert error.startswith(f"ImportError: this build has no {missing}; it has {known}")


def test_an_empty_cpu_level_is_as_if_unset():
    code = "import rtrl_core; print(rtrl_core.cpu_level() == rtrl_core.built_levels()[-1])"
    environment = {**os.environ, "RTRL_CPU_LEVEL": ""}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.stdout == "True\n", result.stderr[-2000:]


def test_a_missing_openmp_library_is_named_with_its_package(tmp_path):
    package = installed_copy(tmp_path)
    spoiled = 0
    for path in (package / "rtrl_core").glob("_f*.so"):
        content = path.read_bytes()
        spoiled += b"libgomp.so.1" in content
        path.write_bytes(content.replace(b"libgomp.so.1", b"libgomq.so.1"))
    if not spoiled:
        pytest.skip("this build does not use GCC's OpenMP")
    _, error = imported(package, "import rtrl")
    assert error.startswith("ImportError: a library that rtrl needs is not on this machine: libgomq.so.1")
    assert "libgomp1" in error
