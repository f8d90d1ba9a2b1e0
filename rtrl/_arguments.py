"""Checks of the arrays that users pass in, before anything is changed.

Every function returns arrays as the engine takes them: C-contiguous, time-major, with the lane axis, ids as
int32, numbers in the network's type.  Errors name the argument, what came, and what was expected.
"""

import numpy as np

__all__ = ["gradients", "inputs", "lanes_mask", "resets", "state", "targets", "units"]


def _array(name, value, kinds, expected):
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name} must be {expected}; got {type(value).__name__} ({error})") from None
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be {expected}; got an array of {array.dtype}")
    return array


def _numbers(name, array, dtype, nan_allowed=False):
    """The array in the network's type, finite (NaN apart where that means something)."""
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype).reshape(array.shape)
    fine = np.isfinite(array)
    if nan_allowed:
        fine |= np.isnan(array)
    if not fine.all():
        place = tuple(int(i) for i in np.argwhere(~fine)[0])
        raise ValueError(f"{name} must be finite{' or NaN' if nan_allowed else ''}; got {array[place]!r} at index {place}")
    return array


def _ids(name, array, least, count):
    """A copy as int32, checked; a copy, because the caller may write into the original while the engine reads."""
    array = np.array(array, order="C")
    if array.size and not (least <= array.min() and array.max() < count):
        bad = array[(array < least) | (array >= count)].flat[0]
        raise ValueError(f"{name} must be ids from {least} to {count - 1}; got {bad}")
    return array.astype(np.int32)


def _with_lanes(name, array, lanes, tail, steps, expected, single=False):
    """Check the shape [T, lanes, *tail] and add what may be left out: the lanes when there is one, T for a single step."""
    shape = array.shape
    if single:
        array = array[None]
    if lanes == 1 and array.shape[1:] == tail and array.ndim == 1 + len(tail):
        array = array[:, None]
    elif array.shape[1:] != (lanes, *tail):
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


def inputs(network, lanes, name, value, single):
    """Ids [T, lanes] and None, or None and numbers [T, lanes, inputs]; `single`: a step without T."""
    array = _array(name, value, "iuf", "integer ids or numbers")
    leading, wide = () if single else ("T",), (network.inputs,)
    shape = array.shape if single else array.shape[1:]
    dense = shape == (lanes, *wide) or (lanes == 1 and shape == wide)
    if array.dtype.kind in "iu" and not dense:
        expected = f"{_expected(leading, lanes, ())} (ids) or {_expected(leading, lanes, wide)} (numbers)"
        array = _with_lanes(name, array, lanes, (), None, expected, single)
        if network.inputs == 1:
            raise ValueError(f"{name} of one input cannot be ids: pass numbers of shape {_expected(leading, lanes, wide)}")
        return _ids(name, array, 0, network.inputs), None
    _with_lanes(name, array, lanes, wide, None, _expected(leading, lanes, wide), single)
    array = _numbers(name, array, network.dtype)
    return None, _with_lanes(name, array, lanes, wide, None, "", single)


def targets(network, readout, lanes, name, value, steps, single):
    """Ids [T, lanes] and None, or None and numbers [T, lanes, outputs]; -1 or NaN is no target."""
    leading = () if single else ("T",)
    if readout.targets_are_ids:
        array = _array(name, value, "iu", "integer ids")
        array = _with_lanes(name, array, lanes, (), steps, _expected(leading, lanes, ()), single)
        return _ids(name, array, -1, readout.outputs), None
    array = _array(name, value, "iuf", "numbers")
    tail = (readout.outputs,)
    _with_lanes(name, array, lanes, tail, steps, _expected(leading, lanes, tail), single)
    array = _with_lanes(name, _numbers(name, array, network.dtype, nan_allowed=True), lanes, tail, steps, "", single)
    low, high = readout.target_range
    if low is not None and (array < low).any() or high is not None and (array > high).any():
        raise ValueError(f"{name} must be between {low} and {high}")
    return None, array


def resets(lanes, value, steps):
    """Boolean mask [T, lanes] as int8, or None."""
    if value is None:
        return None
    array = _array("resets", value, "b", "a boolean mask")
    array = _with_lanes("resets", array, lanes, (), steps, _expected(("T",), lanes, ()))
    return np.ascontiguousarray(array, np.int8)


def lanes_mask(lanes, value):
    """Boolean mask [lanes] as int8; None means all."""
    if value is None:
        return np.ones(lanes, np.int8)
    array = _array("lanes", value, "b", "a boolean mask")
    if array.shape not in ((lanes,), () if lanes == 1 else (lanes,)):
        raise ValueError(f"lanes must have shape ({lanes},); got {array.shape}")
    return np.ascontiguousarray(array.reshape(lanes), np.int8)


def units(name, network, lanes, value):
    """A number for every hidden unit [lanes, n]."""
    array = _array(name, value, "iuf", "numbers")
    tail = (network.cell.hidden,)
    _with_lanes(name, array, lanes, tail, None, _expected((), lanes, tail), single=True)
    return _with_lanes(name, _numbers(name, array, network.dtype), lanes, tail, None, "", single=True)[0]


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
        array = _array(f"gradients[{name!r}]", given[name], "iuf", "numbers")
        if array.shape != view.shape:
            raise ValueError(f"gradients[{name!r}] must have shape {view.shape}; got {array.shape}")
        with np.errstate(over="ignore"):
            checked[name] = array.astype(network.dtype)
    return checked
