"""The baseline level runs on any x86-64: its machine code has no instruction of a later CPU (see also old_cpu.py)."""

import importlib.util
import platform
import re
import shutil
import subprocess

import pytest

OBJDUMP = shutil.which("objdump")
# AVX, FMA and AVX-512 put a v in front of a name; the others are BMI, LZCNT and MOVBE.  (tzcnt is an old instruction too.)
LATER = re.compile(
    r"v(?!err|erw|m)\w+|v(?:mov|mask|max|min|mul)\w+"
    r"|andn|bextr|bls(?:i|r|msk)|bzhi|lzcnt|movbe|mulx|pdep|pext|rorx|s[ah][lr]x"
)


def later_instructions(listing):
    """Names of instructions of later CPUs in a listing of objdump, each once."""
    names = {line.split("\t")[1].split()[0] for line in listing.splitlines() if line.count("\t") == 1}
    return sorted(name for name in names if LATER.fullmatch(name.rstrip("lqw")) or LATER.fullmatch(name))


def listing(module):
    """Machine code of a compiled module, skipped where it cannot be had."""
    if OBJDUMP is None or platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("needs objdump on x86-64")
    spec = importlib.util.find_spec(f"rtrl_core.{module}")
    if spec is None:
        pytest.skip(f"rtrl_core.{module} is not built")
    return subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", spec.origin], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", ["_f32_baseline", "_f64_baseline", "_cpu", "_cyutility"])
def test_baseline_has_no_later_instructions(module):
    code = listing(module)
    assert code.count("\n") > 500
    assert later_instructions(code) == []


@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_they_would_be_seen(level):
    found = later_instructions(listing(f"_f32_{level}"))
    assert any(name.startswith("vfmadd") for name in found) and any(name.startswith("vmul") for name in found)


@pytest.mark.parametrize(
    ("line", "later"),
    [
        ("  12:\tvfmadd231ps %ymm1,%ymm2,%ymm3", True),
        ("  12:\tvmovups (%rax),%zmm0", True),
        ("  12:\tandn   %rax,%rbx,%rcx", True),
        ("  12:\tshlx   %rax,%rbx,%rcx", True),
        ("  12:\tmulps  %xmm0,%xmm1", False),
        ("  12:\tverr   %ax", False),
        ("  12:\tshll   %eax", False),
    ],
)
def test_names(line, later):
    assert bool(later_instructions(line)) == later
