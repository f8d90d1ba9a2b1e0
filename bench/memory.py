"""Exact bytes of sessions as a function of horizon, hidden units and lanes: nothing is run.

    python -m bench.memory [--cell RHN] [--format table|csv]

"carried" is what an estimator keeps from step to step (influence or tape), "total" everything with weights,
optimizer (Adam) and workspace; `Session.nbytes` says so before the first step, because all memory is
allocated when a session is made.  A session that would not fit is refused, and its row says so.
"""

import argparse

import rtrl
from bench.workloads import CELLS, ESTIMATORS, IDS, make

__all__ = ["rows"]

HIDDEN = (32, 128, 512)
LANES = (1, 16)
ROWS = tuple(dict.fromkeys([rtrl.Immediate(), *map(rtrl.TBPTT, (1, 5, 25, 100, 1000)), *ESTIMATORS.values()]))


def rows(cell, hidden=HIDDEN, lanes=LANES, estimators=ROWS):
    """(estimator, n, B, carried bytes, total bytes) of each; bytes are None where the session was refused."""
    for estimator in estimators:
        for n in hidden:
            for count in lanes:
                try:
                    sizes = make(cell, n, estimator, count).nbytes
                except MemoryError:
                    yield estimator, n, count, None, None
                else:
                    yield estimator, n, count, sizes["influence"] + sizes["tape"], sizes["total"]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=CELLS, default="RHN", help="default: %(default)s")
    parser.add_argument("--format", choices=("table", "csv"), default="table", help="default: %(default)s")
    options = parser.parse_args(arguments)
    found = list(rows(options.cell))
    if options.format == "csv":
        print("cell,estimator,n,lanes,carried_bytes,total_bytes")
        for estimator, n, lanes, carried, total in found:
            print(f'{options.cell},"{estimator!r}",{n},{lanes},{_or_empty(carried)},{_or_empty(total)}')
        return
    print(f"{options.cell}, {IDS} ids in and out, float32, Adam, one thread; bytes carried | in all\n")
    cells = {(estimator, n, lanes): (carried, total) for estimator, n, lanes, carried, total in found}
    for lanes in LANES:
        print(f"{f'B = {lanes}':36}" + "".join(f"{f'n = {n}':>32}" for n in HIDDEN))
        for estimator in ROWS:
            print(f"{str(estimator):36}" + "".join(f"{_pair(*cells[estimator, n, lanes]):>32}" for n in HIDDEN))
        print()


def _or_empty(value):
    return "" if value is None else value


def _pair(carried, total):
    return "refused" if total is None else f"{carried:,} | {total:,}"


if __name__ == "__main__":
    main()
