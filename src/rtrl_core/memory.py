"""Floor 0: refuse requests that cannot fit, before anything is allocated."""

import os

_SMALL = 2**26  # bytes that are never refused: what is available changes from moment to moment

__all__ = ["available_memory", "check_memory", "format_bytes"]


def available_memory(root="/"):
    """Bytes that this process can still get: of the machine, and of every control group (container) that it is in.

    `root` is where the files of the system are found.
    """
    return min([_of_machine(root), *_of_groups(root)])


def _lines(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _of_machine(root):
    """What Linux says is available; elsewhere the whole memory, where that is known."""
    for line in _lines(f"{root}/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return float("inf")


def _of_groups(root):
    """What is left to each group, from the process' own up to the root of all, in version 2 and 1 of control groups.

    A container may see its own group as the root, and call it by the name that it has outside: folders that are not there
    are passed over.
    """
    for line in _lines(f"{root}/proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            place, limit, usage, cache = "", "memory.max", "memory.current", ("active_file", "inactive_file")
        elif "memory" in controllers.split(","):
            place, limit, usage = "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = ("total_active_file", "total_inactive_file")
        else:
            continue
        parts = path.strip("/").split("/")
        for depth in range(len(parts), -1, -1):
            folder = "/".join([f"{root}/sys/fs/cgroup{place}", *parts[:depth]])
            most, used = _lines(f"{folder}/{limit}"), _lines(f"{folder}/{usage}")
            if most and used and most[0].isdigit() and used[0].isdigit():  # else "max", or not there
                held = dict(line.split(" ", 1) for line in _lines(f"{folder}/memory.stat") if " " in line)
                yield max(0, int(most[0]) - int(used[0]) + sum(int(held.get(name, 0)) for name in cache))


def format_bytes(count):
    """`count` bytes in the largest binary unit that keeps it above one."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} PiB"


def check_memory(total, parts):
    """Raise MemoryError, saying how much was asked for, if `total` bytes are not to be had.

    Parameters
    ----------
    total : float
        Bytes asked for.
    parts : dict of str to float
        The same bytes by purpose, for the message.
    """
    if total < _SMALL:
        return
    available = available_memory()
    if total > available:
        detail = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items() if size)
        raise MemoryError(
            f"this needs {format_bytes(total)} ({detail}), but only {format_bytes(available)} are available; "
            "use fewer hidden units, a smaller batch, or an estimator that costs less memory"
        )
