"""Texts and series as streams for a session: reading, encoding, cutting into lanes.

A stream is one long array.  A lane reads it from a place of its own and starts over at its end, so a batch
of B lanes is B places in the same stream, and every step of a lane is one element and its successor.
"""

import csv
import gzip
import itertools
import os
import re
import zlib

import numpy as np

from rtrl._arrays import complete
from rtrl._spec import integer

__all__ = ["default_text", "encode", "lanes", "read_series", "read_text"]

_LEAST = 100  # characters or samples; with fewer there is nothing to learn
_DELIMITERS = (";", "\t", "|", ",")  # the comma last: elsewhere it may be a decimal comma
_NONE = "\x1f"  # the delimiter of a file of one column
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)  # may be; 0.123 cannot
_INTEGER_PART = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)", re.ASCII)
_LIKE_A_NUMBER = re.compile(r"[+-]?[.,]?\d")  # how a number begins, and a date or a number with its unit
_SEP_LINE = re.compile(r'"?sep=(.)\1*"?\s*', re.IGNORECASE)  # Excel says so which delimiter a file has
_CELL = re.compile(r"#+\s*[;\t|,]|#([^a-z\s;\t|,]+[!?]|N/A|NV)\s*([;\t|,]|$)")  # no comment: # alone, or an error of Excel's
_GAPS = {*"na n/a n.a. nan nat <na> null none inf infinity missing unknown unavailable".split()}  # words for no number


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
        except (OSError, EOFError, ValueError, zlib.error) as error:
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

    - Blank lines are skipped, and lines that begin with #, unless that is a cell: an error of Excel's such as #N/A, or # before a
      delimiter.  Rows of empty cells are skipped at the end alone.
    - The delimiter is what a first line `sep=` of Excel says, or the first of semicolon, tab, bar and comma that the first two
      rows have outside quotes.  Where they have none at all, the file has one column.
    - Where the comma does not delimit, it may be the decimal mark; a column has one decimal mark.  A column is refused whose
      points or commas may all stand between thousands: points where other columns have decimal commas, and commas unless the
      delimiter is a semicolon, which is what people take who write decimal commas, and no number is without a comma.
    - The first row is the header if the wanted column is found there by its name, or if it has text where the next row has
      numbers or dates, and no numbers where that has numbers.  What begins as a number does is no such text, and a first row of
      which a text differs from the next row's in its digits alone is one of numbers.  Numbers that count, such as years, may be
      names: where only the first row counts, they are refused without a name that says so.
    - No row may have more cells than the first.  A last column without any content is none.  Whole numbers on both sides of a
      comma that delimits may be halves of one number, and are refused unless the right one has a name, or `sep=,` says it.

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
    delimiter, told, rows = _rows(name, _read(path))
    place, has_header = _column(name, rows, column)
    _check_widths(name, rows, has_header)
    if delimiter == "," and not told:
        _check_halves(name, rows, place, has_header)
    cells = [(line, row[place].strip() if place < len(row) else "") for line, row in rows[has_header:]]
    _check_marks(name, cells, rows, delimiter)
    units = rows[1][0] if has_header and len(rows) > 1 else 0
    series = np.array([_value(name, line, cell, place, delimiter, line == units) for line, cell in cells])
    if len(series) < _LEAST:
        raise ValueError(f"{name!r} holds only {len(series)} numbers in that column; at least {_LEAST} are needed")
    return _standardised(name, series) if standardise else series


def _rows(name, text):
    """The delimiter, whether the file says which, and (line, cells) of every row."""
    lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip() and not _is_comment(line.lstrip())]
    told = _SEP_LINE.fullmatch(lines[0][1]) if lines else None
    if told and (told[1].isalnum() or told[1] in "\"'.+-"):
        raise ValueError(f"{name!r}, line {lines[0][0]}: {told[1]!r} cannot delimit numbers")
    lines = lines[bool(told) :]
    delimiter = told[1] if told else _delimiter(name, lines)
    rows = list(_cells(name, lines, delimiter))
    while rows and not any(cell.strip() for cell in rows[-1][1]):
        del rows[-1]
    if not rows:
        raise ValueError(f"{name!r} is empty")
    width = len(rows[0][1])
    if width > 1 and not any(len(row) >= width and row[width - 1].strip() for _, row in rows):
        rows = [(line, row[: width - 1] + row[width:]) for line, row in rows]  # every line ends with a delimiter
    return delimiter, bool(told), rows


def _is_comment(line):
    return line.startswith("#") and not _CELL.match(line)


def _delimiter(name, lines):
    """The delimiter that the first two rows have both."""
    begin = {each: list(itertools.islice(_cells(name, lines, each), 2)) for each in _DELIMITERS}
    first = [each for each, rows in begin.items() if rows and len(rows[0][1]) > 1]
    both = [each for each in first if len(begin[each][-1][1]) > 1]
    if first and not both:
        (above, _), (below, _) = begin[first[0]]
        words = "quote a name that has it, or write decimal points"
        raise ValueError(f"{name!r}, line {below}, has no {first[0]!r}, which delimits in line {above}: {words}")
    return both[0] if both else _NONE


