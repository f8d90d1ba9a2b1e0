"""What this machine can do at best with some threads (one unless said otherwise): product rates and copy bandwidth.

    python -m bench.limits [--threads N] [--rounds N]

All sides have the same threads: NumPy's BLAS and PyTorch by their settings, our own product by one lane a thread, copies by
threads that each copy a part of their own, again and again, as long as one measurement lasts.
"""

import argparse
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.environment import describe, restart_clean
from bench.rounds import interleave, spread
from bench.workloads import step_flops

__all__ = ["Rates", "copy_call", "copy_rates", "least_seconds", "machine_rate", "measure", "product_sides"]

_SHAPES = ((256, 256, 512), (512, 512, 512), (1024, 1024, 1024))
_COPY_BYTES = (1 << 15, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 28)
_SPREAD_BYTES = 1 << 29  # of a measurement with several threads, against which starting them is nothing
_CALL_BYTES = 1 << 20  # of a call, against which calling NumPy is little
_OWN_HIDDEN = 256


def product_sides(dtype, threads=1):
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

            torch.set_num_threads(threads)
            pair, result = [torch.from_numpy(each) for each in (a, b)], torch.from_numpy(out.copy())
            sides[f"torch {label}"] = (lambda pair=pair, out=result: torch.mm(*pair, out=out)), flops
    sides[f"rtrl KF-RTRL, RHN n = {_OWN_HIDDEN}"] = _own_product(dtype, threads)
    return sides


def _own_product(dtype, lanes):
    import numpy as np

    import rtrl
    from bench.cases import DIRECT

    network = rtrl.Network(rtrl.RHN(_OWN_HIDDEN), inputs=1, dtype=dtype)
    session = rtrl.Session(network, DIRECT, batch_size=lanes, threads=lanes)
    x = np.zeros((lanes, 1), dtype)
    return (lambda: session.advance(x)), 4.0 * _OWN_HIDDEN**3 * lanes


def machine_rate(dtype, rounds=7, threads=1):
    """Best median over `product_sides`, in flops a second, and the `Spread` of each side."""
    sides = product_sides(dtype, threads)
    taken = interleave({name: call for name, (call, _) in sides.items()}, rounds)
    rates = {name: spread(sides[name][1] / taken[name]) for name in sides}
    return max(rate.median for rate in rates.values()), rates


def copy_call(size, threads=1):
    """A call that copies size / 2 bytes in all, `size` read and written, in equal parts by some threads, and how often."""
    import numpy as np

    part = size // 2 // threads
    pairs = [(np.empty(part, np.uint8), np.ones(part, np.uint8)) for _ in range(threads)]
    if threads == 1:
        times = max(1, _CALL_BYTES // size)  # the same copy again: one element as large as all of it, with a stride of 0
        target, source = (np.lib.stride_tricks.as_strided(each.view(f"V{part}"), (times,), (0,)) for each in pairs[0])
        return (lambda: np.copyto(target, source)), times
    pool, times = ThreadPoolExecutor(threads), max(1, _SPREAD_BYTES // size)

    def work(pair):
        for _ in range(times):
            np.copyto(*pair)

    return (lambda: list(pool.map(work, pairs))), times


def copy_rates(rounds, threads=1, sizes=_COPY_BYTES):
    """`Spread` of the bytes a second, read and written, for copies of several sizes (in all, both arrays together)."""
    sides = {size: copy_call(size, threads) for size in sizes}
    taken = interleave({size: call for size, (call, _) in sides.items()}, rounds)
    return {size: spread(size * sides[size][1] / taken[size]) for size in sizes}


@dataclass(frozen=True)
class Rates:
    """Of this run: flops a second by dtype, and bytes a second of copies by their size."""

    products: dict
    copies: dict


def measure(rounds, threads=1):
    """The `Rates` of some threads."""
    products = {dtype: machine_rate(dtype, rounds, threads)[0] for dtype in ("float32", "float64")}
    return Rates(products, {size: rate.median for size, rate in copy_rates(rounds, threads).items()})


def least_seconds(session, rates):
    """The least time of a step at those rates.

    Its flops, or what is carried read and written once, whichever is longer.  An update waits for its gradient and the
    next step for the update, so its time is added: weights, gradient and what the optimizer keeps, read and written once.
    """
    sizes = session.nbytes
    flops = step_flops(session) / rates.products[session.network.dtype.name]
    update = _rewritten(2 * sizes["weights"] + sizes["optimizer"], rates) if session.optimizer else 0.0
    return max(flops, _rewritten(sizes["influence"], rates)) + update / session.update_every


def _rewritten(count, rates):
    """Seconds in which as many bytes are read and written at the rate of a copy of that size."""
    size = min((size for size in rates.copies if size >= count), default=max(rates.copies))
    return 2 * count / rates.copies[size]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of every side (default: %(default)s)")
    options = parser.parse_args(arguments)
    restart_clean(options.threads)
    for name, value in describe(options.threads).items():
        print(f"{name:14}{value}")
    for dtype in ("float32", "float64"):
        best, rates = machine_rate(dtype, options.rounds, options.threads)
        print(f"\n{dtype} products, GFLOP/s: median (quartiles); best {best / 1e9:.0f}")
        for name, rate in rates.items():
            print(f"  {name:36}{_giga(rate)}")
    print("\ncopies, GB/s read and written: median (quartiles)")
    for size, rate in copy_rates(options.rounds, options.threads).items():
        print(f"  {size / 2**20:8.2f} MiB in all{'':18}{_giga(rate)}")


def _giga(rate):
    return f"{rate.median / 1e9:6.1f} ({rate.low / 1e9:.1f} .. {rate.high / 1e9:.1f})"


if __name__ == "__main__":
    main()
