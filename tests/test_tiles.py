"""Products of panels: as exact as float32 allows, also where a matrix unit multiplies numbers of fewer digits."""

import numpy as np
import pytest

import rtrl_core

CORE = rtrl_core.core("float32")
PANEL = 32
SHAPES = [
    (1, 1),
    (5, 17),
    (31, 40),
    (48, 48),
    (59, 62),
    (64, 64),
    (64, 300),
    (128, 64),
    (250, 255),
    (256, 256),
    (257, 513),
    (512, 256),
]


def product(left, panel, before=None):
    out = np.full((len(left), PANEL), np.nan, np.float32) if before is None else before.copy()
    used = CORE.panel_values(left, panel, out, before is not None)
    return out, used


def numbers(kind, shape, generator):
    x = generator.standard_normal(shape)
    if kind == "of all sizes":
        x *= np.exp2(generator.uniform(-40, 40, shape))
    return x.astype(np.float32)


@pytest.mark.parametrize("kind", ["of one size", "of all sizes"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_error(shape, kind):
    """Within what one rounding a step of the sum may cost, 2^-24 of the running sum of magnitudes, here at most sixteen times."""
    generator = np.random.default_rng(0)
    left, panel = numbers(kind, shape, generator), numbers(kind, (shape[1], PANEL), generator)
    before = numbers(kind, (shape[0], PANEL), generator)
    wide, sizes = left.astype(float) @ panel, abs(left).astype(float) @ abs(panel)
    for start in (None, before):
        found, _ = product(left, panel, start)
        true, size = (wide, sizes) if start is None else (wide + start, sizes + abs(start))
        assert (abs(found - true) / size).max() < 16 * 2**-24


def test_a_matrix_unit_is_as_exact_as_float32():
    """Its three pieces of a number lose nothing that a sum in float32 keeps: the error is like that of NumPy."""
    generator = np.random.default_rng(1)
    left, panel = numbers("of one size", (256, 256), generator), numbers("of one size", (256, PANEL), generator)
    found, used = product(left, panel)
    assert used == (rtrl_core.cpu_level() == "amx")
    true = left.astype(float) @ panel
    assert np.square(found - true).mean() < 1.5 * np.square(left @ panel - true).mean() + 1e-14 * np.square(true).mean()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_whole_numbers_are_exact(count):
    """24 bits in all: sums of products of whole numbers that fit have no error at all."""
    generator = np.random.default_rng(count)
    left = np.zeros((64, 64), np.float32)
    left[:, :count] = generator.integers(-4095, 4096, (64, count))
    panel = generator.integers(-511, 512, (64, PANEL)).astype(np.float32)
    np.testing.assert_array_equal(product(left, panel)[0], left.astype(np.int64) @ panel.astype(np.int64))


def test_rows_do_not_meet():
    """A row of the result depends on its own row alone, and what is not finite stays where it belongs."""
    generator = np.random.default_rng(2)
    left, panel = numbers("of one size", (96, 96), generator), numbers("of one size", (96, PANEL), generator)
    whole, _ = product(left, panel)
    left[40, 3] = np.nan
    panel[:, 7] = np.inf
    found, _ = product(left, panel)
    assert np.isnan(found[40]).all() and not np.isfinite(found[:, 7]).any()
    keep = np.delete(np.arange(96), 40)[:, None], np.delete(np.arange(PANEL), 7)
    np.testing.assert_array_equal(found[keep], whole[keep])


needs_unit = pytest.mark.skipif(rtrl_core.cpu_level() != "amx", reason="no matrix unit, or RTRL_CPU_LEVEL forbids it")


def outers(y, x, before):
    """before + y' x on the matrix unit."""
    out = before.copy()
    assert CORE.outers_values(y, x, out)
    return out


def pulls(weights, y, before, first=0, last=None):
    """before + y weights, of some columns, on the matrix unit."""
    out = before.copy()
    assert CORE.pulls_values(weights, y, out, first, weights.shape[1] if last is None else last)
    return out


# A product [a, b]' [a, c] or [c, a] [a, b]: its kernel, and the shapes of both factors and of the result.
PRODUCTS = [(outers, (a, b), (a, c), (b, c)) for a, b, c in [(64, 64, 128), (96, 50, 155), (400, 512, 256), (250, 33, 257)]]
PRODUCTS += [(outers, (61, 1), (61, 150), (1, 150)), (outers, (288, 48), (288, 190), (48, 190))]
PRODUCTS += [(pulls, (a, b), (c, a), (c, b)) for a, b, c in [(128, 159, 16), (120, 157, 13), (512, 256, 16), (764, 250, 37)]]
PRODUCTS += [(pulls, (64, 128), (1, 64), (1, 128))]


@needs_unit
@pytest.mark.parametrize("kind", ["of one size", "of all sizes"])
@pytest.mark.parametrize("case", PRODUCTS, ids=lambda case: f"{case[0].__name__} {case[1:]}")
def test_error_of_outers_and_pulls(case, kind):
    generator = np.random.default_rng(3)
    kernel, *shapes = case
    one, two, before = (numbers(kind, shape, generator) for shape in shapes)
    left, right = (one.T, two) if kernel is outers else (two, one)
    true, size = before + left.astype(float) @ right, abs(before) + abs(left).astype(float) @ abs(right)
    assert (abs(kernel(one, two, before) - true) / size).max() < 16 * 2**-24


@needs_unit
def test_no_bit_depends_on_a_split():
    """Of columns among threads, of lanes, and of rows; other lanes do not matter, and nothing else is written."""
    generator = np.random.default_rng(5)
    weights, y, before = (numbers("of one size", shape, generator) for shape in ((600, 250), (37, 600), (37, 250)))
    whole = pulls(weights, y, before)
    for first, last in ((0, 16), (16, 208), (208, 250), (48, 112)):
        found = pulls(weights, y, before, first, last)
        np.testing.assert_array_equal(found[:, first:last], whole[:, first:last])
        np.testing.assert_array_equal(np.delete(found, range(first, last), 1), np.delete(before, range(first, last), 1))
    np.testing.assert_array_equal(pulls(weights, y[5:9], before[5:9]), whole[5:9])
    y[3] = np.nan
    np.testing.assert_array_equal(np.delete(pulls(weights, y, before), 3, 0), np.delete(whole, 3, 0))
    y, x, gradient = (numbers("of one size", shape, generator) for shape in ((96, 600), (96, 250), (600, 250)))
    np.testing.assert_array_equal(outers(y[:, 7:45].copy(), x, gradient[7:45].copy()), outers(y, x, gradient)[7:45])


@needs_unit
def test_whole_numbers_are_exact_in_outers_and_pulls():
    generator = np.random.default_rng(6)
    y = np.zeros((96, 64), np.float32)
    y[:7] = generator.integers(-4095, 4096, (7, 64))
    x = generator.integers(-511, 512, (96, 128)).astype(np.float32)
    found = outers(y, x, np.ones((64, 128), np.float32))
    np.testing.assert_array_equal(found, 1 + y.astype(np.int64).T @ x.astype(np.int64))
    np.testing.assert_array_equal(pulls(x, y.T.copy(), np.ones((64, 128), np.float32)), found)
