"""What `import rtrl` gives: everything by name, modules beside the session only when they are asked for."""

import ast
from pathlib import Path

import pytest
from common import python

import rtrl

LATER = ("data", "experiments", "reference", "tasks")


@pytest.mark.parametrize("name", LATER)
def test_modules_are_attributes(name):
    """In a process of its own: here others have imported them."""
    python(
        """
        import sys
        import rtrl
        from rtrl import *
        name = sys.argv[1]
        assert name in dir(rtrl) and f"rtrl.{name}" not in sys.modules, "loaded too early, or not listed"
        module = getattr(rtrl, name)
        assert module is sys.modules[f"rtrl.{name}"] and vars(rtrl)[name] is module
        assert module.__all__ and all(hasattr(module, each) for each in module.__all__)
        """,
        name,
    )


def test_other_names_are_unknown():
    with pytest.raises(AttributeError, match="'rtrl' has no attribute 'task'"):
        assert rtrl.task
    assert not hasattr(rtrl, "tests")
    assert set(rtrl.__all__) <= set(dir(rtrl))


def test_type_checkers_see_the_same_modules():
    tree = ast.parse(Path(rtrl.__file__).read_text())
    (only,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = [(alias.name, alias.asname) for node in only.body for alias in node.names]
    assert seen == [(name, name) for name in LATER]
