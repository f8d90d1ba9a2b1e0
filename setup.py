"""Build of the compiled core: one Cython source, one extension per CPU level and float width.

Environment (for development):
RTRL_LEVELS  comma-separated CPU levels to build (default: all of baseline, avx2, avx512, amx on x86-64)
RTRL_WIDTHS  comma-separated float widths to build (default: f32,f64)
"""

import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

SOURCE = Path("src/rtrl_core")
GENERATED = Path("build/siblings")
WINDOWS = sys.platform == "win32"
X86 = platform.machine().lower() in ("x86_64", "amd64") and not WINDOWS

LEVELS = {"baseline": []}
if X86:
    LEVELS["avx2"] = ["-mavx2", "-mfma"]
    LEVELS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"]
    LEVELS["amx"] = [*LEVELS["avx512"], "-mavx512bf16", "-mamx-tile", "-mamx-bf16"]
WIDTHS = {"f32": [], "f64": [("RTRL_DOUBLE", "1")]}


def chosen(variable, known):
    names = [name for name in os.environ.get(variable, ",".join(known)).split(",") if name]
    for name in names:
        if name not in known:
            raise SystemExit(f"{variable}: unknown {name!r}; expected some of {', '.join(known)}")
    return names


def accepted(*flags):
    """Does the C compiler build a trial program with these flags?"""
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, "trial.c")
        trial.write_text("int main(void) { return 0; }\n")
        command = [*compiler, "-Werror", *flags, str(trial), "-o", str(Path(folder, "trial"))]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return False
    return True


def common_flags():
    """Flags for compiling and for linking; OpenMP, or a warning where the compiler has none."""
    if WINDOWS:
        return ["/O2", "/openmp"], []
    # Contraction is off because it would let a result depend on where a compiler puts a loop's remainder; the kernels
    # say fma where they mean it.
    flags = ["-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
    if accepted("--param=vect-max-version-for-alias-checks=64"):  # cells write several arrays in one loop
        flags.append("--param=vect-max-version-for-alias-checks=64")
    if accepted("-fopenmp"):
        return [*flags, "-fopenmp"], ["-fopenmp"]
    warnings.warn("the C compiler has no OpenMP: rtrl is built to run on one thread", stacklevel=2)
    return flags, []


def siblings():
    """One extension per level and width, each from its own one-line source."""
    common, linking = common_flags()
    headers = [str(SOURCE / folder) for folder in ("base", "arrays")]
    depends = [str(path) for pattern in ("**/*.pxi", "**/*.h") for path in SOURCE.glob(pattern)]
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir(parents=True)
    for level, width in itertools.product(chosen("RTRL_LEVELS", LEVELS), chosen("RTRL_WIDTHS", WIDTHS)):
        if level != "amx" or width == "f32" and accepted(*LEVELS[level]):  # that unit is for float32; gcc 11 knows it
            name = f"_{width}_{level}"
            source = GENERATED / f"{name}.pyx"
            source.write_text(f'# The core for {width} at CPU level {level}.\ninclude "floors.pxi"\n')
            yield Extension(
                f"rtrl_core.{name}",
                [str(source)],
                include_dirs=headers,
                define_macros=WIDTHS[width],
                extra_compile_args=[*common, *LEVELS[level]],
                extra_link_args=linking,
                depends=depends,
            )


class BuildOnlyThis(build_py):
    """Start from an empty folder, so that a wheel never picks up what an earlier build left behind."""

    def run(self):
        shutil.rmtree(Path(self.build_lib, "rtrl_core"), ignore_errors=True)
        shutil.rmtree(Path(self.build_lib, "rtrl"), ignore_errors=True)
        super().run()


setup(
    ext_modules=cythonize(
        [*siblings(), Extension("rtrl_core._cpu", [str(SOURCE / "base/_cpu.pyx")], include_dirs=[str(SOURCE / "base")])],
        include_path=[str(SOURCE)],
        build_dir="build/cython",
        nthreads=0,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
    cmdclass={"build_py": BuildOnlyThis},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
