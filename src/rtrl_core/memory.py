"""Floor 0: refuse requests that cannot fit, before anything is allocated."""

import os

_SMALL = 2**26  # bytes that are never refused: what is available changes from moment to moment

__all__ = ["available_memory", "check_memory", "format_bytes"]


def available_memory():
    """Bytes that this machine can still hand out (its whole memory where it does not tell)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return float("inf")


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
