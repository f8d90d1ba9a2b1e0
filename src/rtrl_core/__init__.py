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

__all__ = ["built_levels", "core", "cpu_level"]

WIDTHS = {"float32": "f32", "float64": "f64"}


def _module(width, level):
    """Name of a compiled module."""
    return f"rtrl_core._{width}_{level}"


@functools.cache
def built_levels():
    """CPU levels in this build that this processor can run, slowest first."""
    built = [[importlib.util.find_spec(_module(width, level)) for width in WIDTHS.values()] for level in _cpu.supported_levels()]
    return [level for level, modules in zip(_cpu.supported_levels(), built) if any(modules)]


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
    if forced is None and levels:
        return levels[-1]
    if forced not in levels:
        raise ImportError(f"RTRL_CPU_LEVEL is {forced!r}; this build on this processor has {', '.join(levels) or 'nothing'}")
    return forced


@functools.cache
def core(dtype):
    """The compiled module for "float32" or "float64": of the CPU level in use, or of the next lower one that has this type."""
    levels = built_levels()
    for level in reversed(levels[: levels.index(cpu_level()) + 1]):
        if importlib.util.find_spec(_module(WIDTHS[dtype], level)):
            return importlib.import_module(_module(WIDTHS[dtype], level))
    raise ImportError(f"this build has no {dtype}")
