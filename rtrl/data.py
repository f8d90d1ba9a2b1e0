"""Texts and series as streams for a session: reading, encoding, cutting into lanes.

A stream is one long array.  A lane reads it from a place of its own and starts over at its end, so a batch
of B lanes is B places in the same stream, and every step of a lane is one element and its successor.
"""

import csv
import gzip
import os
import re

import numpy as np

from rtrl._arrays import complete
from rtrl._spec import integer

__all__ = ["default_text", "encode", "lanes", "read_series", "read_text"]

_LEAST = 100  # characters or samples; with fewer there is nothing to learn
_DELIMITERS = (";", "\t", "|", ",")  # the comma last: elsewhere it may be a decimal comma
_NONE = "\x1f"  # the delimiter of a file of one column
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}", re.ASCII)
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # Excel says so which delimiter a file has
_GAPS = {
    "",
    "-",
    "--",
    "?",
    "na",
    "n/a",
    "#n/a",
    "nan",
    "null",
    "none",
    "inf",
    "-inf",
    "+inf",
}  # what loggers write for no number


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
    """The text of a file in UTF-8 (UTF-16 if it begins with a mark that says so), also compressed by gzip; line ends as "\\n".

    Parameters
    ----------
    path : path-like
        The file; `~` is the home folder.
    raw : bool
        Each byte as one character instead, whatever it is.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not UTF-8, empty, or shorter than 100 characters.
    """
    text = _bytes(path).decode("latin-1") if raw else _read(path)
    if len(text) < _LEAST:
        found = f"only {len(text)} characters" if text else "nothing"
        raise ValueError(f"{str(path)!r} holds {found}; at least {_LEAST} characters are needed")
    return text


def _bytes(path):
    with open(os.path.expanduser(path), "rb") as file:
        return file.read()


