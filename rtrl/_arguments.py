"""Checks of the arrays that users pass in, before anything is changed.

What comes out is as the engine takes it: C-contiguous, aligned, time-major, with the lane axis, ids as int32, numbers in the
network's type.  Errors name the argument, what came, and what was expected.

Many steps are checked as a whole before the first of them is played, and converted piece by piece as they are: an array that
lies in a file may be larger than memory.
"""

import numpy as np

from rtrl._arrays import complete, plain

__all__ = ["gradients", "inputs", "lanes_mask", "sequence", "state", "targets", "units"]

_PIECE = 2**18  # entries of an argument that are converted at once


class _Steps:
    """Arrays [T, ...] of T steps, and how a piece of them becomes what the engine takes.

    `axes` are those that the user's own array has: messages name places as there.
    """

    def __init__(self, array, missing, axes, convert):
        self._array, self._missing, self._axes, self._convert = array, missing, axes, convert

    def __len__(self):
        return len(self._array)

    @property
    def width(self):
        """Entries of a step."""
        return self._array[0].size

    def piece(self, steps):
        """Those of a slice, checked and converted."""

        def place(where):
            first = np.unravel_index(np.argmax(where), where.shape)
            index = [int(i) + (steps.start if axis == 0 else 0) for axis, i in enumerate(first) if axis in self._axes]
            return tuple(index) if len(index) != 1 else index[0]

        missing = None if self._missing is None else self._missing[steps]
        with np.errstate(all="ignore"):  # the caller's error state is for his own arithmetic
            return self._convert(self._array[steps], missing, place)


def _first(array, where):
    """The first value at which `where` is True."""
    return array[np.unravel_index(np.argmax(where), where.shape)]


def _numbers(name, dtype, gaps=False):
    """Conversion to the network's type.  With `gaps` what is missing becomes NaN, and NaN may come."""

    def convert(array, missing, place):
        if missing is not None and missing.any():
            if not gaps:
                raise ValueError(f"{name} must have no missing values; one is missing at index {place(missing)}")
            array = np.where(missing, np.nan, array)
        numbers = np.require(array, dtype, "CA").reshape(array.shape)
        broken = ~np.isfinite(numbers)
        if gaps:
            broken &= ~np.isnan(numbers)
        if broken.any():
            value = _first(array, broken)
            expected = ("finite or NaN" if gaps else "finite") + (f" in {dtype}" if np.isfinite(value) else "")
            raise ValueError(f"{name} must be {expected}; got {value!r} at index {place(broken)}")
        return numbers

    return convert


def _ids(name, least, count, gap=None):
    """Conversion to int32.  What is missing becomes `gap`, unless that is None.

    A copy, because the caller may write into the original while the engine reads.
    """

    def convert(array, missing, place):
        if array.dtype.kind == "f":
            nan = np.isnan(array)
            missing = nan if missing is None else missing | nan
            broken = ~missing & (array != np.floor(array))
            if broken.any():
                got = f"{_first(array, broken)!r} at index {place(broken)}"
                raise TypeError(f"{name} must be integer ids; got an array of {array.dtype} ({got})")
        array = np.array(array, order="C")
        if missing is not None and not missing.any():
            missing = None
        if missing is not None:
            if gap is None:
                raise ValueError(f"{name} must have no missing values; one is missing at index {place(missing)}")
            array[missing] = 0
        if array.size and not (least <= array.min() and array.max() < count):
            bad = _first(array, (array < least) | (array >= count))
            raise ValueError(f"{name} must be ids from {least} to {count - 1}; got {bad}")
        ids = array.astype(np.int32)
        if missing is not None:
            ids[missing] = gap
        return ids

    return convert


def _with_lanes(name, array, lanes, tail, steps, expected, single=False):
    """Check the shape [T, lanes, *tail] and add what may be left out: the lanes when there is one, T for a single step."""
    shape = array.shape
    if single:
        array = array[None]
    if lanes == 1 and array.shape[1:] == tail and array.ndim == 1 + len(tail):
        array = array[:, None]
    elif array.ndim == 0 or array.shape[1:] != (lanes, *tail):
        raise ValueError(f"{name} must have shape {expected}; got {shape}")
    if len(array) == 0:
        raise ValueError(f"{name} is empty: at least one step is needed")
    if steps is not None and len(array) != steps:
        raise ValueError(f"{name} must have as many steps as xs, {steps}; got {len(array)}")
    return array


