"""What is installed here, and the random signs of the engine."""

import platform

import numpy as np

import rtrl_core
from rtrl._driver import available_threads
from rtrl._spec import integer

__all__ = ["__version__", "random_signs", "show_config"]

__version__ = "0.1.0"


def random_signs(seed: int, step: int, lane: int, stage: int, count: int) -> np.ndarray:
    """The signs that the engine draws: a pure function of its arguments.

    Parameters
    ----------
    seed : int
        Seed of the session.
    step : int
        Time step, 0 for the first of the session.
    lane, stage : int
        Lane of the batch and stage of the cell.
    count : int
        How many.

    Returns
    -------
    ndarray [count] of int8
        +1 or -1.
    """
    coordinates = [
        integer(name, value, least=0, most=2**64 - 1)
        for name, value in (("seed", seed), ("step", step), ("lane", lane), ("stage", stage))
    ]
    signs = np.empty(integer("count", count, least=0), np.int8)
    rtrl_core.any_core().random_signs(*coordinates, signs.size, signs)
    return signs


def show_config(mode: str = "stdout") -> dict | None:
    """Version, CPU level, float widths, OpenMP and threads.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print, or return a dict, as `numpy.show_config` does.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f'mode must be "stdout" or "dicts"; got {mode!r}')
    config = {
        "rtrl": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu level": rtrl_core.cpu_level(),
        "levels built": rtrl_core.built_levels(),
        "float widths": rtrl_core.widths(),
        "openmp": rtrl_core.any_core().OPENMP,
        "threads": available_threads(),
    }
    if mode == "dicts":
        return config
    for name, value in config.items():
        print(f"{name:14}{', '.join(value) if isinstance(value, list) else value}")
    return None
