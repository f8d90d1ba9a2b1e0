"""No step allocates, nothing grows over a million steps, and `nbytes` is what a session takes."""

import functools
import json
import os
import platform
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from common import ESTIMATORS, python, session

import rtrl
from rtrl_core import memory

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


@needs_counter
def test_every_allocation_may_fail(counter):
    """Whichever of the allocations of a new session fails, MemoryError says so, and the next session is fine."""
    code = """
specs = {**ESTIMATORS, "snap 2": rtrl.SnAp(2), "metric": rtrl.NoBackTrack("kalman")}
found = {}
for name, estimator in specs.items():
    optimizer = rtrl.Kalman(0.1) if name == "metric" else rtrl.Adam(0.1)
    net, n, failed = network(CELLS["rhn 3"], sparsity=0.5 if name == "snap 2" else None), 0, 0
    left = 0
    while left == 0:
        n += 1
        print(name, n, file=sys.stderr, flush=True)
        library.allocation_fail(n)
        try:
            rtrl.Session(net, estimator, optimizer, batch_size=2, threads=1)
        except MemoryError:
            failed += 1
        left = library.allocation_fail(0)
    rtrl.Session(net, estimator, optimizer, batch_size=2, threads=1).run(*stream(3, 2))
    found[name] = [n, failed]
print(json.dumps(found))
"""
    for name, (n, failed) in child(code, counter).items():
        assert failed > 6 and n - failed < 20, (name, n, failed)


def test_loading_and_saving_take_no_second_session(tmp_path):
    """Python allocates little beside the engine's memory, whatever the size."""
    ran = session(rtrl.RNN(100), rtrl.RTRL(), batch_size=3)
    assert ran.nbytes["influence"] > 20_000_000
    for work in (lambda: ran.save(tmp_path / "file"), lambda: rtrl.Session.load(tmp_path / "file")):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6_000_000


# What there is


def machine(root, files):
    """A folder that looks like the root of a system."""
    for path, text in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8000000 kB\n", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return memory.available_memory(root)


def v2(path, most, used, cache=0):
    """Files of a group of version 2."""
    folder = f"sys/fs/cgroup{path}"
    stat = f"anon 5\nfile {cache}\nactive_file {cache // 4}\ninactive_file {cache - cache // 4}\nshmem 7\n"
    return {f"{folder}/memory.max": f"{most}\n", f"{folder}/memory.current": f"{used}\n", f"{folder}/memory.stat": stat}


def v1(path, most, used, cache=0):
    """Files of a group of version 1."""
    folder = f"sys/fs/cgroup/memory{path}"
    stat = f"cache {cache}\ninactive_file 3\ntotal_active_file {cache // 4}\ntotal_inactive_file {cache - cache // 4}\n"
    names = {"memory.limit_in_bytes": most, "memory.usage_in_bytes": used, "memory.stat": stat}
    return {f"{folder}/{name}": f"{value}\n" for name, value in names.items()}


OF_MACHINE, ENDLESS = 8_000_000 * 1024, 9223372036854771712
GROUPS = {
    "none": ({}, OF_MACHINE),
    "version 2": ({"proc/self/cgroup": "0::/job\n", **v2("/job", 10**9, 4 * 10**8)}, 6 * 10**8),
    "version 2, cached files": ({"proc/self/cgroup": "0::/job\n", **v2("/job", 10**9, 4 * 10**8, 10**8)}, 7 * 10**8),
    "version 2, no limit": ({"proc/self/cgroup": "0::/job\n", **v2("/job", "max", 4 * 10**8)}, OF_MACHINE),
    "version 2, limit above": (
        {"proc/self/cgroup": "0::/a/b/c\n", **v2("/a/b/c", "max", 10), **v2("/a/b", 10**9, 10**8), **v2("/a", 2 * 10**9, 0)},
        9 * 10**8,
    ),
    "version 2, narrowest above": (
        {"proc/self/cgroup": "0::/a/b\n", **v2("/a/b", 3 * 10**9, 10**8), **v2("/a", 2 * 10**9, 19 * 10**8)},
        10**8,
    ),
    "version 2, own name space": ({"proc/self/cgroup": "0::/\n", **v2("", 10**9, 10**8)}, 9 * 10**8),
    "version 2, name from outside": ({"proc/self/cgroup": "0::/docker/1234\n", **v2("", 10**9, 10**8)}, 9 * 10**8),
    "version 2, more used than allowed": ({"proc/self/cgroup": "0::/job\n", **v2("/job", 10**9, 2 * 10**9)}, 0),
    "version 2, more than the machine has": ({"proc/self/cgroup": "0::/job\n", **v2("/job", 10**12, 0)}, OF_MACHINE),
    "version 1": ({"proc/self/cgroup": "3:cpu,cpuacct:/job\n4:memory:/job\n0::/\n", **v1("/job", 10**9, 4 * 10**8)}, 6 * 10**8),
    "version 1, no limit": ({"proc/self/cgroup": "4:memory:/job\n", **v1("/job", ENDLESS, 4 * 10**8)}, OF_MACHINE),
    "version 1, cached files": ({"proc/self/cgroup": "4:memory:/job\n", **v1("/job", 10**9, 4 * 10**8, 10**8)}, 7 * 10**8),
    "version 1, name from outside": ({"proc/self/cgroup": "4:memory:/docker/1234\n", **v1("", 10**9, 10**8)}, 9 * 10**8),
    "version 1, other group": ({"proc/self/cgroup": "4:memory:/job\n", **v1("/other", 10**6, 0)}, OF_MACHINE),
    "version 1, not of memory": ({"proc/self/cgroup": "4:cpu:/job\n", **v1("/job", 10**6, 0)}, OF_MACHINE),
    "colons in a name": ({"proc/self/cgroup": "0::/a:b\n", **v2("/a:b", 10**9, 10**8)}, 9 * 10**8),
    "nonsense": ({"proc/self/cgroup": "0::/job\n", **v2("/job", "many", ""), **v2("", "", "")}, OF_MACHINE),
}


@pytest.mark.parametrize("files, expected", GROUPS.values(), ids=GROUPS)
def test_available_memory_ends_where_a_container_does(files, expected, tmp_path):
    assert machine(tmp_path, files) == expected


def test_a_session_beyond_the_container_is_refused(tmp_path, monkeypatch):
    machine(tmp_path, {"proc/self/cgroup": "0::/job\n", **v2("/job", 10**9, 9 * 10**8)})
    monkeypatch.setattr(memory, "available_memory", functools.partial(memory.available_memory, tmp_path))
    with pytest.raises(MemoryError, match=r"this needs 1\.\d+ GiB .* but only 95\.4 MiB are available"):
        session(rtrl.RNN(100), rtrl.RTRL(), batch_size=150)
