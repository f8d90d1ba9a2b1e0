"""A fair environment for baselines, and what a reader has to know of the machine.

Variables such as OPENBLAS_CORETYPE=Haswell make NumPy run at half speed; a machine may preset them.
Every comparison therefore starts without them, with as many BLAS threads as asked (one unless said
otherwise), and prints the core type that the BLAS chose.
"""

import ctypes
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

__all__ = ["allowed_cpus", "blas_core", "describe", "pin", "restart_clean", "tidy"]

_HANDICAPS = ("OPENBLAS_", "GOTO_", "MKL_", "DNNL_", "ONEDNN_", "ATEN_CPU_", "NPY_DISABLE_CPU", "NPY_ENABLE_CPU")
_COUNTS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CORE_NAMES = tuple(f"{prefix}openblas_get_corename{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", ""))


def _clean(environment, threads=1):
    kept = {name: value for name, value in environment.items() if not name.startswith(_HANDICAPS)}
    return kept | dict.fromkeys(_COUNTS, str(threads))


def restart_clean(threads=1):
    """Start this program again without presets that slow a baseline down, if there are any.

    A BLAS reads its variables when it is loaded, so changing them in a running process is too late.
    """
    clean = _clean(os.environ, threads)
    if clean != dict(os.environ):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean)


def tidy():
    """The same within this process, as long as NumPy is not loaded; returns whether that was in time."""
    clean = _clean(os.environ)
    if clean == dict(os.environ):
        return True
    for name in set(os.environ) - set(clean):
        del os.environ[name]
    os.environ.update(clean)
    return "numpy" not in sys.modules


def allowed_cpus():
    """Numbers of the CPUs that this process may use, where the system says so, otherwise all of them."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:
        return list(range(os.cpu_count() or 1))


def pin(threads):
    """Keep what starts from now on to as many CPUs; a thread pool that counts CPUs, such as JAX's, then has that size.

    Returns whether the system allows it.
    """
    try:
        os.sched_setaffinity(0, allowed_cpus()[-threads:])
    except (AttributeError, OSError):
        return False
    return True


def blas_core():
    """The core type that NumPy's OpenBLAS has chosen, such as "SkylakeX", or "unknown"."""
    import numpy as np

    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".libs", package / ".dylibs"):
        for library in folder.glob("*openblas*"):
            for name in _CORE_NAMES:
                function = getattr(ctypes.CDLL(str(library)), name, None)
                if function is not None:
                    function.restype = ctypes.c_char_p
                    return function().decode()
    return "unknown"


def describe(threads=1):
    """What any figure must be read with, as a dict of str: CPU, its level, threads, versions, BLAS core type."""
    import numpy as np

    import rtrl

    config = rtrl.show_config("dicts")
    return {
        "cpu": _cpu_name(),
        "cpu level": config["cpu level"],
        "cpus": str(config["threads"]),
        "threads used": str(threads),
        "rtrl": config["rtrl"],
        "python": config["python"],
        "numpy": np.__version__,
        "blas core": blas_core(),
    } | {name: version for name in ("torch", "jax") if (version := _version(name))}


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
