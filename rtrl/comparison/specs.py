"""Specs from text: `TBPTT(25)`, `UORO`, or what their `repr` says."""

import ast
import importlib
import re

__all__ = ["parse", "parse_list", "split"]


def parse(text, base):
    """The spec that a text describes; nothing in the text is executed.

    Parameters
    ----------
    text : str
        Name of a class, optionally with options as literals in parentheses.
    base : type
        `rtrl.cells.Cell`, `rtrl.estimators.Estimator`, `rtrl.readouts.Readout` or `rtrl.optimizers.Optimizer`.

    Raises
    ------
    ValueError
        If there is no such spec, or it does not take these options; the message says why.
    """
    family = importlib.import_module(f"rtrl.{base._family}")
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = call.func.id
        positional = [ast.literal_eval(each) for each in call.args]
        named = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    except (SyntaxError, AttributeError, ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is not a name with options, such as TBPTT(25)") from None
    made = None if name.startswith("_") else getattr(family, name, None)
    if not (isinstance(made, type) and issubclass(made, base) and made is not base):
        known = [each for each in family.__all__ if each != base.__name__]
        raise ValueError(f"there is no {base.__name__.lower()} {name!r}; there are {', '.join(sorted(known, key=str.lower))}")
    try:
        return made(*positional, **named)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text.strip()}: {error}") from None


def parse_list(text, base):
    """Specs separated by commas (those inside parentheses apart), each once.

    Raises
    ------
    ValueError
        As `parse`, or if there is none.
    """
    parts = [part for part in split(text) if part.strip()]
    if not parts:
        raise ValueError("at least one name is needed")
    return tuple(dict.fromkeys(parse(part, base) for part in parts))


def split(text):
    """The parts of a list that are separated by commas, those inside parentheses apart."""
    return re.split(r",(?![^()]*\))", text)
