"""Exact bytes of sessions as a function of horizon, hidden units and lanes: nothing is run.

    python -m bench.memory [--cell RHN] [--format table|csv]

"carried" is what an estimator keeps from step to step (influence or tape), "total" everything with weights,
optimizer (Adam) and workspace; `Session.nbytes` says so before the first step, because all memory is
allocated when a session is made.  A session that would not fit is refused, and its row says so.
"""

import argparse

import rtrl
from bench.workloads import CELLS, IDS, make

__all__ = ["rows"]

HIDDEN = (32, 128, 512)
LANES = (1, 16)
ESTIMATORS = (
    rtrl.Immediate(), rtrl.TBPTT(1), rtrl.TBPTT(5), rtrl.TBPTT(25), rtrl.TBPTT(100), rtrl.TBPTT(1000),
    rtrl.UORO(), rtrl.KFRTRL(), rtrl.RTRL(),
)


def rows(cell, hidden=HIDDEN, lanes=LANES, estimators=ESTIMATORS):
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
    columns = [(n, lanes) for n in HIDDEN for lanes in LANES]
    print(f"{'':36}" + "".join(f"{f'n = {n}, B = {lanes}':>28}" for n, lanes in columns))
    cells = {(estimator, n, lanes): (carried, total) for estimator, n, lanes, carried, total in found}
    for estimator in ESTIMATORS:
        texts = [_pair(*cells[estimator, n, lanes]) for n, lanes in columns]
        print(f"{estimator!r:36}" + "".join(f"{text:>28}" for text in texts))


def _or_empty(value):
    return "" if value is None else value


def _pair(carried, total):
    return "refused: does not fit" if total is None else f"{carried:,} | {total:,}"


if __name__ == "__main__":
    main()
