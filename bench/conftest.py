"""Fixtures of the benchmarks: timed runs with bytes, flops and the fraction of the machine's product rate.

A plain test run calls every body once with few steps; with `--benchmark-enable` it is measured.
"""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # bench is not installed; rtrl may be, and then comes first

from bench import environment

_IN_TIME = environment.tidy()  # before anything loads NumPy
_ROUND_SECONDS = 0.02
_ROUNDS = 9
_rows = []


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


@pytest.fixture
def time_steps(benchmark, machine):
    """Run `work(steps)` once in a plain run, otherwise in rounds of many steps; record everything per step."""

    def measure(session, work, flops):
        if benchmark.disabled:
            benchmark.pedantic(work, args=(2,), rounds=1, iterations=1)
            return
        steps = int(min(4096, max(1, _ROUND_SECONDS * 5e10 / flops)))
        benchmark.pedantic(work, args=(steps,), rounds=_ROUNDS, iterations=1, warmup_rounds=1)
        seconds = benchmark.stats.stats.median / steps
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
        _rows.append((benchmark.name, benchmark.extra_info))

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
    write(f"\n{'per step':52}{'us':>12}{'MB':>10}{'Mflop':>11}{'GFLOP/s':>9}{'of machine':>12}")
    for name, info in _rows:
        write(
            f"{name:52}{info['us_per_step']:12.2f}{info['bytes'] / 1e6:10.2f}{info['flops_per_step'] / 1e6:11.3f}"
            f"{info['gflops']:9.1f}{info['fraction_of_machine']:12.1%}"
        )
