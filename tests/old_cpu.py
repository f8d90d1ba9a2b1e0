"""A short training run of every estimator with every cell, float width and readout: for an old CPU that is emulated.

    apt-get install qemu-user
    qemu-x86_64 -cpu Nehalem python tests/old_cpu.py

An instruction that the emulated CPU does not have ends it with SIGILL.  Nehalem has SSE4.2 and no AVX, so the baseline level is
chosen; NumPy itself needs as much (x86-64-v2).
"""

import time

import numpy as np
from common import ESTIMATORS, OPTIMIZERS, READOUTS, session, stream

import rtrl
import rtrl_core

# Full vectors, remainders, and an activation that is a kernel of its own.
CELLS = [
    rtrl.RNN(5),
    rtrl.RNN(33, "relu", 0.4),
    rtrl.RNN(18, "identity", 0.4),
    rtrl.GRU(17),
    rtrl.LSTM(16),
    rtrl.RHN(33),
    rtrl.RHN(18, 2),
]


def main():
    print(f"levels that run here: {', '.join(rtrl_core.built_levels())}; in use: {rtrl_core.cpu_level()}")
    began, count = time.perf_counter(), 0
    for dtype in ("float32", "float64"):
        for cell in CELLS:
            for estimator in ESTIMATORS.values():
                train(cell, estimator, rtrl.Adam(0.01), READOUTS["softmax"], dtype)
                count += 1
        for readout in READOUTS.values():
            for optimizer in OPTIMIZERS.values():
                train(rtrl.GRU(17), rtrl.KFRTRL(), optimizer, readout, dtype)
                count += 1
    print(f"{count} training runs in {time.perf_counter() - began:.0f} s")


def train(cell, estimator, optimizer, readout, dtype):
    """Steps with numbers and with ids, a prediction, a gradient."""
    ran = session(cell, estimator, optimizer, readout=readout, dtype=dtype, batch_size=2)
    for dense in (True, False):
        xs, ys = stream(9, 2, readout, dense=dense)
        assert np.isfinite(ran.run(xs, ys)).any(), (cell, estimator, optimizer)
    assert np.isfinite(ran.predict(xs[0])).all()
    assert all(np.isfinite(each).all() for each in ran.gradient().values())


if __name__ == "__main__":
    main()