def _expected(leading, lanes, tail):
    """The shape in words, for messages."""
    full = "[" + ", ".join(map(str, (*leading, lanes, *tail))) + "]"
    short = "[" + ", ".join(map(str, (*leading, *tail))) + "]" if lanes == 1 else ""
    return f"{full} or {short}" if short else full


def _steps(name, given, lanes, tail, count, expected, single, convert):
    """`_Steps` of an argument and what is missing of it."""
    array, missing = (None if each is None else _with_lanes(name, each, lanes, tail, count, expected, single) for each in given)
    axes = {axis for axis in range(array.ndim) if not (single and axis == 0)}
    if given[0].ndim < len(axes):
        axes -= {1}
    return _Steps(array, missing, axes, convert)


def _has_shape(array, lanes, tail, single):
    """Is this [T, lanes, *tail], with what may be left out?"""
    if not single and array.ndim == 0:
        return False
    shape = array.shape if single else array.shape[1:]
    return shape == (lanes, *tail) or (lanes == 1 and shape == tail)


def _widened(given):
    """With a last axis of one number, which may be left out where there is one input or output."""
    return tuple(None if each is None else each[..., None] for each in given)


def _inputs(network, lanes, name, value, single):
    """Whether these are ids, and `_Steps` of them."""
    given = plain(name, value, "biuf", "integer ids or numbers")
    array, wide, leading = given[0], (network.inputs,), () if single else ("T",)
    if network.inputs == 1 and not _has_shape(array, lanes, wide, single) and _has_shape(array, lanes, (), single):
        given = _widened(given)
    elif network.inputs > 1 and not _has_shape(array, lanes, wide, single):
        expected = f"{_expected(leading, lanes, ())} (ids) or {_expected(leading, lanes, wide)} (numbers)"
        steps = _steps(name, given, lanes, (), None, expected, single, _ids(name, 0, network.inputs))
        if array.dtype.kind == "b":
            raise TypeError(f"{name} must be integer ids or numbers; got an array of bool")
        return True, steps
    expected = _expected(leading, lanes, wide)
    return False, _steps(name, given, lanes, wide, None, expected, single, _numbers(name, network.dtype))


def _targets(network, readout, lanes, name, value, count, single):
    """Whether these are ids, and `_Steps` of them; -1 or NaN is no target."""
    leading, tail = () if single else ("T",), (readout.outputs,)
    if readout.targets_are_ids:
        given = plain(name, value, "biuf", "integer ids")
        convert = _ids(name, -1, readout.outputs, gap=-1)
        return True, _steps(name, given, lanes, (), count, _expected(leading, lanes, ()), single, convert)
    given = plain(name, value, "biuf", "numbers")
    if readout.outputs == 1 and not _has_shape(given[0], lanes, tail, single) and _has_shape(given[0], lanes, (), single):
        given = _widened(given)
    low, high = readout.target_range
    numbers = _numbers(name, network.dtype, gaps=True)

    def convert(*piece):
        array = numbers(*piece)
        if low is not None and (array < low).any() or high is not None and (array > high).any():
            raise ValueError(f"{name} must be between {low} and {high}")
        return array

    return False, _steps(name, given, lanes, tail, count, _expected(leading, lanes, tail), single, convert)


def _resets(lanes, value, count):
    """`_Steps` of a mask of lanes; None: no resets."""
    if value is None:
        return None
    array = complete("resets", value, "biuf", "a boolean mask, or 0 and 1")

    def convert(array, missing, place):
        other = (array != 0) & (array != 1)
        if other.any():
            got = f"{_first(array, other)!r} at index {place(other)}"
            raise ValueError(f"resets must be a boolean mask, or 0 and 1; got {got}")
        return np.ascontiguousarray(array, np.int8)

    return _steps("resets", (array, None), lanes, (), count, _expected(("T",), lanes, ()), False, convert)


