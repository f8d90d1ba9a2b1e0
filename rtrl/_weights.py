"""Weights that come as arrays from outside: `Network.load_state_dict`."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rtrl._arrays import complete

__all__ = ["Loaded", "checked"]


class Loaded(NamedTuple):
    """What `Network.load_state_dict` did not find, and what it did not use."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def checked(state, layout, exist, strict):
    """Weights by name as one flat array, the names that came, and which did not.

    Parameters
    ----------
    state : mapping of str to array_like
        What the user gave.
    layout : Layout
        Of the network.
    exist : dict of str to ndarray of bool
        Which weights there are.
    strict : bool
        Whether the names must be those of the network.

    Returns
    -------
    ndarray, list of str, Loaded
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a dict of arrays; got {type(state).__name__}")
    loaded = Loaded([name for name in exist if name not in state], [name for name in state if name not in exist])
    wrong = []
    if strict:
        wrong += [f"{kind}: {', '.join(map(repr, names))}" for kind, names in zip(("missing", "unexpected"), loaded) if names]
    flat, given = layout.zeros(), [name for name in exist if name in state]
    for name in given:
        value = complete(f"state[{name!r}]", state[name], "fiu", "an array of numbers")
        if (value.dtype, value.shape) != (layout.dtype, exist[name].shape):
            expected = f"{layout.dtype} of shape {exist[name].shape}"
            wrong.append(f"{name!r} must be {expected}, got {value.dtype} of shape {value.shape}")
        elif value[~exist[name]].any():
            place = tuple(map(int, np.argwhere((value != 0) & ~exist[name])[0]))
            wrong.append(f"{name!r} must be 0 where there is no weight (see masks), got {value[place]!r} at index {place}")
        else:
            layout.view(flat, name)[...] = value
    if wrong:
        raise ValueError(f"state does not fit this network: {'; '.join(wrong)}")
    return flat, given, loaded
