"""No step allocates, nothing grows over a million steps, and `nbytes` is what a session takes."""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from common import ESTIMATORS, python, session

import rtrl

COMPILER = shutil.which(os.environ.get("CC", "cc").split()[0])
needs_counter = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or COMPILER is None, reason="counting allocations needs glibc and a C compiler"
)
FORWARD = {name: spec for name, spec in ESTIMATORS.items() if not isinstance(spec, rtrl.TBPTT)}


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """Environment of a process that counts its allocations, those of Python included."""
    library = tmp_path_factory.mktemp("counter") / "allocations.so"
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("allocations.c")], check=True)
    return {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}


def child(code, environment, *arguments):
    """What a process prints as JSON; `calls` and `used` count its allocations and the bytes in use."""
    prelude = """
import ctypes, gc, json, sys
import numpy as np
import rtrl
from common import *
library = ctypes.CDLL(None)
library.allocation_calls.restype = library.allocation_bytes.restype = ctypes.c_long
def calls():
    return library.allocation_calls()
def used():
    gc.collect()
    return library.allocation_bytes()
"""
    return json.loads(python(prelude + code, *arguments, environment=environment).stdout)


@needs_counter
def test_the_counter_counts(counter):
    code = """
before, bytes_before = calls(), used()
kept = [np.ones(1000 + i) for i in range(10)]
print(json.dumps([calls() - before, used() - bytes_before]))
"""
    made, size = child(code, counter)
    assert made >= 10 and 80_000 <= size < 100_000


@needs_counter
@pytest.mark.parametrize("threads, cells", [(1, "rnn, gru, lstm, rhn 3"), (2, "rhn")])
def test_no_step_allocates(counter, threads, cells):
    """A call of 250 steps allocates as often as one of 150, but for a few objects of Python's (an int here or there)."""
    code = """
found = {}
for cell in sys.argv[2].split(", "):
    for name, estimator in ESTIMATORS.items():
        ran = session(CELLS[cell], estimator, OPTIMIZERS["adam"], batch_size=2, threads=int(sys.argv[1]), shadow=rtrl.UORO())
        streams = {steps: (*stream(steps, 2), reset_mask(steps, 2)) for steps in (150, 250)}
        counts = {}
        for repeat in range(3):
            for steps, (xs, ys, resets) in streams.items():
                before = calls()
                ran.run(xs, ys, resets)
                counts[steps] = calls() - before
                before = calls()
                ran.evaluate(xs, ys, resets)
                counts[f"evaluate {steps}"] = calls() - before
        found[f"{cell}, {name}"] = counts
print(json.dumps(found))
"""
    found = child(code, counter, threads, cells)
    assert len(found) == len(ESTIMATORS) * len(cells.split(", "))
    for name, counts in found.items():
        for kind in ("", "evaluate "):
            assert abs(counts[f"{kind}250"] - counts[f"{kind}150"]) < 10, (name, counts)


@needs_counter
def test_calls_leave_nothing_behind(counter):
    """Thousands of single calls of every kind, refused ones included: the bytes in use stay where they are."""
    code = """
found = {}
for name, estimator in ESTIMATORS.items():
    ran = session(rtrl.GRU(4), estimator, OPTIMIZERS["momentum"], batch_size=2)
    (xs, ys), ids = stream(4, 2), stream(4, 2, dense=False)[0]
    def everything():
        ran.step(xs[0], ys[0]), ran.step(ids[0], ys[0]), ran.run(xs, ys)
        ran.predict(xs[0]), ran.evaluate(xs, ys, reset_mask(4, 2)), ran.influence(), ran.health(), ran.nbytes, ran.hidden
        ran.feedback(ran.advance(xs[1])), ran.apply(ran.gradient()), ran.reset()
        for bad in (xs, ys, None, "a"):
            try:
                ran.step(bad, bad)
            except (TypeError, ValueError):
                pass
    for _ in range(20):
        everything()
    before = used()
    for _ in range(200):
        everything()
    found[name] = used() - before
before = used()
for _ in range(50):
    for estimator in ESTIMATORS.values():
        ran = session(rtrl.LSTM(9), estimator, OPTIMIZERS["adam"], batch_size=3, shadow=rtrl.RTRL())
        ran.run(*stream(3, 3))
    ran = None
found["sessions"] = used() - before
print(json.dumps(found))
"""
    for name, growth in child(code, counter).items():
        assert growth < 20_000, (name, growth)


