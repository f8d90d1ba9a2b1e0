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
_LOOK = 0.1  # seconds between looks at whether it should end


def peak_memory(settings, task, estimator, seconds, tell=lambda: None):
    """Resident memory before a session is made, and at its peak.

    Parameters
    ----------
    settings, task, estimator
        The session.
    seconds : float
        Time of one step, which decides how many are made.
    tell : callable
        Called now and then; what it raises ends the process.

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
    command, pipes = (
        [sys.executable, "-m", "rtrl.comparison.resident"],
        dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
    )
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            shown, errors = _talk(process, json.dumps(orders), tell)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        reason = (errors.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process that measures memory failed with status {process.returncode}: {reason}")
    return json.loads(shown)


def _talk(process, orders, tell):
    """What the process says at its end."""
    while True:
        try:
            return process.communicate(orders, timeout=_LOOK)
        except subprocess.TimeoutExpired:
            orders = None  # it has them
            tell()
