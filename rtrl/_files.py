"""Files of networks and sessions: NumPy's npz with one JSON entry, nothing compressed.

A path gets a whole file or keeps the one that it has.  Nothing in a file is believed before it was checked: an entry is read
only into memory that the described object has for it.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
import zipfile
import zlib
from dataclasses import is_dataclass

import numpy as np

from rtrl import cells, estimators, optimizers, readouts
from rtrl._spec import Spec

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Archive", "Unsuited", "naming", "pack", "reading", "unpack", "write"]

_FORMAT = 1
_FAMILIES = {"cells": cells, "estimators": estimators, "readouts": readouts, "optimizers": optimizers}
_PIECE = 2**20  # bytes that are read or written at once


class Unsuited(ValueError):
    """A file is whole, but what was asked for does not go together with it."""


def pack(spec):
    """A spec as plain data; a callable option becomes {"callable": its name}."""
    options = {name: {"callable": repr(value)} if callable(value) else value for name, value in spec.options().items()}
    return {"family": spec._family, "name": type(spec).__name__, "options": options}


def unpack(data):
    """The spec that `pack` described."""
    family, name = data["family"], data["name"]
    made = getattr(_FAMILIES[family], name, None)
    if not (isinstance(made, type) and issubclass(made, Spec) and made._family == family and is_dataclass(made)):
        raise ValueError(f"there is no {name!r} among the {family}")
    return made(**data["options"])


def write(target, kind, description, arrays):
    """Write arrays and a description to a path or an open binary file."""
    digest = _digest()
    for name in sorted(arrays):
        _announce(digest, name, arrays[name].dtype, arrays[name].shape)
        for piece in _pieces(arrays[name]):
            digest.update(_bytes(piece))
    header = json.dumps({"rtrl": kind, "format": _FORMAT, "digest": digest.hexdigest(), **description}).encode()
    entries = {"description": np.frombuffer(header, np.uint8)} | {f"array/{name}": value for name, value in arrays.items()}
    path = _path(target, "write")
    if path is None:
        _store(_Outlet(target), entries)
        getattr(target, "flush", int)()
    else:
        with _replacing(path) as file:
            _store(file, entries)


def _path(target, way):
    """The path that `target` is, as text; None if it is a file that is open for `way`, "read" or "write"."""
    if isinstance(target, (str, bytes, os.PathLike)):
        return os.path.expanduser(os.fsdecode(target))
    if not callable(getattr(target, way, None)):
        raise TypeError(f"expected a path or an open binary file; got {target!r}")
    if hasattr(target, "encoding"):
        raise TypeError(f"expected a file that is open for bytes (mode 'rb' or 'wb'), not for text; got {target!r}")
    able = {"read": "readable", "write": "writable"}[way]
    if hasattr(target, able) and not getattr(target, able)():
        raise io.UnsupportedOperation(f"the file is not {able}: {target!r}")
    return None


# Writing


def _pieces(array):
    """The parts of an array, one after the other, that go through memory at once."""
    step = max(1, _PIECE // max(1, array[:1].nbytes))
    return (array[first : first + step] for first in range(0, len(array), step))


def _bytes(array):
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _digest():
    """A fingerprint of names and contents: a file that was altered is not a state that the engine ever had."""
    return hashlib.blake2b(digest_size=16)


def _announce(digest, name, dtype, shape):
    digest.update(f"{name} {dtype.str} {shape}".encode())


class _Outlet:
    """What zipfile needs of a file that may be a pipe, a socket, or anything else with `write`."""

    def __init__(self, file):
        self._file = file

    def write(self, data):
        left = memoryview(data).cast("B")
        while len(left):
            written = self._file.write(left)  # unbuffered files may take a part
            left = left[len(left) if written is None else written :]
        return len(data)

    def flush(self):
        """zipfile asks for that after every entry; once at the end is enough."""


def _store(file, entries):
    """Write arrays as the entries of an archive, as np.savez does it."""
    archive = zipfile.ZipFile(file, "w")
    try:
        for name, array in entries.items():
            head = io.BytesIO()
            form = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(head, form)
            info = zipfile.ZipInfo(f"{name}.npy")
            info.file_size = len(head.getvalue()) + array.nbytes
            entry = archive.open(info, "w")
            entry.write(head.getvalue())
            for piece in _pieces(array):
                entry.write(_bytes(piece))
            entry.close()
        archive.close()
    finally:
        archive.fp = None  # after an interrupt it must not complain of an entry that is still open


@contextlib.contextmanager
def _replacing(path):
    """A new file that takes the place of `path` once it is complete; links are followed, and permissions stay.

    Its name until then says whose it is, and a lock that its writer lives.
    """
    target = os.path.realpath(path)
    if os.path.islink(target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if os.path.isdir(target) or not os.path.basename(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = None
    allowed = 0o666 if mode is None else stat.S_IMODE(mode)
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file (to write into it all the same, open it and pass that)", path)
    _sweep(target)
    part = None
    try:
        while True:
            part = f"{target}.~rtrl-{secrets.token_hex(4)}"
            file = open(part, "xb", opener=lambda name, flags: os.open(name, flags, allowed))
            if _hold(file) is not False and os.fstat(file.fileno()).st_nlink:
                break  # else somebody swept it away before it was held
            file.close()
        with file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), allowed)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:  # Windows does not rename what is open
                file.close()
            os.replace(part, target)
        _sync(os.path.dirname(target))
    except BaseException:
        with contextlib.suppress(OSError, TypeError):
            os.unlink(part)
        raise


def _hold(file):
    """Whether a file could be locked for this process; None where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):
        return None
    return True


