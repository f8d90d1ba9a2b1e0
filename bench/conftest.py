"""Fixtures of the benchmarks: timed runs with bytes, flops and the fraction of the machine's product rate.

A plain test run calls every body once with few steps; with `--benchmark-enable` it is measured.  A round is one call for many
steps, and their number differs; pytest-benchmark gets a timer that counts seconds a step, so that its columns can be compared.
"""

import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # bench is not installed; rtrl may be, and then comes first

from bench import environment

_IN_TIME = environment.tidy()  # before anything loads NumPy
_ROUND_SECONDS = 0.02
_ROUNDS = 9
_MOST_STEPS = 4096
_rows = []


class _StepTimer:
    """A timer for calls that do `steps` steps each: its unit is seconds a step."""

    steps = 1

    def __call__(self):
        return time.perf_counter() / self.steps

    def __repr__(self):
        return "seconds a step"


_timer = _StepTimer()


@pytest.fixture(scope="session")
def machine():
    """dtype -> best product rate of this process in flops a second, measured once; nan in plain test runs."""
    from bench.limits import machine_rate

    rates = {}

    def rate(dtype):
        if dtype not in rates:
            rates[dtype] = machine_rate(dtype)[0]
        return rates[dtype]

    return rate


def pytest_collection_modifyitems(items):
    for item in items:
        if "time_steps" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(timer=_timer))


@pytest.fixture
def time_steps(benchmark, machine):
    """Run `work(steps)` once in a plain run, otherwise in rounds of many steps; record everything per step.

    A group of rows that can be compared has one cell and size, unless another group is named.
    """

    from bench import workloads

    def measure(session, work, flops, group=None):
        benchmark.group = group or workloads.named(session)
        if benchmark.disabled:
            benchmark.pedantic(work, args=(2,), rounds=1, iterations=1)
            return
        whole = workloads.period(session)
        wanted = int(min(_MOST_STEPS, _ROUND_SECONDS * 5e10 / flops))
        _timer.steps = steps = max(1, wanted // whole) * whole
        benchmark.pedantic(work, args=(steps,), rounds=_ROUNDS, iterations=1, warmup_rounds=1)
        seconds = benchmark.stats.stats.median
        limit = machine(session.network.dtype.name)
        benchmark.extra_info |= {
            "steps_per_round": steps,
            "us_per_step": seconds * 1e6,
            "bytes": session.nbytes["total"],
            "bytes_carried": session.nbytes["influence"] + session.nbytes["tape"],
            "flops_per_step": flops,
            "gflops": flops / seconds / 1e9,
            "machine_gflops": limit / 1e9,
            "fraction_of_machine": flops / seconds / limit,
        }
        _rows.append((benchmark.name.removeprefix("test_"), benchmark.extra_info))

    return measure


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["rtrl"] = environment.describe() | {"blas presets removed in time": _IN_TIME}


def pytest_terminal_summary(terminalreporter):
    if not _rows:
        return
    write = terminalreporter.write_line
    write("")
    for name, value in environment.describe().items():
        write(f"{name:14}{value}")
    if not _IN_TIME:
        write("NumPy was loaded before its presets could be removed: the machine's product rate may be too low")
    width = 3 + max(len(name) for name, _ in _rows)
    write(f"\n{'one step':{width}}{'us':>12}{'MB':>10}{'Mflop':>11}{'GFLOP/s':>9}{'of machine':>12}")
    for name, info in _rows:
        write(
            f"{name:{width}}{info['us_per_step']:12.2f}{info['bytes'] / 1e6:10.2f}{info['flops_per_step'] / 1e6:11.3f}"
            f"{info['gflops']:9.1f}{info['fraction_of_machine']:12.1%}"
        )
    write("\nBelow all times are those of one step; of one call for 'files'.")