@pytest.mark.parametrize("estimator", FORWARD)
def test_flat_over_a_million_steps(estimator):
    """Resident memory of the process after 100,000 steps and after a million."""
    code = """
import json, sys
import numpy as np
import rtrl
from common import ESTIMATORS
net = rtrl.Network(rtrl.RNN(8), 4, rtrl.Softmax(4))
ran = rtrl.Session(net, ESTIMATORS[sys.argv[1]], rtrl.SGD(1e-3), threads=1)
ids = np.random.default_rng(0).integers(0, 4, 10_001)
def resident():
    with open("/proc/self/status") as lines:
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
sizes = []
for _ in range(100):
    losses = ran.run(ids[:-1], ids[1:])
    sizes.append(resident())
print(json.dumps([sizes, ran.steps, bool(np.isfinite(losses).all()), ran.nbytes["total"]]))
"""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("resident memory is read from /proc, which this system does not have")
    sizes, steps, finite, total = json.loads(python(code, estimator).stdout)
    assert steps == 1_000_000 and finite
    assert sizes[-1] - sizes[9] < 200, sizes  # kilobytes
    assert total < 50_000  # bytes


LARGE = {
    "rtrl": (rtrl.RHN(48), rtrl.RTRL()),
    "uoro": (rtrl.GRU(200), rtrl.UORO()),
    "kfrtrl": (rtrl.LSTM(96), rtrl.KFRTRL()),
    "kfrtrl 2 stages": (rtrl.RHN(160, 2), rtrl.KFRTRL()),
    "immediate": (rtrl.RNN(700), rtrl.Immediate()),
    "tbptt": (rtrl.GRU(128), rtrl.TBPTT(200)),
    "tbptt sliding": (rtrl.LSTM(256), rtrl.TBPTT(50, sliding=True)),
}


@needs_counter
@pytest.mark.parametrize("case", LARGE)
def test_nbytes_is_what_is_taken(counter, case):
    """Within 2 % of what malloc gave, and never more of it resident; with dense inputs and a shadow as well."""
    code = """
from test_memory import LARGE
cell, estimator = LARGE[sys.argv[1]]
def make():
    net = rtrl.Network(cell, 64, rtrl.Softmax(64))
    return rtrl.Session(net, estimator, rtrl.Adam(1e-3), batch_size=4, threads=1)
make()
before = used()
ran = make()
sizes = [(used() - before, ran.nbytes["total"])]
xs, ys = stream(3, 4, rtrl.Softmax(64), inputs=64)
ran.run(xs, ys)
sizes.append((used() - before, ran.nbytes["total"]))
ran.shadow(rtrl.KFRTRL())
ran.run(xs, ys)
sizes.append((used() - before, ran.nbytes["total"]))
print(json.dumps([sizes, ran.nbytes]))
"""
    sizes, nbytes = child(code, counter, case)
    for taken, told in sizes:
        assert told > 2e6 and abs(taken - told) < 0.02 * told, sizes
    assert nbytes["total"] == sum(size for name, size in nbytes.items() if name != "total")


def sizes_of(estimator, cell=rtrl.RHN(64), lanes=4):
    return session(cell, estimator, dtype="float32", batch_size=lanes).nbytes


def test_nbytes_of_the_estimators():
    """The influence of the formulas (MATH.md, docs), padding aside; a tape for TBPTT alone, and it grows with the horizon."""
    n, m, r, lanes = 64, 64 + 3 + 1, 2, 4
    for estimator, numbers in (
        (rtrl.RTRL(), n * r * n * m),
        (rtrl.UORO(), n + r * n * m),
        (rtrl.KFRTRL(), m + r * n * n),
        (rtrl.Immediate(), 0),
    ):
        sizes = sizes_of(estimator)
        assert 4 * lanes * numbers <= sizes["influence"] <= 1.1 * 4 * lanes * numbers and sizes["tape"] == 0
    for sliding in (False, True):
        tapes = [sizes_of(rtrl.TBPTT(horizon, sliding)) for horizon in (10, 20, 40)]
        assert all(each["influence"] == 0 for each in tapes)
        first, second = tapes[1]["tape"] - tapes[0]["tape"], tapes[2]["tape"] - tapes[1]["tape"]
        assert abs(second - 2 * first) < 0.01 * second and first >= 10 * 4 * lanes * (n + r * n + n)
        assert tapes[0]["total"] + first == tapes[1]["total"]
