"""Texts and series as streams for a session: reading, encoding, cutting into lanes.

A stream is one long array.  A lane reads it from a place of its own and starts over at its end, so a batch
of B lanes is B places in the same stream, and every step of a lane is one element and its successor.
"""

import csv
import re
from pathlib import Path

import numpy as np

from rtrl._arrays import complete
from rtrl._spec import integer

__all__ = ["default_text", "encode", "lanes", "read_series", "read_text"]

_LEAST = 100  # characters or samples; with fewer there is nothing to learn
_DELIMITERS = (";", "\t", "|", ",")  # the comma last: elsewhere it may be a decimal comma
_POINT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def default_text():
    """The English text that every CPython carries: the help topics of `pydoc`, by name.

    Returns
    -------
    str
        About 450,000 characters; the same for the same version of Python.

    Raises
    ------
    ValueError
        If this Python was installed without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ValueError("this Python was installed without pydoc_data, the default text: give a text file instead") from None
    return "\n".join(topics[name] for name in sorted(topics))


def read_text(path, raw=False):
    """The text of a file in UTF-8, line ends as "\\n".

    Parameters
    ----------
    path : path-like
        The file.
    raw : bool
        Each byte as one character instead, whatever it is.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not UTF-8, empty, or shorter than 100 characters.
    """
    text = Path(path).read_bytes().decode("latin-1") if raw else _read(path)
    if len(text) < _LEAST:
        found = f"only {len(text)} characters" if text else "nothing"
        raise ValueError(f"{str(path)!r} holds {found}; at least {_LEAST} characters are needed")
    return text


def _read(path):
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not text in UTF-8 (byte {error.start})") from None


def encode(text):
    """Characters as ids.

    Returns
    -------
    ids : ndarray [characters] of int32
        Place of each character in `vocabulary`.
    vocabulary : str
        The different characters, sorted by code point.

    Raises
    ------
    ValueError
        If the text is empty.
    """
    if not text:
        raise ValueError("text is empty")
    points, ids = np.unique(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"), return_inverse=True)
    return ids.reshape(-1).astype(np.int32), "".join(map(chr, points))


def lanes(stream, batch_size, steps=None, first=0):
    """Cut one stream into lanes, each element with its successor as target.

    Lane b starts at element b * N // batch_size and runs cyclically: the successor of the last element is the first.

    Parameters
    ----------
    stream : ndarray [N]
        Ids or numbers, N >= 2.
    batch_size : int
        Lanes, B.
    steps : int or None
        Time steps, T; None: as many as make one pass over the stream by all lanes together.
    first : int
        The first of them, counted from the start of the lanes.

    Returns
    -------
    xs, ys : ndarray [T, B]
        Inputs and targets, time-major, of the type of `stream`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind.
    """
    stream = complete("stream", stream, "biuf", "ids or numbers")
    if stream.ndim != 1 or len(stream) < 2:
        raise ValueError(f"stream must have shape [N] with N >= 2; got {stream.shape}")
    batch_size = integer("batch_size", batch_size)
    steps = max(1, len(stream) // batch_size) if steps is None else integer("steps", steps)
    starts = np.arange(batch_size) * len(stream) // batch_size
    first = integer("first", first, least=0, most=2**62)
    places = (np.arange(first, first + steps + 1)[:, None] + starts) % len(stream)
    return stream[places[:-1]], stream[places[1:]]


def read_series(path, column=None, standardise=True):
    """One numeric column of a CSV file.

    The delimiter is the first of semicolon, tab, bar and comma that the first line contains outside quotes.  Where it is
    not the comma, numbers may have a decimal comma.  The first line is a header if its cell of the column is not a number.

    Parameters
    ----------
    path : path-like
        A file in UTF-8.
    column : str or None
        Name of the column in the header, or its number counted from 1; None: the last column.
    standardise : bool
        Subtract the mean of the whole series and divide by its standard deviation (of the population, not the sample).

    Returns
    -------
    ndarray [N] of float64

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If there is no such column, a cell is not a finite number (with its line), there are fewer than 100 numbers, or the
        series is constant and should be standardised.
    """
    name = str(path)
    lines = _read(path).splitlines()
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise ValueError(f"{name!r} is empty")
    try:
        delimiter = next((each for each in _DELIMITERS if len(next(csv.reader([first], delimiter=each))) > 1), ",")
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(f"{name!r} is not a CSV file: {error}") from None
    if not rows:
        raise ValueError(f"{name!r} is empty")
    place = _place(name, rows[0][1], column)
    if _number(rows[0][1][place], delimiter) is None:
        del rows[0]
    series = np.array([_cell(name, line, row, place, delimiter) for line, row in rows])
    if len(series) < _LEAST:
        raise ValueError(f"{name!r} holds only {len(series)} numbers in that column; at least {_LEAST} are needed")
    return _standardised(name, series) if standardise else series


def _place(name, header, column):
    """Index of the column that was asked for."""
    header = [cell.strip() for cell in header]
    if column is None:
        return len(header) - 1
    if column in header:
        return header.index(column)
    if str(column).isdecimal() and 1 <= int(column) <= len(header):
        return int(column) - 1
    raise ValueError(f"{name!r} has no column {column!r}; its columns are {', '.join(header)}")


def _number(cell, delimiter):
    """The number in a cell, or None."""
    cell = cell.strip()
    if delimiter != "," and "." not in cell:
        cell = cell.replace(",", ".", 1)
    if not _POINT.fullmatch(cell):
        return None
    value = float(cell)
    return value if np.isfinite(value) else None


def _cell(name, line, row, place, delimiter):
    cell = row[place] if place < len(row) else ""
    value = _number(cell, delimiter)
    if value is None:
        raise ValueError(f"{name!r}, line {line}, column {place + 1}: {cell.strip()!r} is not a number")
    return value


def _standardised(name, series):
    scale = np.abs(series).max()
    if (series == series[0]).all():
        raise ValueError(f"{name!r}: the column is constant, so it cannot be standardised")
    series = series / scale  # so that no square overflows or vanishes
    return (series - series.mean()) / series.std()
