"""Peak resident memory of a session, measured in a process of its own (`rtrl.comparison.resident`).

In a process that has done other work the allocator reuses memory, and nothing could be said about one session.
"""

import json
import os
import subprocess
import sys

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
        "cell": repr(settings.cell),
        "inputs": task.inputs,
        "readout": repr(task.readout),
        "dtype": settings.dtype,
        "sparsity": settings.sparsity,
        "estimator": repr(estimator),
        "optimizer": repr(settings.optimizer(estimator)),
        "batch_size": settings.batch_size,
        "threads": settings.threads,
        "steps": max(1, min(enough, int(_LONGEST / seconds))),
    }
    # The process must find this very package, however it came to be importable here.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-m", "rtrl.comparison.resident"],
        input=json.dumps(orders),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process that measures memory failed with status {done.returncode}: {reason}")
    return json.loads(done.stdout)
