"""Files of networks and sessions: NumPy's npz with one JSON entry, written whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
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


def _digest(arrays):
    """A fingerprint of names and contents: a file that was altered is not a state that the engine ever had."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
        digest.update(value.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def write(path, kind, description, arrays):
    """Write arrays and a description, to a temporary file that then takes the place of `path`."""
    path = os.fspath(path)
    header = json.dumps({"rtrl": kind, "format": _FORMAT, "digest": _digest(arrays), **description}).encode()
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
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
        if description.get("digest") != _digest(arrays):
            raise ValueError("its contents were changed")
        return description, arrays