def _parts(steps, arguments):
    """Tuples (ids, x, labels, targets, resets), one after the other; all of them are checked before the first is given."""
    size = max(1, _PIECE // max(argument.width for _, argument in arguments if argument is not None))

    def part(first):
        converted = []
        for is_ids, argument in arguments:
            value = None if argument is None else argument.piece(slice(first, min(steps, first + size)))
            converted += [value] if is_ids is None else [value, None] if is_ids else [None, value]
        return tuple(converted)

    if steps <= size:
        return [part(0)]
    for first in range(0, steps, size):
        part(first)
    return map(part, range(0, steps, size))


def _pair(is_ids, steps):
    """All steps as ids and None, or None and numbers."""
    array = steps.piece(slice(0, len(steps)))
    return (array, None) if is_ids else (None, array)


def inputs(network, lanes, name, value, single):
    """Ids [T, B] and None, or None and numbers [T, B, inputs]; `single`: a step without T."""
    return _pair(*_inputs(network, lanes, name, value, single))


def targets(network, readout, lanes, name, value, steps, single):
    """Ids [T, B] and None, or None and numbers [T, B, outputs]; -1 or NaN is no target."""
    return _pair(*_targets(network, readout, lanes, name, value, steps, single))


def sequence(network, readout, lanes, names, xs, ys=None, resets=None):
    """Many steps, with targets unless there is no readout to score them (None).

    Returns
    -------
    parts : iterable of (ids, x, labels, targets, resets)
        In order of time; None for what there is not.
    steps : int
        T of all parts together.
    """
    given = _inputs(network, lanes, names[0], xs, False)
    steps = len(given[1])
    wanted = (False, None) if readout is None else _targets(network, readout, lanes, names[1], ys, steps, False)
    return _parts(steps, [given, wanted, (None, _resets(lanes, resets, steps))]), steps


def lanes_mask(lanes, value):
    """Boolean mask [lanes] as int8 from a mask, or from numbers of lanes; None means all."""
    if value is None:
        return np.ones(lanes, np.int8)
    array = complete("lanes", value, "biuf", "a boolean mask, or numbers of lanes")
    if array.dtype.kind == "b":
        if array.shape not in ((lanes,), () if lanes == 1 else (lanes,)):
            raise ValueError(f"lanes must have shape ({lanes},), or be numbers of lanes; got {array.shape}")
        return np.ascontiguousarray(array.reshape(lanes), np.int8)
    if array.dtype.kind == "f" and array.size:
        raise TypeError(f"lanes must be a boolean mask, or numbers of lanes; got an array of {array.dtype}")
    if array.ndim > 1:
        raise ValueError(f"lanes must have one axis; got {array.shape}")
    if array.size and not (0 <= array.min() and array.max() < lanes):
        raise ValueError(f"lanes must be from 0 to {lanes - 1}; got {array[(array < 0) | (array >= lanes)].flat[0]}")
    mask = np.zeros(lanes, np.int8)
    mask[array.astype(np.int64)] = 1
    return mask


def units(name, network, lanes, value):
    """A number for every hidden unit [lanes, n]."""
    array = complete(name, value, "iuf", "numbers")
    tail = (network.cell.hidden,)
    convert = _numbers(name, network.dtype)
    return _steps(name, (array, None), lanes, tail, None, _expected((), lanes, tail), True, convert).piece(slice(0, 1))[0]


def state(network, lanes, components, value):
    """A dict of an array for every component, as one array [lanes, k, n]."""
    try:
        given = dict(value)
    except (TypeError, ValueError):
        raise TypeError(f"state must be a dict of arrays; got {type(value).__name__}") from None
    if set(given) != set(components):
        raise ValueError(f"state must have the keys {sorted(components)}; got {sorted(map(str, given))}")
    return np.stack([units(f"state[{name!r}]", network, lanes, given[name]) for name in components], 1)


def gradients(network, value):
    """A dict like `Network.parameters`, checked; values that are not finite are for the engine to skip and count."""
    views = network.parameters()
    try:
        given = dict(value)
    except (TypeError, ValueError):
        raise TypeError(f"gradients must be a dict of arrays; got {type(value).__name__}") from None
    if set(given) != set(views):
        raise ValueError(f"gradients must have the keys {sorted(views)}; got {sorted(map(str, given))}")
    checked = {}
    for name, view in views.items():
        array = complete(f"gradients[{name!r}]", given[name], "iuf", "numbers")
        if array.shape != view.shape:
            raise ValueError(f"gradients[{name!r}] must have shape {view.shape}; got {array.shape}")
        with np.errstate(all="ignore"):
            checked[name] = array.astype(network.dtype, order="C")
    return checked
