"""Where a second thread pays: time of a step on one thread and on two, against the flops of the step.

    taskset -c 0,1 python -m bench.threads [--rounds N] [--hidden N ...] [--lanes N ...] [--calls]

A session with `threads=None` takes a thread for every FLOPS_PER_THREAD flops of a step (`Engine.flops`); the constant in
src/rtrl_core/session/parts.pxi is chosen from this table.  `--calls` times single `step` calls, where each of them opens a
parallel region, instead of `run`.

Both threads need a core of their own, or the figures say nothing: a measurement in which the system took a core away
(involuntary context switches of the process) is thrown away and repeated, a few times.  OMP_PROC_BIND=true keeps each
thread on its core.
"""

import argparse
import os
import resource
import sys
import time

from bench.environment import describe, restart_clean
from bench.rounds import spread

_ESTIMATORS = ("Immediate", "TBPTT25", "UORO", "SnAp", "KFRTRL", "BlockOK4x8", "RTRL")
_LARGEST_RTRL = 32  # hidden units; beyond, exact RTRL takes seconds
_ROUND_SECONDS = 0.003
_TRIES = 8  # of one measurement


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.threads", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--cell", default="RHN", help="cell (default: %(default)s)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[16, 32, 64, 128, 256], help="hidden units")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 4, 16], help="lanes")
    parser.add_argument("--estimators", nargs="+", default=_ESTIMATORS, help="names of bench.workloads.ESTIMATORS")
    parser.add_argument("--calls", action="store_true", help="time single calls of step instead of run")
    options = parser.parse_args(arguments)
    restart_clean()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for name, value in (describe() | {"threads used": "1 and 2", "cores": str(cores)}).items():
        print(f"{name:14}{value}")
    kind = "step" if options.calls else "run"
    print(f"\n{options.cell}, {kind}, float32, 50 ids, Adam: us a step, medians (quartiles of the ratio)")
    print(f"{'estimator':12}{'n':>5}{'B':>4}{'Mflop':>10}{'1 thread':>11}{'2 threads':>11}   speed-up")
    rows = [
        row(options, estimator, hidden, lanes)
        for estimator in options.estimators
        for hidden in options.hidden
        for lanes in options.lanes
        if estimator != "RTRL" or hidden <= _LARGEST_RTRL
    ]
    _summary(rows)
    return 0


def row(options, estimator, hidden, lanes):
    """Measure and print one line; returns (flops, median speed-up)."""
    from bench.workloads import ESTIMATORS, make, step_flops, stream

    sessions = {threads: make(options.cell, hidden, ESTIMATORS[estimator], lanes, threads=threads) for threads in (1, 2)}
    flops = step_flops(sessions[1])
    steps = int(min(1024, max(2, _ROUND_SECONDS * 5e10 / flops)))
    xs, ys = stream(steps, lanes)

    def side(session):
        if not options.calls:
            return lambda: session.run(xs, ys)

        def calls():
            for x, y in zip(xs, ys):
                session.step(x, y)

        return calls

    taken = _undisturbed({threads: side(session) for threads, session in sessions.items()}, options.rounds)
    one, two = (spread(taken[threads] / steps * 1e6).median for threads in (1, 2))
    gain = spread(taken[1] / taken[2])
    print(f"{estimator:12}{hidden:5}{lanes:4}{flops / 1e6:10.3f}{one:11.2f}{two:11.2f}   {gain.text('.2f')}", flush=True)
    return flops, gain.median


def _undisturbed(sides, rounds):
    """Seconds per call of every side, round by round, like `bench.rounds.interleave`."""
    import numpy as np

    taken = {name: np.empty(rounds) for name in sides}
    for side in (*sides.values(), *sides.values()):
        side()
    for i in range(rounds):
        for name, side in sides.items():
            for _ in range(_TRIES):
                before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
                side()  # both cores awake
                began = time.perf_counter()
                side()
                taken[name][i] = time.perf_counter() - began
                if resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == before:
                    break
    return taken


def _summary(rows):
    """Worst and middle speed-up by the flops of a step."""
    import numpy as np

    print(f"\n{'Mflop a step':>18}   least and median speed-up, number of rows")
    edges = [0, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1e8, np.inf]
    for low, high in zip(edges, edges[1:]):
        gains = [gain for flops, gain in rows if low <= flops < high]
        if gains:
            print(f"{low / 1e6:8.2f} .. {high / 1e6:6.2f}   {min(gains):.2f}  {np.median(gains):.2f}  {len(gains)}")


if __name__ == "__main__":
    sys.exit(main())
