"""What this machine can do at best on one thread: product rates and copy bandwidth.

python -m bench.limits [--rounds N]
"""

import argparse
import importlib.util

from bench.environment import describe, restart_clean
from bench.rounds import interleave, spread

__all__ = ["machine_rate", "product_sides"]

_SHAPES = ((256, 256, 512), (512, 512, 512), (1024, 1024, 1024))
_COPY_BYTES = (1 << 18, 1 << 22, 1 << 28)
_OWN_HIDDEN = 256


def product_sides(dtype):
    """Products that may set the limit: name -> (callable, flops of a call).

    NumPy's BLAS and, where it is installed, PyTorch's, at three sizes; and our own kernel through KF-RTRL without a
    readout, whose step is nearly all product (the rest of the step counts against it).
    """
    import numpy as np

    sides = {}
    generator = np.random.default_rng(0)
    for rows, inner, columns in _SHAPES:
        a, b = (generator.standard_normal(shape).astype(dtype) for shape in ((rows, inner), (inner, columns)))
        out = np.empty((rows, columns), dtype)
        flops = 2.0 * rows * inner * columns
        label = f"{rows}x{inner} @ {inner}x{columns}"
        sides[f"numpy {label}"] = (lambda a=a, b=b, out=out: np.matmul(a, b, out=out)), flops
        if importlib.util.find_spec("torch"):
            import torch

            torch.set_num_threads(1)
            pair, result = [torch.from_numpy(each) for each in (a, b)], torch.from_numpy(out.copy())
            sides[f"torch {label}"] = (lambda pair=pair, out=result: torch.mm(*pair, out=out)), flops
    sides[f"rtrl KF-RTRL, RHN n = {_OWN_HIDDEN}"] = _own_product(dtype)
    return sides


def _own_product(dtype):
    import rtrl

    session = rtrl.Session(rtrl.Network(rtrl.RHN(_OWN_HIDDEN), inputs=1, dtype=dtype), rtrl.KFRTRL(), threads=1)
    return (lambda: session.advance([0])), 4.0 * _OWN_HIDDEN**3


def machine_rate(dtype, rounds=7):
    """Best median over `product_sides`, in flops a second, and the `Spread` of each side."""
    sides = product_sides(dtype)
    taken = interleave({name: call for name, (call, _) in sides.items()}, rounds)
    rates = {name: spread(sides[name][1] / taken[name]) for name in sides}
    return max(rate.median for rate in rates.values()), rates


def _copies(rounds):
    import numpy as np

    sides = {}
    for size in _COPY_BYTES:
        source, target = np.ones(size // 2, np.uint8), np.empty(size // 2, np.uint8)
        sides[size] = lambda source=source, target=target: np.copyto(target, source)
    taken = interleave(sides, rounds)
    return {size: spread(size / taken[size]) for size in sides}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each side (default: %(default)s)")
    options = parser.parse_args(arguments)
    restart_clean()
    for name, value in describe().items():
        print(f"{name:14}{value}")
    for dtype in ("float32", "float64"):
        best, rates = machine_rate(dtype, options.rounds)
        print(f"\n{dtype} products, GFLOP/s: median (quartiles); best {best / 1e9:.0f}")
        for name, rate in rates.items():
            print(f"  {name:36}{_giga(rate)}")
    print("\ncopies, GB/s read and written: median (quartiles)")
    for size, rate in _copies(options.rounds).items():
        print(f"  {size / 2**20:8.2f} MiB in all{'':18}{_giga(rate)}")


def _giga(rate):
    return f"{rate.median / 1e9:6.1f} ({rate.low / 1e9:.1f} .. {rate.high / 1e9:.1f})"


if __name__ == "__main__":
    main()
