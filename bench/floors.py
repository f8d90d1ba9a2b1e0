"""The speed floors: ratios measured in one run, one thread, float32.  Exit status 1 if one is missed.

    python -m bench.floors [--rounds N] [--symbols N]

1. KF-RTRL, RHN n = 256, B = 16, Adam at every step: at least 60 % of the machine's product rate, counting
   4 n^3 flops a lane and step and nothing else.
2. `Session.run`, RNN n = 32, B = 1, ids in, softmax out, SGD at every step: at least 100 times as fast as the
   same loop in PyTorch eager (its fastest form with autograd).  The losses of all sides are compared first.
"""

import argparse
import sys

from bench.environment import describe, restart_clean
from bench.rounds import interleave, spread

PRODUCT_FLOOR = 0.60
RIVAL_FLOOR = 100.0
_HIDDEN, _LANES, _STEPS = 256, 16, 8
_SMALL, _RATE, _RIVAL_STEPS = 32, 0.1, 1000


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.floors", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--symbols", type=int, default=10, help="ids of the second floor (default: %(default)s)")
    options = parser.parse_args(arguments)
    restart_clean()
    for name, value in describe().items():
        print(f"{name:14}{value}")
    reached = [product_floor(options.rounds), rival_floor(options.rounds, options.symbols)]
    return 0 if all(reached) else 1


def product_floor(rounds):
    """Fraction of the product rate that KF-RTRL reaches; returns whether it is enough."""
    import numpy as np

    from bench.cases import DIRECT
    from bench.limits import product_sides
    from bench.workloads import make, stream

    session = make("RHN", _HIDDEN, DIRECT, _LANES)
    xs, ys = stream(_STEPS, _LANES)
    products = product_sides("float32")
    sides = {name: call for name, (call, _) in products.items()}
    taken = interleave(sides | {"step": lambda: session.run(xs, ys)}, rounds)
    rate = 4.0 * _HIDDEN**3 * _LANES * _STEPS / taken["step"]
    rates = {name: flops / taken[name] for name, (_, flops) in products.items()}
    best = max(rates, key=lambda name: np.median(rates[name]))
    fraction = spread(rate / rates[best])
    print(f"\n1. KF-RTRL, RHN n = {_HIDDEN}, B = {_LANES}: {spread(taken['step'] / _STEPS * 1e6).text('.0f')} us a step")
    print(f"   counted products  {spread(rate / 1e9).text('.1f')} GFLOP/s")
    print(f"   machine's best    {spread(rates[best] / 1e9).text('.1f')} GFLOP/s: {best}")
    return _verdict("fraction", fraction, PRODUCT_FLOOR, ".3f")


def rival_floor(rounds, symbols):
    """How many times faster than PyTorch the smallest online loop is; returns whether it is enough."""
    import rtrl
    from bench import rivals
    from bench.rivals.problem import pose

    print(f"\n2. RNN n = {_SMALL}, B = 1, {symbols} symbols, SGD at every step")
    if rivals.missing("PyTorch"):
        print(f"   not measured: {rivals.missing('PyTorch')}")
        return False
    from bench.rivals import torch_stream

    problem = pose("RNN", _SMALL, rtrl.TBPTT(1), 1, _RIVAL_STEPS, optimizer=rtrl.SGD(_RATE), ids=symbols)
    loops = {f"PyTorch, {name}": form(problem) for name, form in torch_stream.FORMS.items()}
    for name, loop in loops.items():
        rivals.check(name, problem, loop)
    xs, ys = (each[:, 0].copy() for each in (problem.xs, problem.ys))
    estimators = (rtrl.TBPTT(1), rtrl.Immediate(), rtrl.UORO(), rtrl.KFRTRL(), rtrl.RTRL())
    sessions = {f"rtrl, {estimator!r}": problem.session(estimator) for estimator in estimators}
    runs = {name: (lambda session=session: session.run(xs, ys)) for name, session in sessions.items()}
    taken = interleave(loops | runs, rounds)
    own = taken["rtrl, Immediate()"]  # the same gradient as TBPTT(1), without keeping a window
    print(f"   {'':40}{'us a step: median (quartiles)':36}times rtrl, Immediate")
    for name, seconds in taken.items():
        print(f"   {name:40}{spread(seconds / _RIVAL_STEPS * 1e6).text('.2f'):36}{spread(seconds / own).text('.1f')}")
    judged = min((taken[f"PyTorch, {name}"] for name in torch_stream.AUTOGRAD), key=lambda seconds: spread(seconds).median)
    return _verdict("ratio to the fastest form with autograd", spread(judged / own), RIVAL_FLOOR, ".1f")


def _verdict(what, value, floor, form):
    reached = value.median >= floor
    print(f"   {what}: {value.text(form)}; floor {floor:{form}}: {'reached' if reached else 'MISSED'}")
    if value.high > 1.2 * value.low:
        print("   the quartiles lie far apart: other programs disturb this machine, repeat on a quiet one")
    return reached


if __name__ == "__main__":
    sys.exit(main())
