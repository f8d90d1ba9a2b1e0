"""Plain NumPy arrays of numbers from whatever users have: lists, masked arrays, tables, columns with gaps.

A value that is missing (masked, None, NA of pandas, null of polars) is marked, never guessed.  Tables of pandas, polars and
pyarrow are known by what they offer; none of them is imported.
"""

import numbers
import sys

import numpy as np

__all__ = ["complete", "place_of", "plain"]

_LARGEST = 2**64  # whole numbers beyond it are no numbers of an array


def plain(name, value, kinds, expected):
    """An array of numbers, and which of them are missing.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    value : array_like
        What was passed.
    kinds : str
        Kinds of numbers that are taken, letters of `numpy.dtype.kind`.
    expected : str
        What is expected, for messages.

    Returns
    -------
    array : ndarray
        Of one of `kinds`.
    missing : ndarray of bool, or None
        Of the same shape, True where there is no number; None: all are there.

    Raises
    ------
    TypeError
        If it is no array of numbers; the message names the column of a table.
    """
    if hasattr(value, "columns") and len(getattr(value, "shape", ())) == 2:
        array, missing = _table(name, value, expected)
    else:
        array, missing = _array(name, value, expected)
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be {expected}; got an array of {array.dtype}")
    return array, missing


def complete(name, value, kinds, expected):
    """As `plain`, where nothing may be missing: the array alone.

    Raises
    ------
    TypeError, ValueError
        As `plain`, or if a value is missing (with its place).
    """
    array, missing = plain(name, value, kinds, expected)
    if missing is not None:
        raise ValueError(f"{name} must have no missing values; one is missing at index {place_of(missing)}")
    return array


def place_of(where):
    """Index of the first True."""
    place = tuple(int(i) for i in np.unravel_index(np.argmax(where), where.shape))
    return place if len(place) != 1 else place[0]


def _array(name, value, expected):
    missing = None
    if ma := sys.modules.get("numpy.ma"):  # whoever has a masked array has imported it; importing it here would take a megabyte
        if isinstance(value, (list, tuple)) and any(isinstance(each, ma.MaskedArray) for each in value):
            value = ma.array(value)  # which keeps their masks, as numpy.asarray does not
        if isinstance(value, ma.MaskedArray):
            missing = ma.getmaskarray(value) if ma.is_masked(value) else None
            value = value.data
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name} must be {expected}; got {type(value).__name__} ({error})") from None
    if array.dtype == object:
        array, gaps = _numbers(name, array, expected)
        missing = gaps if missing is None else missing | gaps
    return array, missing if missing is not None and missing.any() else None


def _table(name, table, expected):
    """Column by column, because each has a type of its own."""
    titles = list(getattr(table, "column_names", table.columns))
    columns = []
    for i, title in enumerate(titles):
        column = (
            table.column(i) if hasattr(table, "column_names") else table.iloc[:, i] if hasattr(table, "iloc") else table[:, i]
        )
        array, missing = _array(f"{name}, column {str(title)!r},", column, expected)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name}, column {str(title)!r}, must be {expected}; got an array of {array.dtype}")
        columns.append((array, missing))
    if not columns:
        return np.empty(table.shape), None
    missing = None
    if any(gaps is not None for _, gaps in columns):
        missing = np.stack([np.zeros(len(array), bool) if gaps is None else gaps for array, gaps in columns], 1)
    return np.stack([array for array, _ in columns], 1), missing


def _numbers(name, array, expected):
    """Objects as numbers, and which are missing."""
    values, missing = np.full(array.shape, np.nan), np.zeros(array.shape, bool)
    whole = array.size > 0
    for place, each in np.ndenumerate(array):
        if array.ndim and (each is None or type(each).__name__ in ("NAType", "MaskedConstant")):
            missing[place] = True
        elif isinstance(each, numbers.Number) and not isinstance(each, complex) and _fits(each):
            values[place] = each
            whole &= isinstance(each, (numbers.Integral, np.bool_))
        else:
            where = f" ({type(each).__name__} at index {place if len(place) != 1 else place[0]})" if array.ndim else ""
            raise TypeError(f"{name} must be {expected}; got an array of object{where}")
    if array.size and missing.all():
        raise TypeError(f"{name} must be {expected}; got an array of object without any number")
    if whole and not missing.any():
        values = values.astype(np.int64)
    return values, missing


def _fits(number):
    return not isinstance(number, numbers.Integral) or abs(int(number)) < _LARGEST
