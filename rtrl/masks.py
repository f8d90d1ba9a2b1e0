"""Which weights of a cell exist: given as boolean arrays, or drawn at random for a wanted sparsity.

A weight that does not exist is 0 and stays 0; it has no influence and no gradient, and is not counted.
"""

from collections.abc import Mapping

import numpy as np

from rtrl._arrays import complete
from rtrl._spec import decay

__all__ = ["given", "random", "wanted"]


def wanted(sparsity, mask, shapes, units, inputs, seed):
    """The masks of a network that asks for a sparsity, or for a mask, or for neither (None); see `random` and `given`."""
    if sparsity is not None:
        sparsity = decay("sparsity", sparsity)
        if mask is not None:
            raise ValueError("sparsity and mask are two ways to say the same; give one of them")
    if mask is not None:
        return given(mask, shapes)
    return random(sparsity, shapes, units, inputs, seed) if sparsity else None


def given(mask, shapes):
    """The masks that a user passed in, checked.

    Parameters
    ----------
    mask : mapping of str to array_like of bool, or array_like of bool
        "cell.<stage>.weight" [r*n, m], True where there is a weight; stages that are left out are full.  For a cell of one
        stage the array alone will do.
    shapes : dict of str to (int, int)
        Shapes of the stages' weights.

    Returns
    -------
    dict of str to ndarray of bool
        For every stage.

    Raises
    ------
    TypeError, ValueError
        If the mask is not boolean, or not that of these weights.
    """
    if not isinstance(mask, Mapping):
        if len(shapes) > 1:
            got = type(mask).__name__
            raise TypeError(f"mask must be a dict with keys of {list(shapes)} for a cell of several stages; got {got}")
        mask = dict.fromkeys(shapes, mask)
    unknown = [name for name in mask if name not in shapes]
    if unknown:
        raise ValueError(f"mask must have keys of {list(shapes)}; got {unknown[0]!r}")
    masks = {}
    for name, shape in shapes.items():
        array = complete(f"mask of {name!r}", mask[name], "b", "a boolean array") if name in mask else np.ones(shape, bool)
        if array.shape != shape:
            raise ValueError(f"mask of {name!r} must have shape {shape}; got {array.shape}")
        masks[name] = array.copy()
    return masks


def random(sparsity, shapes, units, inputs, seed):
    """Masks in which every unit keeps the same share of its recurrent columns and of its inputs, all of its biases.

    The columns are drawn for each unit and stage, the same in all maps of the unit: two units are connected or not, which keeps
    the reach of SnAp small.  At least one column of each kind is kept.
    """
    generator = np.random.default_rng((seed, 1))
    masks = {}
    for stage, (name, (rows, columns)) in enumerate(shapes.items()):
        reads = np.zeros((units, columns), bool)
        reads[:, -1] = True
        for first, count in ((0, units), (units, inputs if stage == 0 else 0)):
            keep = max(1, round((1 - sparsity) * count)) if count else 0
            for unit in reads[:, first : first + count]:
                unit[generator.permutation(count)[:keep]] = True
        masks[name] = np.tile(reads, (rows // units, 1))
    return masks
