"""Odd arguments for the random calls of fuzz_calls.py."""

import numpy as np
from common import INPUTS

import rtrl


class Awkward:
    """Breaks whatever it is asked for."""

    def _break(self, *arguments, **options):
        raise ValueError("awkward")

    __array__ = __len__ = __iter__ = __getitem__ = __index__ = __float__ = _break


LOOP = []
LOOP.append(LOOP)

ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**40,
    0.5,
    -0.0,
    float("nan"),
    float("inf"),
    1j,
    "",
    "x",
    ".",
    b"\0",
    "nan\0",
    (),
    [],
    {},
    [[]],
    [[], [1]],
    {"a": 1},
    {1, 2},
    LOOP,
    [None] * 3,
    range(3),
    ...,
    object(),
    int,
    Exception,
    lambda *arguments: None,
    Awkward(),
    iter([1]),
    memoryview(b"abc"),
    bytearray(3),
    np.float32,
    np.int8(-128),
    np.ma.masked,
    np.array(None),
    np.array([1, "a"], object),
    np.array([2**64 - 1], np.uint64),
    np.empty(0),
    np.empty((0, 3)),
    np.empty((3, 0, 2)),
    np.ones((2,) * 7),
    np.full((3, 2), -2),
    np.full((2, INPUTS), 1e308),
    np.zeros(3, "S4"),
    np.zeros(2, [("a", int)]),
    np.zeros(2, "M8[D]"),
    np.zeros((4, 2, INPUTS))[:, ::-1],
    np.zeros((2, INPUTS), np.float16),
    np.zeros((2, INPUTS), np.longdouble),
    np.broadcast_to(0.0, (2**31, 7, 3)),
    np.broadcast_to(0, (2**40, 5)),
    rtrl.RNN(2),
    rtrl.RTRL(),
    rtrl.SGD(0.1),
]
