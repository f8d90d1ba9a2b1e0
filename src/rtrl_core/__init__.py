"""The compiled core of rtrl.

One source is compiled into a sibling module for every CPU level and float width; `core` picks the
fastest level that this processor can run.  The environment variable RTRL_CPU_LEVEL (baseline, avx2 or
avx512) forces a level.
"""

import functools
import importlib
import importlib.util
import os

from rtrl_core import _cpu

__all__ = ["built_levels", "core", "cpu_level"]

WIDTHS = {"float32": "f32", "float64": "f64"}


@functools.cache
def built_levels():
    """CPU levels in this build that this processor can run, slowest first."""
    return [level for level in _cpu.supported_levels() if importlib.util.find_spec(f"rtrl_core._f64_{level}")]


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
    """The compiled module for "float32" or "float64"."""
    return importlib.import_module(f"rtrl_core._{WIDTHS[dtype]}_{cpu_level()}")