def _read(path):
    content, name = _bytes(path), str(path)
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"{name!r} is compressed by gzip, and damaged: {error}") from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not text in {encoding.upper().removesuffix('-SIG')} (byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


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

    What can be read in one way only is read; everything else is refused, with its line.

    - Blank lines, and lines that begin with #, are skipped.
    - The delimiter is what a first line `sep=` of Excel says, or the first of semicolon, tab, bar and comma that the first row
      has outside quotes.  Without any of them the file has one column.
    - Where the comma does not delimit, it may be the decimal mark; a column has one decimal mark.
    - The first row is the header if the wanted column is found there by its name, or if it has text and no numbers where the
      next row has numbers.
    - No row may have more cells than the first.  A last column without any content is none.

    Parameters
    ----------
    path : path-like
        A file in UTF-8 (UTF-16 if it begins with a mark that says so), also compressed by gzip; `~` is the home folder.
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
        If there is no such column or there are two, a cell is not a finite number (with its line), numbers can be read in two
        ways, there are fewer than 100, or the series is constant and should be standardised.
    """
    name = str(path)
    delimiter, rows = _rows(name, _read(path))
    place = _place(name, rows, column)
    has_header = _has_header(name, rows, place, column)
    _check_widths(name, rows, delimiter, has_header)
    cells = [(line, row[place].strip() if place < len(row) else "") for line, row in rows[has_header:]]
    _check_commas(name, cells, delimiter)
    units = rows[1][0] if has_header and len(rows) > 1 else 0
    series = np.array([_value(name, line, cell, place, delimiter, line == units) for line, cell in cells])
    if len(series) < _LEAST:
        raise ValueError(f"{name!r} holds only {len(series)} numbers in that column; at least {_LEAST} are needed")
    return _standardised(name, series) if standardise else series


def _rows(name, text):
    """The delimiter, and (line, cells) of every row."""
    lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError(f"{name!r} is empty")
    told = _SEP_LINE.fullmatch(lines[0][1])
    if told:
        del lines[0]
    first = lines[0][1] if lines else ""
    delimiter = told[1] if told else next((each for each in _DELIMITERS if len(_cells(name, [first], each)[0]) > 1), _NONE)
    rows = _cells(name, (line + "\n" for _, line in lines), delimiter, [i for i, _ in lines])
    rows = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError(f"{name!r} is empty")
    width = len(rows[0][1])
    if width > 1 and not any(len(row) >= width and row[width - 1].strip() for _, row in rows):
        rows = [(line, row[: width - 1] + row[width:]) for line, row in rows]  # every line ends with a delimiter
    return delimiter, rows


def _cells(name, lines, delimiter, numbers=None):
    """Rows of cells; with the numbers of the lines, (line, cells)."""
    try:
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        return [row if numbers is None else (numbers[reader.line_num - 1], row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{name!r} is not a CSV file: {error}") from None


def _place(name, rows, column):
    """Index of the column that was asked for."""
    first = [cell.strip() for cell in rows[0][1]]
    if column is None:
        return len(first) - 1
    column = str(column)
    number = int(column) if column.isascii() and column.isdecimal() else 0
    if column in first:
        if first.count(column) > 1:
            raise ValueError(f"{name!r} has {first.count(column)} columns {column!r}: give the number of the one, counted from 1")
        if 1 <= number <= len(first) and first.index(column) != number - 1 and all(map(_is_number, first)):
            raise ValueError(f"{name!r}: {column!r} is in its first line, which may be a header or numbers: give another name")
        return first.index(column)
    if 1 <= number <= len(first):
        return number - 1
    raise ValueError(f"{name!r} has no column {column!r}; its columns are {', '.join(first)}")


def _has_header(name, rows, place, column):
    """Is the first row a header?"""
    first = [cell.strip() for cell in rows[0][1]]
    second = [cell.strip() for cell in rows[1][1]] if len(rows) > 1 else []
    kinds = [(_kind(above), _kind(below)) for above, below in zip(first, second)]
    named = column is not None and str(column) == first[place]
    if named and not all(map(_is_number, first)):
        return True
    if named and str(place + 1) != first[place]:
        return True
    names = any(above in ("label", "code") and below == "number" for above, below in kinds)
    numbers = any(above == "number" and below in ("number", "gap") for above, below in kinds)
    if names and not numbers or first[place] and _kind(first[place]) in ("label", "code") and not numbers:
        return True
    empty = any(not above and below == "number" for above, (_, below) in zip(first, kinds))
    if names or named or empty or ("label", "label") in kinds or ("label", "code") in kinds:
        raise ValueError(
            f"{name!r}, line {rows[0][0]}, may be a header or a first row of numbers: name the column, or add a header of names"
        )
    return False


def _kind(cell):
    """A number, a gap, a label, or a code: text with digits, such as a date."""
    if _is_number(cell):
        return "number"
    if cell.lower() in _GAPS:
        return "gap"
    return "code" if any(map(str.isdigit, cell)) else "label"


def _is_number(cell):
    return bool(_NUMBER.fullmatch(cell.strip()))


def _check_widths(name, rows, delimiter, has_header):
    """Refuse rows with more cells than the first, and two columns that may be one with decimal commas."""
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            what = "the header" if has_header else "the first row"
            raise ValueError(f"{name!r}, line {line}: {len(row)} cells, but {what} has {width}; are there decimal commas?")
    if delimiter == "," and width == 2 and not has_header:
        if all(len(row) == 2 and _WHOLE.fullmatch(row[0].strip()) and row[1].strip().isdigit() for _, row in rows):
            got = ",".join(rows[0][1])
            raise ValueError(f"{name!r}, line {rows[0][0]}: {got!r} may be two numbers or one with a decimal comma: add a header")


def _check_commas(name, cells, delimiter):
    """Refuse two decimal marks in one column, and commas that may stand for thousands."""
    commas = [(line, cell) for line, cell in cells if "," in cell and _is_number(cell)]
    if not commas or delimiter == ",":
        return
    points = next(((line, cell) for line, cell in cells if "." in cell and _is_number(cell)), None)
    if points is not None:
        line, cell = max(points, commas[0])
        raise ValueError(f"{name!r}, line {line}: {cell!r} in a column that has decimal points and decimal commas")
    if delimiter == _NONE and all(_THOUSANDS.fullmatch(cell) for _, cell in commas):
        line, cell = commas[0]
        raise ValueError(f"{name!r}, line {line}: {cell!r} may have a decimal comma or a comma between thousands: write a point")


def _value(name, line, cell, place, delimiter, may_be_units):
    """The number in a cell; `_check_commas` has seen to its decimal mark."""
    value = float(cell.replace(",", ".")) if _is_number(cell) and not (delimiter == "," and "," in cell) else float("nan")
    if not np.isfinite(value):
        words = "; is it a second line of the header, such as units?" if may_be_units else ""
        if len(cell.split()) > 1 and all(map(_is_number, cell.split())):
            words = "; columns that are separated by blanks cannot be read"
        raise ValueError(f"{name!r}, line {line}, column {place + 1}: {cell!r} is not a number{words}")
    return value


def _standardised(name, series):
    scale = np.abs(series).max()
    if (series == series[0]).all():
        raise ValueError(f"{name!r}: the column is constant, so it cannot be standardised")
    series = series / scale  # so that no square overflows or vanishes
    return (series - series.mean()) / series.std()
