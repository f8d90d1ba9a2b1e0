"""Ours against the machine and against ourselves: fractions of its limits, prices of estimators, threads."""

import rtrl
from bench.cases import DIRECT, blocked
from bench.environment import allowed_cpus
from bench.limits import copy_call, least_seconds, product_sides
from bench.rounds import interleave, spread
from bench.table import Row, named, row
from bench.workloads import make, stream

__all__ = ["bandwidth", "prices", "products", "threads"]

_LANES = 16
_TWO = "1 thread (ours: 2)"


def _run(cell, hidden, estimator, steps, *, update_every=None, threads=1):
    session = make(cell, hidden, estimator, _LANES, threads=threads, update_every=update_every)
    xs, ys = stream(steps, _LANES)
    return session, lambda: session.run(xs, ys)


def products(rounds, threads=1):
    """KF-RTRL as a fraction of the product rate, 4 n^3 flops a lane and step: 1 is the limit."""
    sides = product_sides("float32", threads)
    own = {name: side for name, side in sides.items() if not name.startswith("torch")}
    for hidden, target in ((256, 0.85), (128, 0.78), (64, 0.55)):
        steps = 8 * (256 // hidden) ** 2
        _, run = _run("RHN", hidden, DIRECT, steps, threads=threads)
        taken = interleave({name: call for name, (call, _) in sides.items()} | {"run": run}, rounds)
        flops = 4.0 * hidden**3 * _LANES
        for against, known, wanted in (
            ("product rate, NumPy's or ours", own, target),
            ("product rate, PyTorch's too", sides, None),
        ):
            best = max(known, key=lambda name: known[name][1] / spread(taken[name]).median)
            limit = taken[best] * flops / sides[best][1]
            what = named(DIRECT, "RHN", hidden, _LANES)
            yield row(
                what,
                against,
                taken["run"] / steps,
                limit,
                target=wanted,
                limit=spread(limit).median,
                group="fraction of the machine",
            )


def bandwidth(rounds, threads=1):
    """What is carried, read and written once a step, as a fraction of the rate of a copy of as many bytes in all."""
    for estimator in (rtrl.UORO(), rtrl.SnAp(), rtrl.RFLO()):
        session, run = _run("RHN", 256, estimator, 16, threads=threads)
        size = session.nbytes["influence"]
        copy, times = copy_call(size, threads)
        taken = interleave({"run": run, "copy": copy}, rounds)
        limit = 2 * taken["copy"] / times  # a copy of half to half touches `size` bytes, a step reads and writes all of them
        what = named(estimator, "RHN", 256, _LANES)
        against = f"copy bandwidth, {size / 2**20:.0f} MiB"
        yield row(
            what, against, taken["run"] / 16, limit, target=0.6, limit=spread(limit).median, group="fraction of the machine"
        )


def prices(rounds, rates, threads=1):
    """Other estimators in units of direct KF-RTRL, and the time-blocked form."""
    for cell, wanted in _prices().items():
        sessions = {"direct": _run(cell, 256, DIRECT, 16, threads=threads)}
        for name, (estimator, every, _, _) in wanted.items():
            sessions[name] = _run(cell, 256, estimator, 16, update_every=every, threads=threads)
        taken = interleave({name: run for name, (_, run) in sessions.items()}, rounds)
        for name, (_, _, target, most) in wanted.items():
            known = {"target": target, "most": most, "limit": least_seconds(sessions[name][0], rates), "group": "estimators"}
            against = "price in direct KFRTRL" if most else "KFRTRL, direct"
            yield row(name, against, taken[name] / 16, taken["direct"] / 16, inverse=most, **known)


def _prices():
    """By cell, name -> (estimator, steps of an update, target, whether at most)."""
    wanted = [
        ("RHN", rtrl.BlockOK(4, 8), 1, 1.35, True),
        ("RHN", rtrl.BlockOK(4, 8), 8, 1.15, True),
        ("RHN", rtrl.BlockOK(2, 8), 8, 1.0, True),
        ("RHN", rtrl.BlockOK(8, 16), 16, 1.4, True),
        ("RHN", rtrl.OK(4), 1, 5.2, True),
        ("RHN", rtrl.OK(1), 1, 1.3, True),
    ]
    if blocked(8) is not None:
        wanted += [("RHN", blocked(8), 1, 1.4, False), ("GRU", blocked(8), 1, 2.2, False)]
    found = {}
    for cell, estimator, every, target, most in wanted:
        name = named(estimator, cell, 256, _LANES) + (f", /{every}" if every > 1 else "")
        found.setdefault(cell, {})[name] = estimator, every, target, most
    return found


def threads(rounds):
    """Two threads against one."""
    for estimator, target in ((DIRECT, 1.85), (rtrl.BlockOK(4, 8), 1.85), (rtrl.UORO(), 1.6)):
        what = named(estimator, "RHN", 256, _LANES)
        if len(allowed_cpus()) < 2:
            yield Row(what, _TWO, target=target, note="only one CPU may be used", group="threads")
            continue
        steps = 16
        runs = {count: _run("RHN", 256, estimator, steps, threads=count)[1] for count in (1, 2)}
        taken = interleave(runs, rounds)
        yield row(what, _TWO, taken[2] / steps, taken[1] / steps, target=target, group="threads")
