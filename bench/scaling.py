"""Cost of a step against hidden units and lanes, and the slopes in log-log.

python -m bench.scaling [--rounds N] [--threads N]
"""

import argparse

import numpy as np

import rtrl
from bench.cases import DIRECT, blocked
from bench.environment import describe, pin, restart_clean
from bench.rounds import interleave, spread
from bench.workloads import make, step_flops, stream

__all__ = ["ESTIMATORS", "lines", "measure", "slope"]

ESTIMATORS = tuple(each for each in (rtrl.TBPTT(25), rtrl.UORO(), DIRECT, blocked(8), rtrl.BlockOK(4, 8)) if each is not None)
HIDDEN, AT_LANES = (32, 64, 128, 256, 512), 16
LANES, AT_HIDDEN = (1, 2, 4, 8, 16, 32), 128
_FITTED = 3  # points at the upper end: below, calls and bookkeeping hide the power
_CALL_FLOPS = 5e8


def measure(rounds, threads=1, hidden=HIDDEN, lanes=LANES, estimators=ESTIMATORS):
    """Medians of seconds a step: {"n" or "B": {"at": ..., "cost": {estimator: {size: seconds}}}}."""
    sizes = {"n": [(n, AT_LANES) for n in hidden], "B": [(AT_HIDDEN, count) for count in lanes]}
    found = {}
    for axis, pairs in sizes.items():
        cost = {str(each): {} for each in estimators}
        for n, count in pairs:
            for name, seconds in _together(n, count, estimators, rounds, threads).items():
                cost[name][n if axis == "n" else count] = spread(seconds).median
        found[axis] = {"at": f"B={AT_LANES}" if axis == "n" else f"n={AT_HIDDEN}", "cost": cost}
    return found


def _together(hidden, lanes, estimators, rounds, threads):
    """Seconds a step of all estimators at one size, in turns."""
    runs, counts = {}, {}
    for estimator in estimators:
        session = make("RHN", hidden, estimator, lanes, threads=threads)
        count = 25 * int(max(1, min(40, _CALL_FLOPS / step_flops(session) / 25)))
        xs, ys = stream(count, lanes)
        runs[str(estimator)] = lambda session=session, xs=xs, ys=ys: session.run(xs, ys)
        counts[str(estimator)] = count
    return {name: seconds / counts[name] for name, seconds in interleave(runs, rounds).items()}


def slope(cost):
    """Exponent of the power law through the upper end of {size: seconds}."""
    sizes = sorted(cost)[-_FITTED:]
    return float(np.polyfit(np.log(sizes), np.log([cost[size] for size in sizes]), 1)[0])


def lines(found):
    """Both tables as text."""
    for axis, part in found.items():
        sizes = sorted(next(iter(part["cost"].values())))
        yield ""
        yield f"{'us a step, RHN, ' + part['at']:28}" + "".join(f"{f'{axis}={size}':>10}" for size in sizes) + f"{'slope':>9}"
        for name, cost in part["cost"].items():
            yield f"{name:28}" + "".join(f"{cost[size] * 1e6:10.1f}" for size in sizes) + f"{slope(cost):9.2f}"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args(arguments)
    restart_clean(options.threads)
    pin(options.threads)
    for name, value in describe(options.threads).items():
        print(f"{name:14}{value}")
    print(*lines(measure(options.rounds, options.threads)), sep="\n")


if __name__ == "__main__":
    main()