def _sweep(target):
    """Remove what writers of this file left that were killed: nobody holds it any more."""
    folder, name = os.path.split(target)
    left = re.compile(re.escape(name) + r"\.~rtrl-[0-9a-f]{8}")
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if left.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if fcntl is None:
                        os.unlink(entry.path)  # Windows does not remove what is open
                        continue
                    with open(entry.path, "r+b") as file:
                        if _hold(file):
                            os.unlink(entry.path)


def _sync(folder):
    """Let the name of a file outlive a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# Reading


@contextlib.contextmanager
def naming(source):
    """Turn whatever goes wrong while a file is understood into a ValueError that names it."""
    try:
        yield
    except (MemoryError, Unsuited):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a damaged entry points nowhere
            raise
        name = source if isinstance(source, (str, bytes, os.PathLike)) else getattr(source, "name", source)
        name = os.fspath(name) if isinstance(name, os.PathLike) else name
        damaged = isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError))
        reason = f"damaged or foreign ({error})" if damaged else error
        raise ValueError(f"{name!r} is not a complete file of rtrl of the expected kind: {reason}") from error


@contextlib.contextmanager
def reading(source, kind):
    """The `Archive` at a path or in an open binary file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is of another kind, foreign, or damaged; also for what goes wrong in the block.
    """
    path = _path(source, "read")
    with contextlib.nullcontext(source) if path is None else open(path, "rb") as file:
        if not getattr(file, "seekable", bool)():  # a pipe
            file = io.BytesIO(file.read())
        with naming(source):
            yield Archive(file, kind)


class Archive:
    """A file of a network or session while it is read.

    Attributes
    ----------
    description : dict
        What `write` was given, not checked.
    headers : dict of str to (dtype, shape)
        Of every array.  They take no more memory than the file.
    """

    def __init__(self, file, kind):
        self._zip = zipfile.ZipFile(file)
        infos = self._zip.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in infos):
            raise ValueError("it is compressed, which rtrl's files are not")
        if sum(info.file_size for info in infos) > file.seek(0, os.SEEK_END):
            raise ValueError("its entries are larger than the file")
        self._infos = {info.filename.removesuffix(".npy"): info for info in infos}
        self.headers = {}
        self.description = json.loads(self._array("description", np.uint8).tobytes())
        if not isinstance(self.description, dict) or self.description.get("rtrl") != kind:
            raise ValueError(f"it does not hold a {kind}")
        if self.description.get("format") != _FORMAT:
            raise ValueError(f"its format is {self.description.get('format')!r}, this version reads {_FORMAT}")
        for name in self._infos.keys() - {"description"}:
            with self._open(name) as (_, dtype, shape):
                self.headers[name.removeprefix("array/")] = dtype, shape

    @contextlib.contextmanager
    def _open(self, name):
        """An entry where its numbers begin, and their type and shape, which are those of the rest of the entry."""
        info = self._infos[name]
        with self._zip.open(info) as entry:
            version = np.lib.format.read_magic(entry)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran_order, dtype = read(entry)
            if fortran_order or not shape or dtype.hasobject or min(shape) < 0:
                raise ValueError(f"{name} is not an array of rtrl's")
            if entry.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
                raise ValueError(f"{name} is not as long as it says")
            yield entry, dtype, shape

    def _array(self, name, dtype):
        with self._open(name) as (entry, found, shape):
            if found != dtype:
                raise ValueError(f"{name} must be {np.dtype(dtype)}; got {found}")
            return np.frombuffer(entry.read(), dtype).reshape(shape)

    def masks(self, prefix):
        """The boolean arrays whose names begin like this, by the rest of their names."""
        names = [name for name in self.headers if name.startswith(prefix)]
        masks = {name.removeprefix(prefix): self._array(f"array/{name}", bool) for name in names}
        if any((mask.view(np.uint8) > 1).any() for mask in masks.values()):
            raise ValueError("a mask must be 0 and 1")
        return masks

    def fill(self, targets):
        """Read every array into the one of its name.

        Raises
        ------
        ValueError
            If they are others, or were changed since they were written; the targets then hold anything.
        """
        if targets.keys() != self.headers.keys():
            raise ValueError(f"its contents are not those of this object: {min(targets.keys() ^ self.headers.keys())!r}")
        digest = _digest()
        for name in sorted(targets):
            with self._open(f"array/{name}") as (entry, dtype, shape):
                check(name, targets[name].dtype, targets[name].shape, (dtype, shape))
                _announce(digest, name, dtype, shape)
                for piece in _pieces(targets[name]):
                    content = entry.read(piece.nbytes)
                    digest.update(content)
                    piece[...] = np.frombuffer(content, dtype).reshape(piece.shape)
        if digest.hexdigest() != self.description.get("digest"):
            raise ValueError("its contents were changed")


def check(name, dtype, shape, found):
    """Refuse an array of another type or shape; `found` is what is there of both, or None."""
    if found != (dtype, shape):
        got = "nothing" if found is None else f"{found[0]} of shape {found[1]}"
        raise ValueError(f"{name} must be {dtype} of shape {shape}; got {got}")
