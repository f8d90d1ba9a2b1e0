"""Commands that are killed while they run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rows_of(folder):
    """Bytes of the rows of the only run below a folder."""
    (path,) = Path(folder).glob("**/rows.jsonl")
    return path.read_bytes()


def killed(command, folder, lines):
    """Start a command, and end it by SIGKILL once its run has written so many lines."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < limit:
        path = next(Path(folder).glob("**/rows.jsonl"), None)
        if path is not None and path.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    return process.wait()
