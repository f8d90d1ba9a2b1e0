"""The process that `rtrl.comparison.memory` starts: orders as JSON from stdin, resident memory as JSON to stdout.

Most of what a Python process occupies is the interpreter and NumPy.  So this one first imports rtrl and takes one step
with a net of two units, which loads what is loaded late; notes its resident memory; and then makes and runs the session
that was ordered.  The growth is what that session takes.
"""

import contextlib
import json
import sys

import numpy as np

from rtrl.cells import Cell
from rtrl.comparison.specs import parse
from rtrl.estimators import Estimator
from rtrl.network import Network
from rtrl.optimizers import Optimizer
from rtrl.readouts import Readout, Softmax
from rtrl.session import Session

__all__ = []


def _status():
    """Fields of /proc/self/status in bytes, or None where there is no such file."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}
    except (OSError, KeyError, ValueError):
        return None


def _resident():
    """Resident memory now (or its peak so far, which is all that some systems tell), or None."""
    status = _status()
    if status is None:
        return _peak()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak starts anew from here
    return status["VmRSS"]


def _peak():
    """Peak of resident memory, or None."""
    # Not getrusage where /proc exists: there the peak of a child process includes that of its parent.
    status = _status()
    if status is not None:
        return status["VmHWM"]
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _run(orders, cell, batch_size, steps):
    """A session on arbitrary input: what it computes does not matter."""
    readout = parse(orders["readout"], Readout)
    network = Network(cell, orders["inputs"], readout, orders["dtype"], sparsity=orders["sparsity"] or None)
    estimator = parse(orders["estimator"], Estimator)
    optimizer = parse(orders["optimizer"], Optimizer)
    session = Session(network, estimator, optimizer, batch_size=batch_size, threads=orders["threads"])
    xs = np.zeros((1, batch_size), np.int32) if isinstance(readout, Softmax) else np.zeros((1, batch_size, orders["inputs"]))
    for _ in range(steps):
        session.run(xs, xs)


def _main():
    orders = json.load(sys.stdin)
    cell = parse(orders["cell"], Cell)
    _run(orders, cell.replace(hidden=2), 1, 1)
    before = _resident()
    _run(orders, cell, orders["batch_size"], orders["steps"])
    peak = _peak()
    json.dump(None if peak is None else {"before": before, "peak": peak}, sys.stdout)


if __name__ == "__main__":
    _main()
