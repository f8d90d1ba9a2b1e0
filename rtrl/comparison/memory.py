"""Peak resident memory of a session, measured in a process of its own.

Most of what a Python process occupies is the interpreter and NumPy, and the allocator of a long-lived process hides what
one session adds.  So a new process imports rtrl, steps once through a net of two units to load what is loaded late,
notes its resident memory, and then makes and runs the session: the growth is what the session takes.

Running this module as a program is that process: it reads its orders as JSON from stdin, and writes JSON.
"""

import json
import os
import subprocess
import sys

from rtrl.comparison.specs import parse

__all__ = ["peak_memory"]

_STEPS = 60
_LONGEST = 3.0  # seconds of stepping


def peak_memory(settings, task, estimator, seconds):
    """Resident memory before a session is made, and at its peak.

    Parameters
    ----------
    settings, task, estimator
        The session.
    seconds : float
        Time of one step, which decides how many are made.

    Returns
    -------
    dict or None
        "before" and "peak" in bytes; None where the system does not tell.

    Raises
    ------
    RuntimeError
        If the process fails.
    """
    enough = max(_STEPS, 2 * getattr(estimator, "horizon", 1))
    orders = {
        "cell": repr(settings.cell), "inputs": task.inputs, "readout": repr(task.readout), "dtype": settings.dtype,
        "estimator": repr(estimator), "batch_size": settings.batch_size, "threads": settings.threads,
        "steps": max(1, min(enough, int(_LONGEST / seconds))),
    }
    # The process must find this very package, however it came to be importable here.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-m", "rtrl.comparison.memory"], input=json.dumps(orders), env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process that measures memory failed with status {done.returncode}: {reason}")
    return json.loads(done.stdout)


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
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the peak starts anew from here
    except OSError:
        pass
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
    import numpy as np

    import rtrl
    from rtrl import cells, estimators, readouts

    readout = parse(orders["readout"], readouts.Readout)
    network = rtrl.Network(cell, orders["inputs"], readout, orders["dtype"])
    session = rtrl.Session(network, parse(orders["estimator"], estimators.Estimator), rtrl.Adam(1e-3), batch_size=batch_size,
                           threads=orders["threads"])
    shape = (1, batch_size)
    xs = np.zeros(shape, np.int32) if isinstance(readout, rtrl.Softmax) else np.zeros((*shape, orders["inputs"]))
    for _ in range(steps):
        session.run(xs, xs)


def _main():
    from rtrl import cells

    orders = json.load(sys.stdin)
    cell = parse(orders["cell"], cells.Cell)
    _run(orders, cell.replace(hidden=2), 1, 1)
    before = _resident()
    _run(orders, cell, orders["batch_size"], orders["steps"])
    peak = _peak()
    json.dump(None if peak is None else {"before": before, "peak": peak}, sys.stdout)


if __name__ == "__main__":
    _main()