def _cells(name, lines, delimiter):
    """(line, cells) of one row after the other."""
    try:
        reader = csv.reader((line + "\n" for _, line in lines), delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            yield lines[reader.line_num - 1][0], row
    except csv.Error as error:
        raise ValueError(f"{name!r} is not a CSV file: {error}") from None


def _column(name, rows, column):
    """Index of the column that was asked for, and whether the first row is a header."""
    first = [cell.strip() for cell in rows[0][1]]
    second = [cell.strip() for cell in rows[1][1]] if len(rows) > 1 else []
    column = None if column is None else str(column)
    number = int(column) if column is not None and column.isascii() and column.isdecimal() else 0
    if column is None or column not in first:
        if column is not None and not 1 <= number <= len(first):
            raise ValueError(f"{name!r} has no column {column!r}; its columns are {', '.join(first)}")
        place = len(first) - 1 if column is None else number - 1
        if (has_header := _has_header(first, second, place)) is not None:
            return place, has_header
    else:
        pairs = list(zip(first, second))
        is_number = 1 <= number <= len(first)
        has_names = any(_is_name(*pair) or _is_index(*pair) for pair in pairs)
        has_data = any(_are_alike(*pair) for pair in pairs)
        if not is_number or has_names and not has_data:
            if first.count(column) > 1:
                raise ValueError(f"{name!r} has {first.count(column)} columns {column!r}: give the number of the one, from 1 on")
            return first.index(column), True
        if has_data and not has_names:
            return number - 1, False
    raise ValueError(f"{name!r}, line {rows[0][0]}, may be a header or numbers: name the column, or add a header of names")


def _has_header(first, second, place):
    """Is the first row a header?  None if that cannot be known."""
    pairs = list(zip(first, second))
    if _is_text(first[place]) or any(_is_name(*pair) for pair in pairs):
        if not any(_are_alike(*pair) or _is_number(pair[0]) and (_is_number(pair[1]) or _is_gap(pair[1])) for pair in pairs):
            return True
    if _counts(first) and not _counts(second):
        return None  # years, or what pandas calls columns without names
    data = all(_is_number(pair[0]) or _is_gap(pair[0]) and not _is_index(*pair) or _are_alike(*pair) for pair in pairs)
    return False if data else None


def _is_name(above, below):
    """Text above what is none: a number, a date."""
    return _is_text(above) and bool(_LIKE_A_NUMBER.match(below))


def _is_index(above, below):
    """A column without a name, as tables have for the numbers of their rows."""
    return not above and _is_number(below)


def _are_alike(above, below):
    """Two texts that differ in their digits alone, such as dates."""
    return not _is_gap(above) and not _is_number(above) and _shape(above) == _shape(below)


def _counts(row):
    """Whole numbers, each the one before plus 1?"""
    start = int(row[0]) if len(row) > 1 and row[0].isascii() and row[0].isdecimal() else None
    return start is not None and row == [str(start + i) for i in range(len(row))]


def _shape(cell):
    return re.sub(r"\d+", "0", cell)


def _is_text(cell):
    return not _is_gap(cell) and not _LIKE_A_NUMBER.match(cell)


def _is_gap(cell):
    """What loggers write where there is no number: such words, signs without letters, errors of Excel's."""
    return cell.lower().lstrip("+-") in _GAPS or not any(map(str.isalnum, cell)) or bool(_CELL.match(cell))


def _is_number(cell):
    return bool(_NUMBER.fullmatch(cell.strip()))


def _check_widths(name, rows, has_header):
    """Refuse rows with more cells than the first."""
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            what = "the header" if has_header else "the first row"
            raise ValueError(f"{name!r}, line {line}: {len(row)} cells, but {what} has {width}; are there decimal commas?")


def _check_halves(name, rows, place, has_header):
    """Refuse a column whose numbers may be halves of others, cut at decimal commas."""
    first = [cell.strip() for cell in rows[0][1]]
    for left in (place - 1, place):
        if left < 0 or left + 1 >= len(first) or has_header and first[left + 1]:
            continue
        halves = [(line, [cell.strip() for cell in row[left : left + 2]]) for line, row in rows[has_header:]]
        if all(_may_be_halves(*cells) for _, cells in halves if cells):
            line, cells = halves[0]
            got = ",".join(cells)
            raise ValueError(f"{name!r}, line {line}: {got!r} may be two numbers or one with a decimal comma: add a header")


def _may_be_halves(whole, rest="0"):
    return bool(_INTEGER_PART.fullmatch(whole)) and rest.isascii() and rest.isdigit()


def _check_marks(name, cells, rows, delimiter):
    """Refuse two decimal marks in one column, and marks that may stand between thousands."""
    if delimiter == ",":
        return
    commas, points = ([(line, cell) for line, cell in cells if mark in cell and _is_number(cell)] for mark in ",.")
    if commas and points:
        line, cell = max(points[0], commas[0])
        raise ValueError(f"{name!r}, line {line}: {cell!r} in a column that has decimal points and decimal commas")
    marked = commas or points
    if not marked or not all(_THOUSANDS.fullmatch(cell) for _, cell in marked):
        return
    proof = any("," in cell and _is_number(cell) and not _THOUSANDS.fullmatch(cell.strip()) for _, row in rows for cell in row)
    if points and not proof or commas and (proof or delimiter == ";" and len(commas) == len(cells)):
        return
    line, cell = marked[0]
    raise ValueError(f"{name!r}, line {line}: {cell!r} may have a decimal mark or one between thousands: write 1234.5 for either")


def _value(name, line, cell, place, delimiter, may_be_units):
    """The number in a cell; `_check_marks` has seen to its decimal mark."""
    value = float(cell.replace(",", ".")) if _is_number(cell) and not (delimiter == "," and "," in cell) else float("nan")
    if not np.isfinite(value):
        words = "; is it a second line of the header, such as units?" if may_be_units and _is_text(cell) else ""
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
