"""The engine's exp, tanh and sigmoid: at most 2 units in the last place in float32, 4 in float64; its 1 / x: 1, without fma 2."""

import numpy as np
import pytest

import rtrl_core

WIDTHS = {"float32": 2, "float64": 4}
EXTENDED = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant


def exact(name, x):
    x = x.astype(np.longdouble)
    if name == "exp":
        return np.exp(x)
    if name == "tanh":
        return np.tanh(x)
    tail = np.exp(-abs(x))
    return np.where(x < 0, tail, 1) / (1 + tail)


def engine(name, x):
    out = np.empty_like(x)
    rtrl_core.core(x.dtype.name).function_values(name, x, out)
    return out


def arguments(dtype):
    """Every size from the subnormal numbers to where the functions saturate, both signs, and all that lies between -4 and 4."""
    info, generator = np.finfo(dtype), np.random.default_rng(0)
    sizes = np.exp(generator.uniform(np.log(float(info.tiny)), np.log(710), 200_000))
    return np.concatenate([sizes, -sizes, generator.uniform(-4, 4, 200_000), generator.uniform(-750, 710, 200_000)]).astype(dtype)


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
@pytest.mark.parametrize("dtype", WIDTHS)
def test_error(name, dtype):
    if dtype == "float64" and not EXTENDED:
        pytest.skip("no wider type to compare with")
    x = arguments(dtype)
    with np.errstate(over="ignore", under="ignore"):
        true = exact(name, x)
        rounded = true.astype(dtype)
    inside = np.isfinite(rounded)
    found = engine(name, x)
    np.testing.assert_array_equal(found[~inside], rounded[~inside])
    unit = np.spacing(abs(rounded[inside])).astype(np.longdouble)
    error = abs(found[inside] - true[inside]) / unit
    assert error.max() <= WIDTHS[dtype], (x[inside][error.argmax()], error.max())


def test_error_of_reciprocal():
    """Wherever x and 1 / x are normal numbers; a CPU level without fma rounds once more."""
    ends = np.log(np.finfo(np.float32).tiny) + 1, np.log(np.finfo(np.float32).max) - 2
    x = np.exp(np.random.default_rng(0).uniform(*ends, 1_000_000)).astype(np.float32)
    true = 1 / x.astype(np.float64)
    most = 2 if rtrl_core.cpu_level() == "baseline" else 1
    assert (abs(engine("reciprocal", x) - true) / np.spacing(true.astype(np.float32))).max() <= most


@pytest.mark.parametrize("dtype", WIDTHS)
def test_ends(dtype):
    ends = np.array([-np.inf, -0.0, 0.0, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(engine("exp", ends), np.array([0, 1, 1, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(engine("sigmoid", ends), np.array([0, 0.5, 0.5, 1, np.nan], dtype))
    tanh = engine("tanh", ends)
    np.testing.assert_array_equal(tanh, np.array([-1, 0, 0, 1, np.nan], dtype))
    assert np.signbit(tanh[1]) and not np.signbit(tanh[2])


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
@pytest.mark.parametrize("dtype", WIDTHS)
def test_place_does_not_matter(name, dtype):
    """A number gives the same bits wherever it stands in an array of any length."""
    x = np.random.default_rng(1).uniform(-5, 5, 67).astype(dtype)
    whole = engine(name, x)
    for count in range(1, 67):
        np.testing.assert_array_equal(engine(name, x[-count:].copy()), whole[-count:])
