"""One table: rtrl, its rivals, the machine's limits, and the ratios that we want.

    python -m bench [--only GROUP ...] [--rounds N] [--threads N] [--cpu-time] [--cell RHN] [--out DIR]

All sides of a row take turns and a ratio is formed round by round.  With --out, everything goes to DIR/bench.json, and
where matplotlib is installed to DIR/cost.png and DIR/memory.png.  Targets are those of one thread.  Exit status 1 if one
is missed.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from bench.environment import describe, pin, restart_clean
from bench.rounds import use_cpu_time
from bench.workloads import CELLS

GROUPS = ("threads", "products", "bandwidth", "estimators", "rivals", "stream", "scaling", "memory")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="groups (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of every side (default: %(default)s)")
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine: count what this process had of its CPU")
    parser.add_argument("--cell", choices=CELLS, default="RHN", help="of the table of bytes (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write bench.json and the figures")
    options = parser.parse_args(arguments)
    if options.cpu_time and (options.threads > 1 or "threads" in options.only):
        parser.error("--cpu-time is for one thread: choose --only without threads")
    if arguments is None:
        restart_clean(options.threads)
    if options.cpu_time:
        use_cpu_time()
    found = {"environment": describe(options.threads) | {"clock": "CPU time" if options.cpu_time else "wall"}}
    for name, value in found["environment"].items():
        print(f"{name:14}{value}")
    rows = _table(options, found)
    _further(options, found)
    if options.out:
        _write(options.out, found)
    from bench.table import judged

    reached, missed, absent = judged(rows)
    if rows and options.threads == 1:
        print(f"\n{reached} targets reached, {missed} missed, {absent} not measured")
    return 1 if missed else 0


def _groups(options, found):
    """Generators of the rows of the table, in its order; threads come first, because then the process is pinned."""
    from bench import comparison, limits, own

    rounds, threads = options.rounds, options.threads
    if "threads" in options.only:
        yield own.threads(rounds)
    if set(options.only) <= {"threads", "memory"}:
        return
    found["pinned"] = pin(threads)
    rates = limits.measure(rounds, threads)
    found["limits"] = asdict(rates)
    groups = {
        "products": lambda: own.products(rounds, threads),
        "bandwidth": lambda: own.bandwidth(rounds, threads),
        "estimators": lambda: own.prices(rounds, rates, threads),
        "rivals": lambda: comparison.cases(rounds, threads, rates),
        "stream": lambda: comparison.stream(rounds, rates),
    }
    yield from (rows() for name, rows in groups.items() if name in options.only)


def _table(options, found):
    """Print rows as they come; targets are those of one thread."""
    from bench.table import heading, line

    rows = []
    for group in _groups(options, found):
        for each in group:
            if options.threads > 1 and each.group != "threads":
                each = replace(each, target=None)
            if not rows or each.group != rows[-1].group:
                print(heading(each.group))
            print(line(each), flush=True)
            rows.append(each)
    found["rows"] = [each.plain() for each in rows]
    return rows


def _further(options, found):
    """Cost against sizes, and bytes."""
    from bench import crossing, plots, scaling

    without = plots.missing()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        if without:
            print(f"\nno figures: {without}")
    if "scaling" in options.only:
        found["scaling"] = scaling.measure(options.rounds, options.threads)
        print(*scaling.lines(found["scaling"]), sep="\n", flush=True)
        if options.out and not without:
            plots.cost(found["scaling"], options.out / "cost.png")
    if "memory" in options.only:
        crossings = list(crossing.crossings(options.cell))
        found["memory"] = [each.plain() for each in crossings]
        print(*crossing.lines(crossings), sep="\n", flush=True)
        if options.out and not without:
            plots.memory(crossings, options.out / "memory.png")


def _write(folder, found):
    with open(folder / "bench.json", "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
