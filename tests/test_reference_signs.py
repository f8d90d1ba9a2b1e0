"""The random signs of the reference."""

import numpy as np

from rtrl import reference as ref
from rtrl.reference.signs import GOLDEN, mix


def test_signs_are_those_of_the_specification():
    """Words computed by a C program for seed -7, step 5, lane 3, stage 1; and the first output of SplitMix64."""
    assert mix(GOLDEN) == 0xE220A8397B1DCDAF
    words = [0x29CED7CE904E9688, 0xAC2E9A346A0E19EE]
    expected = [1 if word >> i & 1 else -1 for word in words for i in range(64)]
    assert ref.random_signs(-7, 5, 3, 1, 100).tolist() == expected[:100]


def test_signs_are_a_function_of_every_argument():
    base = ref.random_signs(7, 5, 3, 1, 200)
    assert base.dtype == np.int8 and set(base) == {-1, 1}
    np.testing.assert_array_equal(base[:70], ref.random_signs(7, 5, 3, 1, 70))
    np.testing.assert_array_equal(base, ref.random_signs(7 + 2**64, 5, 3, 1, 200))
    for other in [(8, 5, 3, 1), (7, 6, 3, 1), (7, 5, 4, 1), (7, 5, 3, 0), (7, 3, 5, 1)]:
        assert (base != ref.random_signs(*other, 200)).any()


def test_signs_are_fair_and_independent():
    """Means and correlations of neighbours in every argument stay within 5 standard errors."""
    table = np.array(
        [
            [[[ref.random_signs(seed, step, lane, stage, 70) for stage in range(2)] for lane in range(3)] for step in range(30)]
            for seed in range(4)
        ],
        dtype=float,
    )
    assert abs(table.mean()) < 5 / np.sqrt(table.size)
    for axis in range(table.ndim):
        first = np.take(table, range(table.shape[axis] - 1), axis)
        second = np.take(table, range(1, table.shape[axis]), axis)
        assert abs((first * second).mean()) < 5 / np.sqrt(first.size)
