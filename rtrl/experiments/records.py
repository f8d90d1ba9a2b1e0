"""Files of a run's folder as they are read: whatever is wrong with them is said in one sentence.

A folder may come from somebody else, or from a disk that has lost a part of it.  What this module lets through has the names and
types that the rest of the studies relies on; and no name in a file leads out of the folder.
"""

import json
import os
import re
import reprlib
import shlex
import stat
import zipfile
import zlib

from rtrl._spec import integer, non_negative

__all__ = ["WRONG", "in_line", "is_plain", "read_lines", "read_run", "read_state", "said", "sealed"]

# What code raises that meets data of another kind than it was written for.
WRONG = (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


def said(error):
    """An error of `WRONG` in words: what was raised for people to read, or what it was."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def read_run(folder):
    """What run.json says, with its names and types.

    Raises
    ------
    OSError
        If there is none.
    ValueError
        If it is damaged; the message says how.
    """
    return _read(folder / "run.json", _RUN, _RUN_NOW)


def read_state(folder):
    """What the checkpoint says, or None: a run may have been killed before its first.  Errors as `read_run`."""
    path = folder / "state.json"
    return _read(path, _STATE, _STATE_NOW) if os.path.lexists(path) else None


def read_lines(folder, name, size):
    """Records of rows.jsonl or times.jsonl.

    Parameters
    ----------
    folder : Path
        Of the run.
    name : {"rows", "times"}
        Which.
    size : int
        Bytes that the checkpoint stands for: they must be whole.  Lines behind them that cannot be read are left out; a run
        that is at work, a kill, or a loss of power leaves such lines.

    Raises
    ------
    OSError, ValueError
        As `read_run`, or if the file is shorter.
    """
    path, found = folder / f"{name}.jsonl", []
    data = _bytes(path) if os.path.lexists(path) else b""
    if len(data) < size:
        raise ValueError(f"{path.name} is shorter than at the last checkpoint")
    for number, text in enumerate(data[:size].splitlines(), 1):
        try:
            found.append(_record(text, _LINES[name]))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from None
    for text in data[size:].splitlines(keepends=True):
        try:
            found += [_record(text, _LINES[name])] if text.endswith(b"\n") else []
        except (TypeError, ValueError, RecursionError):
            continue
    return found


def is_plain(path):
    """Whether a path is a file in its folder, and no link to one elsewhere; nor a pipe, on which work would wait."""
    return stat.S_ISREG(os.lstat(path).st_mode)


def in_line(record):
    """A record whose words cannot steer a terminal or begin a line: it may come from elsewhere, and people will see it."""
    return {_in_line(name): _in_line(value) if isinstance(value, str) else value for name, value in record.items()}


def _in_line(words):
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", words)


def sealed(path):
    """Have a file and its name on the disk, whoever wrote it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    if os.name == "posix":  # elsewhere a folder is no file
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path, needed, more):
    try:
        return _record(_bytes(path), needed, more)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def _bytes(path):
    if path.exists() and not path.is_file():
        raise ValueError(f"{path.name} is no file")
    return path.read_bytes()


def _record(text, needed, more=()):
    """A dict from JSON, once its values have been looked at."""
    record = json.loads(text.decode(), parse_constant=_no_number)
    if not isinstance(record, dict):
        raise ValueError(f"an object in braces is needed; got {reprlib.repr(record)}")
    for name, check in [*dict(needed).items(), *dict(more).items()]:
        if name in record:
            check(name, record[name])
        elif name in needed:
            raise ValueError(f"{name} is missing")
    return record


def _no_number(word):
    raise ValueError(f"{word} is no number")


def _count(name, value):
    integer(name, value, least=0, most=2**62)


def _text(name, value):
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text; got {reprlib.repr(value)}")


def _dict(name, value):
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object in braces; got {reprlib.repr(value)}")


def _command(name, value):
    _text(name, value)
    if not shlex.split(value):  # which raises ValueError where a quotation has no end
        raise ValueError(f"{name} is empty")


def _settings(name, value):
    _dict(name, value)
    for key, each in value.items():
        if not isinstance(each, (str, bool, int, float, type(None))):
            raise ValueError(f"{name}: {key} must be a word or a number; got {reprlib.repr(each)}")


def _file(name, value):
    if not (isinstance(value, str) and re.fullmatch(r"step-[0-9]+\.npz", value)):
        raise ValueError(f"{name} must be the name of a checkpoint, such as step-100.npz; got {reprlib.repr(value)}")


# What must be there, and what newer versions write.
_RUN = {"study": _text, "settings": _settings, "title": _text, "command": _command}
_RUN_NOW = {"work": _count, "version": _text, "cpu_level": _text, "commit": _text}
_STATE = {"step": _count, "file": _file, "rows": _count, "times": _count, "state": _dict}
_STATE_NOW = {"steps": _count, "unit": _text}
_LINES = {"rows": {}, "times": {"seconds": non_negative}}
