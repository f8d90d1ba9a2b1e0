"""What cells, estimators, readouts and optimizers have in common: frozen, validated descriptions.

A spec holds options and nothing else.  The compiled core has a class of the same name; whatever is
compiled in but has no spec written out here gets one made from the core's own list of options, so a
new cell or estimator needs no change in this package.
"""

import dataclasses
import math
import numbers
import reprlib

import numpy as np

import rtrl_core

__all__ = [
    "Spec",
    "choice",
    "decay",
    "flag",
    "fraction",
    "integer",
    "made_spec",
    "non_negative",
    "option",
    "optional",
    "positive",
    "rate",
    "representable",
]

_MISSING = dataclasses.MISSING


class Spec:
    """Base of all specs: options are checked when one is made; `repr` is code, and `str` the same in short."""

    _family = ""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check = field.metadata.get("check")
            if check is not None:
                object.__setattr__(self, field.name, check(field.name, getattr(self, field.name)))

    def __str__(self):
        """Code without the options that have their defaults; the others are named only where they must be."""
        shown, named = [], False
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                named = True
            else:
                bare = not (named or field.kw_only) and (field.default is _MISSING or isinstance(value, str))
                shown.append(repr(value) if bare else f"{field.name}={value!r}")
        return type(self).__name__ + (f"({', '.join(shown)})" if shown else "")

    def options(self):
        """The options as a dict."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def check_range(self, dtype):
        """Refuse options that a float type cannot hold.

        Raises
        ------
        ValueError
            If a number is larger than the largest of that type.
        """
        for name, value in self.options().items():
            for number in value if isinstance(value, tuple) else (value,):
                representable(name, number, dtype)

    def _compiled(self, dtype):
        """The object of the compiled core that this spec describes."""
        self.check_range(dtype)
        return rtrl_core.core(dtype).registry(self._family)[type(self).__name__](**self.options())

    def replace(self, **changes):
        """A copy with some options changed."""
        return dataclasses.replace(self, **changes)


def option(check, default=_MISSING, kw_only=False):
    """A dataclass field whose value goes through `check(name, value)`."""
    return dataclasses.field(default=default, kw_only=kw_only, metadata={"check": check})


def integer(name, value, least=1, most=2**31 - 1):
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number; got {reprlib.repr(value)}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least} and {most}; got {reprlib.repr(value)}")
    return int(value)


def _number(name, value, fits, expected):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number; got {reprlib.repr(value)}")
    if not (math.isfinite(value) and fits(value)):
        raise ValueError(f"{name} must be {expected}; got {reprlib.repr(value)}")
    return float(value)


def positive(name, value):
    """A finite number above 0."""
    return _number(name, value, lambda x: x > 0, "above 0")


def non_negative(name, value):
    """A finite number of at least 0."""
    return _number(name, value, lambda x: x >= 0, "0 or more")


def representable(name, value, dtype):
    """A number that is finite in a float type; anything else passes."""
    largest = float(np.finfo(dtype).max)
    if isinstance(value, float) and abs(value) > largest:
        raise ValueError(f"{name} must be at most {largest:.6g} in {dtype}; got {value!r}")
    return value


def fraction(name, value):
    """A number in (0, 1]."""
    return _number(name, value, lambda x: 0 < x <= 1, "above 0 and at most 1")


def decay(name, value):
    """A number in [0, 1)."""
    return _number(name, value, lambda x: 0 <= x < 1, "0 or more and below 1")


def flag(name, value):
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; got {reprlib.repr(value)}")
    return value


def rate(name, value):
    """A learning rate: a number of at least 0, or a callable of the time step."""
    return value if callable(value) else non_negative(name, value)


def optional(check):
    """`check`, or None."""
    return lambda name, value: None if value is None else check(name, value)


def choice(*allowed):
    """One of `allowed`."""

    def check(name, value):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {reprlib.repr(value)}")
        return value

    return check


def made_spec(base, name):
    """A spec for a compiled class that has none written out, from its own list of options.

    Raises
    ------
    AttributeError
        If nothing of this name is compiled in.
    """
    core = rtrl_core.any_core()
    compiled = core.registry(base._family).get(name)
    if compiled is None:
        raise AttributeError(f"there is no {base.__name__.lower()} named {name!r}")
    fields = [
        (key, object) if default is core.REQUIRED else (key, object, dataclasses.field(default=default))
        for key, default in compiled.options.items()
    ]
    namespace = {"kind": compiled.kind} if hasattr(compiled, "kind") else {}
    namespace |= {"__doc__": compiled.__doc__, "__module__": base.__module__}
    return dataclasses.make_dataclass(name, fields, bases=(base,), frozen=True, namespace=namespace)
