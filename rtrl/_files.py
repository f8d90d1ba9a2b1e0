"""Files of networks and sessions: NumPy's npz with one JSON entry, written whole or not at all."""

import contextlib
import errno
import json
import os
import tempfile
import zipfile
import zlib

import numpy as np

from rtrl import cells, estimators, optimizers, readouts

__all__ = ["naming", "pack", "read", "unpack", "write"]

_FORMAT = 1
_FAMILIES = {"cells": cells, "estimators": estimators, "readouts": readouts, "optimizers": optimizers}


def pack(spec):
    """A spec as plain data; a callable option becomes {"callable": its name}."""
    options = {name: {"callable": repr(value)} if callable(value) else value for name, value in spec.options().items()}
    return {"family": spec._family, "name": type(spec).__name__, "options": options}


def unpack(data):
    """The spec that `pack` described."""
    return getattr(_FAMILIES[data["family"]], data["name"])(**data["options"])


def write(path, kind, description, arrays):
    """Write arrays and a description, to a temporary file that then takes the place of `path`."""
    path = os.fspath(path)
    header = json.dumps({"rtrl": kind, "format": _FORMAT, **description}).encode()
    handle, temporary = tempfile.mkstemp(prefix=".rtrl-", suffix=".tmp", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(handle, "wb") as file:
            entries = {f"array/{name}": value for name, value in arrays.items()}
            np.savez(file, description=np.frombuffer(header, np.uint8), **entries)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def naming(path):
    """Turn whatever goes wrong while a file is understood into a ValueError that names it."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{os.fspath(path)!r} is not a complete file of rtrl of the expected kind: {error}") from error


def read(path, kind):
    """Description and arrays of a file of this kind.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is of another kind, foreign, or damaged.
    """
    path = os.fspath(path)  # a number would be taken for an open file, and closed
    with open(path, "rb") as file, naming(path):
        try:
            with np.load(file, allow_pickle=False) as archive:
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise ValueError("not an archive")
                description = json.loads(archive["description"].tobytes())
                arrays = {name[len("array/") :]: archive[name] for name in archive.files if name.startswith("array/")}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a damaged entry points nowhere
                raise
            raise ValueError(f"damaged or foreign ({error})") from error
        if not isinstance(description, dict) or description.get("rtrl") != kind:
            raise ValueError(f"it does not hold a {kind}")
        if description.get("format") != _FORMAT:
            raise ValueError(f"its format is {description.get('format')!r}, this version reads {_FORMAT}")
        return description, arrays
