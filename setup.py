"""Build of the compiled core: one source, translated by Cython once, compiled for every CPU level and float width.

Environment:
RTRL_LEVELS  comma-separated CPU levels to build (default: all of baseline, avx2, avx512, amx on x86-64);
             native is the fastest that this machine runs
RTRL_WIDTHS  comma-separated float widths to build (default: f32,f64)
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

SOURCE = Path("src/rtrl_core")
HEADERS = [str(SOURCE / folder) for folder in ("base", "arrays")]
TRANSLATED = Path("build/cython")  # C of each .pyx, at the same path below
SIBLINGS = Path("build/siblings")
SHARED = "_cyutility"  # Cython's memory views, which all siblings use
WINDOWS = sys.platform == "win32"
X86 = platform.machine().lower() in ("x86_64", "amd64") and not WINDOWS

LEVELS = {"baseline": []}  # slowest first
if X86:
    LEVELS["avx2"] = ["-mavx2", "-mfma"]
    LEVELS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"]
    LEVELS["amx"] = [*LEVELS["avx512"], "-mavx512bf16", "-mamx-tile", "-mamx-bf16"]
OPTIONAL = (  # what only some compilers know
    # Cells write several arrays in one loop: gcc's limit and clang's for finding out at run time that these do not overlap.
    ["--param=vect-max-version-for-alias-checks=64"],
    ["-mllvm", "-runtime-memory-check-threshold=64"],
    ["-fno-ipa-cp-clone", "-fno-tree-partial-pre", "-fno-gcse-after-reload"],  # a tenth of the build's time, and nothing gained
)
WIDTHS = {"f32": [], "f64": [("RTRL_DOUBLE", "1")]}


def chosen(variable, default, known):
    names = [name for name in os.environ.get(variable, ",".join(default)).split(",") if name]
    for name in names:
        if name not in known:
            raise SystemExit(f"{variable}: unknown {name!r}; expected some of {', '.join(known)}")
    return names


def accepted(*flags):
    """Does the C compiler build a trial program with these flags?"""
    return trial("int main(void) { return 0; }\n", *flags) is not None


def trial(program, *flags):
    """What a C program prints, or None if it cannot be built."""
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "trial.c"), Path(folder, "trial")
        source.write_text(program)
        try:
            subprocess.run([*compiler, "-Werror", *flags, str(source), "-o", str(binary)], check=True, capture_output=True)
            return subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None


def native_levels():
    """CPU levels that this machine runs."""
    program = '#include <stdio.h>\n#include "cpu.h"\nint main(void) {\n'
    for level in LEVELS:
        runs = "1" if level == "baseline" else f"rtrl_{level}()"
        program += f'    if ({runs}) puts("{level}");\n'
    printed = trial(program + "    return 0;\n}\n", "-I", HEADERS[0])
    return ["baseline"] if printed is None else printed.split()


def common_flags():
    """Flags for compiling and for linking; OpenMP, or a warning where the compiler has none."""
    if WINDOWS:
        return ["/O2", "/openmp"], []
    # Contraction is off because it would let a result depend on where a compiler puts a loop's remainder; the kernels
    # say fma where they mean it.
    flags = ["-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
    for group in OPTIONAL:
        if accepted(*group):
            flags += group
    if accepted("-fopenmp"):
        return [*flags, "-fopenmp"], ["-fopenmp"]
    warnings.warn("the C compiler has no OpenMP: rtrl is built to run on one thread", stacklevel=2)
    return flags, []


def pairs():
    """(level, width) of every sibling."""
    names = chosen("RTRL_LEVELS", LEVELS, [*LEVELS, "native"])
    for width in chosen("RTRL_WIDTHS", WIDTHS, WIDTHS):
        # The matrix unit is for float32; gcc 11 knows it.
        known = [level for level in LEVELS if level != "amx" or width == "f32" and accepted(*LEVELS[level])]
        if "native" in names:
            names_here = {*names, [level for level in native_levels() if level in known][-1]}
        else:
            names_here = names
        yield from ((level, width) for level in known if level in names_here)


def translation(name):
    """The C that Cython makes of a source of the core."""
    return TRANSLATED / SOURCE / f"{name}.c"


def siblings():
    """One extension per level and width: the same C under a name of its own."""
    common, linking = common_flags()
    c = translation("floors")
    depends = [str(c), *(str(path) for path in SOURCE.glob("**/*.h"))]
    for level, width in pairs():
        name = f"_{width}_{level}"
        source = SIBLINGS / f"{name}.c"
        opening = f"/* The core for {width} at CPU level {level}. */"
        rewrite(source, f'{opening}\n#define PyInit_{c.stem} PyInit_{name}\n#include "{c.name}"\n')
        yield Extension(
            f"rtrl_core.{name}",
            [str(source)],
            include_dirs=[*HEADERS, str(c.parent)],
            define_macros=WIDTHS[width],
            extra_compile_args=[*common, *LEVELS[level]],
            extra_link_args=linking,
            depends=depends,
        )


def rewrite(path, text):
    """Write a file only where its text changes, so that nothing is built again for it."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class TranslateOnce(build_ext):
    """Translate the sources when something is built, and only what has changed."""

    def build_extensions(self):
        from Cython.Build import cythonize

        sources = {SHARED: f"{SHARED}.c", "_cpu": "base/_cpu.pyx", "floors": "floors.pyx"}
        made = [translation(Path(source).with_suffix("")) for source in sources.values()]
        cythonize(
            [Extension(f"rtrl_core.{name}", [str(SOURCE / source)]) for name, source in sources.items()],
            include_path=[str(SOURCE)],
            build_dir=str(TRANSLATED),
            force=any(c.exists() and c.stat().st_mtime < Path("setup.py").stat().st_mtime for c in made),
            shared_utility_qualified_name=f"rtrl_core.{SHARED}",
            compiler_directives={
                "language_level": 3,
                "boundscheck": False,
                "wraparound": False,
                "cdivision": True,
                "initializedcheck": False,
                "embedsignature": True,
                "auto_pickle": False,  # sessions are pickled by rtrl; this would be a tenth of the code
            },
        )
        super().build_extensions()


class BuildOnlyThis(build_py):
    """Start from an empty folder, so that a wheel never picks up what an earlier build left behind."""

    def run(self):
        shutil.rmtree(Path(self.build_lib, "rtrl_core"), ignore_errors=True)
        shutil.rmtree(Path(self.build_lib, "rtrl"), ignore_errors=True)
        super().run()


setup(
    ext_modules=[
        Extension(f"rtrl_core.{SHARED}", [str(translation(SHARED))]),
        Extension("rtrl_core._cpu", [str(translation("base/_cpu"))], include_dirs=HEADERS, depends=[str(SOURCE / "base/cpu.h")]),
        *siblings(),
    ],
    cmdclass={"build_ext": TranslateOnce, "build_py": BuildOnlyThis},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
