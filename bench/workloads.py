"""The sessions that are measured: cells, estimators and sizes, all on one kind of stream.

Inputs and targets are integer ids, 50 of them unless said otherwise (a character model); weights are
uniform in +-1/sqrt(n), the default of `rtrl.Network`.
"""

import numpy as np

import rtrl

__all__ = ["CELLS", "ESTIMATORS", "IDS", "carried_bytes", "make", "step_flops", "stream"]

IDS = 50
CELLS = {"RNN": rtrl.RNN, "GRU": rtrl.GRU, "LSTM": rtrl.LSTM, "RHN": rtrl.RHN}
_SIZES = {"RNN": (1, 1), "GRU": (1, 4), "LSTM": (2, 4), "RHN": (1, 2)}  # k state components, r maps per unit
ESTIMATORS = {
    "Immediate": rtrl.Immediate(),
    "TBPTT1": rtrl.TBPTT(1),
    "TBPTT25": rtrl.TBPTT(25),
    "UORO": rtrl.UORO(),
    "KFRTRL": rtrl.KFRTRL(),
    "RTRL": rtrl.RTRL(),
}


def stream(steps, lanes, ids=IDS):
    """Random ids and the next ones as targets, each [steps, lanes] int32."""
    drawn = np.random.default_rng(0).integers(0, ids, (steps + 1, lanes), dtype=np.int32)
    return drawn[:-1], drawn[1:]


def make(cell, hidden, estimator, lanes, *, optimizer=None, dtype="float32", threads=1, ids=IDS):
    """A session on `stream`: Softmax readout, and Adam unless an optimizer is given."""
    network = rtrl.Network(CELLS[cell](hidden), inputs=ids, readout=rtrl.Softmax(ids), dtype=dtype, seed=0)
    return rtrl.Session(network, estimator, optimizer or rtrl.Adam(1e-4), batch_size=lanes, seed=1, threads=threads)


def step_flops(session):
    """Flops of one step of all lanes (a multiply-add is two; functions and the optimizer are not counted)."""
    return session._engine.flops()


def carried_bytes(cell, hidden, estimator, lanes, itemsize=4):
    """Bytes that an estimator has to carry from step to step, from the formulas and without padding.

    One stage, ids as inputs, n = `hidden`, m = n + IDS + 1:
    Immediate 0; RTRL k n r n m; KF-RTRL m + k n r n; UORO k n + r n m;
    TBPTT(T) T records (h_hat, D, E) and as many credits, T (2 n + k r n + k^2 n) and T ids; each times the lanes.
    """
    k, r = _SIZES[cell]
    n, m = hidden, hidden + IDS + 1
    if isinstance(estimator, rtrl.TBPTT):
        return lanes * estimator.horizon * (itemsize * (2 * n + k * r * n + k * k * n) + 4)
    count = {"Immediate": 0, "RTRL": k * n * r * n * m, "KFRTRL": m + k * n * r * n, "UORO": k * n + r * n * m}
    return lanes * itemsize * count[type(estimator).__name__]
