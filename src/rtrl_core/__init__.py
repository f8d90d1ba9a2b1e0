"""The compiled core of rtrl.

One source is compiled into a sibling module for every CPU level and float width; `core` picks the
fastest level that this processor can run.  The environment variable RTRL_CPU_LEVEL (baseline, avx2,
avx512 or amx) forces a level.  amx is avx512 with the matrix unit for float32; float64 has no use for that.
"""

import functools
import importlib
import importlib.util
import os

from rtrl_core import _cpu

__all__ = ["any_core", "built_levels", "core", "cpu_level", "widths"]

WIDTHS = {"float32": "f32", "float64": "f64"}


def _module(width, level):
    """Name of a compiled module."""
    return f"rtrl_core._{width}_{level}"


def _is_built(width, level):
    return importlib.util.find_spec(_module(width, level)) is not None


@functools.cache
def built_levels():
    """CPU levels in this build that this processor can run, slowest first."""
    return [level for level in _cpu.supported_levels() if any(_is_built(width, level) for width in WIDTHS.values())]


@functools.cache
def widths():
    """Float types in this build."""
    return [name for name, width in WIDTHS.items() if any(_is_built(width, level) for level in built_levels())]


@functools.cache
def cpu_level():
    """The CPU level in use: RTRL_CPU_LEVEL, or the fastest there is.

    Raises
    ------
    ImportError
        If the forced level is unknown, not built, or not runnable here.
    """
    levels = built_levels()
    forced = os.environ.get("RTRL_CPU_LEVEL")
    if not forced and levels:
        return levels[-1]
    if forced not in levels:
        raise ImportError(f"RTRL_CPU_LEVEL is {forced!r}; this build on this processor has {', '.join(levels) or 'nothing'}")
    return forced


@functools.cache
def core(dtype):
    """The compiled module for "float32" or "float64": of the CPU level in use, or of the next lower one that has this type.

    Raises
    ------
    ImportError
        If there is none, or a library that it needs is missing; the message says which.
    """
    levels = built_levels()
    for level in reversed(levels[: levels.index(cpu_level()) + 1]):
        if _is_built(WIDTHS[dtype], level):
            return _load(_module(WIDTHS[dtype], level))
    raise ImportError(f"this build has no {dtype}; it has {', '.join(widths()) or 'nothing'} up to the CPU level {cpu_level()}")


def any_core():
    """A compiled module of whatever float type there is, for what does not depend on it; float64 if it is there."""
    return core(widths()[-1] if widths() else "float64")


def _load(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if "shared object file" not in str(error):  # of the loader of Linux; wheels of other systems bring what they need
            raise
        raise ImportError(
            f"a library that rtrl needs is not on this machine: {error}. OpenMP's is in the package libgomp1 (Debian, Ubuntu) or "
            "libgomp (Fedora, Alpine, conda): install that"
        ) from None
