"""The C of the lowest floors by itself: denormal numbers on every kind of CPU that can be run here, and what compilers say."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import rtrl_core

CORE = Path(__file__).resolve().parents[1] / "src" / "rtrl_core"
INCLUDES = ["-I", str(CORE / "base"), "-I", str(CORE / "arrays")]
HERE = ("gcc", "clang")
# Compiler and emulator of another CPU.  Debian: apt-get install gcc-aarch64-linux-gnu qemu-user
ELSEWHERE = ("aarch64-linux-gnu-gcc", "qemu-aarch64")

# A product of the smallest normal number, and a product with a denormal one: 0 during the work of a session, as usual around it.
FLUSHES = """
#include "platform.h"
#include <float.h>
#ifdef RTRL_DOUBLE
#define LEAST DBL_MIN
#else
#define LEAST FLT_MIN
#endif

__attribute__((noinline)) static int flushed(void) {
    volatile real least = LEAST, half = 0.5, denormal = LEAST / 4, large = 8;
    const volatile real out = least * half, in = denormal * large;
    return (out == 0) + (in == 0);
}

int main(void) {
    const int before = flushed();
    const uint64_t mode = work_begins();
    const int during = flushed();
    work_ends(mode);
    return before == 0 && during == 2 && flushed() == 0 ? 0 : 1;
}
"""

# Every header, and kernels of each kind in full.
KERNELS = (
    "softmax maximum tanhs dot product panels_pull panel_product carry add_terms mix_terms dots turned_dots outers gram_rectangle"
)
HINTS = "".join(f'#include "{path.name}"\n' for path in sorted(CORE.glob("*/*.h")))
HINTS += f"void (*kernels[])(void) = {{{', '.join(f'(void (*)(void)){name}' for name in KERNELS.split())}}};\n"
HINTS += "int main(void) { return 0; }\n"


def compiled(folder, program, compiler, *flags):
    """The program that a compiler makes, skipped where this machine has no such compiler."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    source, binary = folder / "program.c", folder / "program"
    source.write_text(program)
    result = subprocess.run([compiler, *flags, *INCLUDES, str(source), "-lm", "-o", str(binary)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return binary


@pytest.mark.parametrize("width", [[], ["-DRTRL_DOUBLE"]], ids=["float32", "float64"])
@pytest.mark.parametrize(("compiler", "emulator"), [*((each, None) for each in HERE), ELSEWHERE])
def test_denormals_are_0_during_work_only(tmp_path, compiler, emulator, width):
    if emulator is not None and shutil.which(emulator) is None:
        pytest.skip(f"needs {emulator}")
    binary = compiled(tmp_path, FLUSHES, compiler, "-O2", "-static", *width)
    subprocess.run([*([emulator] if emulator else []), str(binary)], check=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_denormals_are_0_in_a_product(dtype):
    columns, least = 128 // np.dtype(dtype).itemsize, np.finfo(dtype).tiny
    left, panel, out = (
        np.full(shape, value, dtype) for shape, value in (((4, 1), 0.5), ((1, columns), least), ((4, columns), 1))
    )
    rtrl_core.core(dtype).panel_values(left, panel, out, False)
    assert (out == 0).all()
    assert (left * panel > 0).all()  # not so outside


@pytest.mark.parametrize("compiler", [*HERE, ELSEWHERE[0]])
def test_compilers_obey_every_hint(tmp_path, compiler):
    flags = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fopenmp"]
    known = ["-Werror=pass-failed"] if compiler == "clang" else ["-Werror=unknown-pragmas"]
    compiled(tmp_path, HINTS, compiler, *flags, *known)
