"""The law of the house: floors point down only, and siblings on floor 4 never meet."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "src" / "rtrl_core"
FLOORS = {
    "base": 0,
    "arrays": 1,
    "jacobian": 2,
    "contracts": 3,
    "cells": 4,
    "estimators": 4,
    "readouts": 4,
    "optimizers": 4,
    "session": 5,
}


def included(name="floors.pyx"):
    """Files of the core in the order in which they are included."""
    for line in (CORE / name).read_text().splitlines():
        match = re.match(r'include "(.+)"', line)
        if match:
            yield from included(match[1]) if "/" not in match[1] else [match[1]]


def floor(path):
    return FLOORS[path.split("/")[0]]


def code(text):
    """Cython source without docstrings, comments and string literals."""
    text = re.sub(r'"""(.|\n)*?"""', "", text)
    return re.sub(r'"[^"\n]*"', "", re.sub(r"#.*", "", text))


def defined(text):
    """Names that a file defines at its top level (extern declarations and enumerators included)."""
    names = set(re.findall(r"^(?:cdef|def|class)\s(?:[^=\n(]*?[\s*])?(\w+)\s*\(", text, re.M))
    names |= set(re.findall(r"^(?:cdef )?class (\w+)", text, re.M))
    names |= set(re.findall(r"^cdef (?:struct|enum) (\w+)", text, re.M))
    for block in re.findall(r"^cdef enum.*:\n((?:    .*\n|\n)+)", text, re.M):
        names |= set(re.findall(r"\b([A-Z_]{3,})\b", block))
    for block in re.findall(r"^cdef extern from.*:\n((?:    .*\n|\n)+)", text, re.M):
        names |= set(re.findall(r"^    .*?(\w+)\(", block, re.M)) | set(
            re.findall(r"^    ctypedef (?:struct )?(?:\w+ )?(\w+)", block, re.M)
        )
    return names


def crossings(sources):
    """(user, name, owner) wherever a file uses a name of a file that it must not know."""
    owners = {}
    for path, text in sources.items():
        for name in defined(text):
            owners.setdefault(name, path)
    place = {path: i for i, path in enumerate(sources)}
    for path, text in sources.items():
        for name in sorted(set(re.findall(r"\b[A-Za-z_]\w*\b", text)) & set(owners)):
            owner = owners[name]
            lower = floor(owner) < floor(path)
            earlier = floor(owner) == floor(path) != 4 and place[owner] < place[path]
            if owner != path and not lower and not earlier and not re.search(rf"(?:\.|cdef \w[\w *]*?){name}\b", text):
                yield path, name, owner


@pytest.fixture(scope="module")
def sources():
    return {path: code((CORE / path).read_text()) for path in included()}


def test_every_core_file_is_included_once(sources):
    listed = list(included())
    assert len(listed) == len(set(listed))
    on_disk = {str(path.relative_to(CORE)) for path in CORE.glob("*/*.pxi")}
    assert on_disk == set(listed)


def test_names_come_from_lower_floors(sources):
    assert len(set().union(*map(defined, sources.values()))) > 80
    assert list(crossings(sources)) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("cells/gru.pxi", "cdef LSTM other"),
        ("jacobian/panels.pxi", "cdef Estimator estimator"),
        ("estimators/uoro.pxi", "cdef KFRTRL other"),
        ("arrays/arrays.pxi", "cdef Stage stage"),
        ("estimators/kfrtrl.pxi", "x = len_of(None)"),
    ],
)
def test_a_crossing_would_be_seen(sources, path, line):
    planted = dict(sources)
    planted[path] += f"\n{line}\n"
    assert any(user == path for user, _, _ in crossings(planted))


def test_headers_include_lower_floors_only():
    headers = {path.name: FLOORS[path.parent.name] for path in CORE.glob("*/*.h")}
    for path in CORE.glob("*/*.h"):
        for name in re.findall(r'#include "(.+)"', path.read_text()):
            assert headers[name] < headers[path.name] or headers[name] == 0, (path.name, name)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_python_floors():
    for path in CORE.glob("*.py"):
        assert not any(name.split(".")[0] in ("rtrl", "bench", "tests") for name in imports(path)), path
    families = {f"rtrl.{name}" for name in ("cells", "estimators", "readouts", "optimizers")}
    for path in (ROOT / "rtrl").glob("**/*.py"):
        names = set(imports(path))
        assert not any(name.split(".")[0] in ("bench", "tests") for name in names), path
        if path.parent.name == "reference":
            assert not any(name.startswith(("rtrl_core", "rtrl.")) and not name.startswith("rtrl.reference") for name in names), (
                path
            )
        if {f"rtrl.{path.stem}", f"rtrl.{path.parent.name}"} & families:
            assert not names & families, path


def test_reference_imports_numpy_and_the_standard_library_only():
    for path in (ROOT / "rtrl" / "reference").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= {"numpy"}, path.name
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or node.module in {"numpy.linalg", "math", "dataclasses"}, path.name


def test_floor_four_is_one_file_each(sources):
    for path, text in sources.items():
        if floor(path) == 4:
            assert len(re.findall(r"^cdef class", text, re.M)) == 1, path
