"""Where the parameters of a network lie in one flat array, and other arrays like it: gradients, masks, moments.

    cell.<stage>.weight   [r*n, m]            rows map-major, columns h | x | 1, x in stage 0 only
    readout.weight        [outputs, n + 1]    columns h | 1

A row takes whole cache lines, and the array a whole number of the pieces that go to threads; what lies between is 0.
"""

import numpy as np

import rtrl_core

__all__ = ["Layout"]

_ALIGN = 64  # bytes; rows of weights start on a cache line


class Layout:
    """Shapes and places of all parameters.

    Parameters
    ----------
    cell, readout : objects of the compiled core
        The readout may be None.
    inputs : int
        Width of the input.
    dtype : numpy.dtype
        Of all arrays.

    Attributes
    ----------
    shapes : dict of str to (int, int)
        Of every parameter.
    cell_shapes : dict of str to (int, int)
        Of those of the cell.
    places : dict of str to (int, int)
        First entry and length of a row, padding included.
    size : int
        Entries of an array.
    """

    def __init__(self, cell, readout, inputs, dtype):
        self.dtype = dtype
        self.cell_shapes = {
            f"cell.{stage}.weight": (cell.r * cell.n, cell.n + (inputs if stage == 0 else 0) + 1) for stage in range(cell.depth)
        }
        self.shapes = self.cell_shapes | ({} if readout is None else {"readout.weight": (readout.outputs, cell.n + 1)})
        self.places, end = {}, 0
        for name, (rows, columns) in self.shapes.items():
            stride = _whole(columns, _ALIGN // dtype.itemsize)
            self.places[name] = (end, stride)
            end += rows * stride
        self.size = _whole(end, rtrl_core.core(dtype.name).PARAMETER_CHUNK)

    def zeros(self):
        """A flat array that starts on a cache line."""
        room = np.zeros(self.size + _ALIGN // self.dtype.itemsize, self.dtype)
        start = -room.ctypes.data % _ALIGN // self.dtype.itemsize
        return room[start : start + self.size]

    def view(self, flat, name):
        """One parameter in a flat array."""
        (rows, columns), (start, stride) = self.shapes[name], self.places[name]
        return flat[start : start + rows * stride].reshape(rows, stride)[:, :columns]

    def views(self, flat):
        """All parameters in a flat array, by name."""
        return {name: self.view(flat, name) for name in self.shapes}


def _whole(count, unit):
    """The next multiple of a unit."""
    return -(-count // unit) * unit
