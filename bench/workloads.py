"""The sessions that are measured: cells, estimators and sizes, all on one kind of stream.

Inputs and targets are integer ids, 50 of them unless said otherwise (a character model); weights are
uniform in +-1/sqrt(n), the default of `rtrl.Network`.
"""

import math

import numpy as np

import rtrl

__all__ = ["CELLS", "ESTIMATORS", "IDS", "carried_bytes", "make", "named", "period", "step_flops", "stream"]

IDS = 50
CELLS = {"RNN": rtrl.RNN, "GRU": rtrl.GRU, "LSTM": rtrl.LSTM, "RHN": rtrl.RHN}
_SIZES = {"RNN": (1, 1), "GRU": (1, 4), "LSTM": (2, 4), "RHN": (1, 2)}  # k state components, r maps per unit
ESTIMATORS = {
    "Immediate": rtrl.Immediate(),
    "TBPTT1": rtrl.TBPTT(1),
    "TBPTT25": rtrl.TBPTT(25),
    "SnAp": rtrl.SnAp(),
    "RFLO": rtrl.RFLO(),
    "KeRNL": rtrl.KeRNL(),
    "DNI": rtrl.DNI(),
    "UORO": rtrl.UORO(),
    "UORO8": rtrl.UORO(8),
    "NoBackTrack": rtrl.NoBackTrack(),
    "NoBackTrackKalman": rtrl.NoBackTrack("kalman"),
    "ReversedKFRTRL": rtrl.ReversedKFRTRL(),
    "KFRTRL": rtrl.KFRTRL(block=1),
    "KFRTRLx4": rtrl.KFRTRL(block=1, average=4),
    "OK4": rtrl.OK(4),
    "BlockOK4x8": rtrl.BlockOK(4, 8),
    "RTRL": rtrl.RTRL(),
}


def stream(steps, lanes, ids=IDS):
    """Random ids and the next ones as targets, each [steps, lanes] int32."""
    drawn = np.random.default_rng(0).integers(0, ids, (steps + 1, lanes), dtype=np.int32)
    return drawn[:-1], drawn[1:]


def make(cell, hidden, estimator, lanes, *, optimizer=None, dtype="float32", threads=1, ids=IDS, update_every=None, **options):
    """A session on `stream`: Softmax readout, and unless an optimizer is given Adam, or the filter where its metric is needed.

    Further `options` are the cell's.
    """
    network = rtrl.Network(CELLS[cell](hidden, **options), inputs=ids, readout=rtrl.Softmax(ids), dtype=dtype, seed=0)
    usual = rtrl.Kalman(1e-4) if getattr(estimator, "metric", "") == "kalman" else rtrl.Adam(1e-4)
    return rtrl.Session(
        network, estimator, optimizer or usual, batch_size=lanes, seed=1, threads=threads, update_every=update_every
    )


def named(session):
    """Cell and size of a session in words; in the order of the alphabet smaller ones come first."""
    cell, lanes = session.network.cell, session.batch_size
    return f"{type(cell).__name__} {cell.hidden:3} units, {lanes:2} lane{'s' if lanes > 1 else ''}"


def period(session):
    """Steps after which costs repeat: those of an update, a window, a block."""
    estimator = session.estimator.suited(session.network, session.batch_size)
    return math.lcm(session.update_every, *(getattr(estimator, name, 1) for name in ("horizon", "block")))


def step_flops(session):
    """Flops of one step of all lanes (a multiply-add is two; functions and the optimizer are not counted)."""
    return session._engine.flops()


def carried_bytes(cell, hidden, estimator, lanes, itemsize=4):
    """Bytes that an estimator has to carry from step to step, from the formulas of docs/choosing.md, without padding."""
    k, r = _SIZES[cell]
    n, m = hidden, hidden + IDS + 1
    product = m + k * n * r * n
    record = n + k * r * n + k * k * n + 1  # h_hat, D, E, and an id
    vectors = k * n + r * n * m
    weights = n * (2 * m + IDS + 1 + n + 1) if cell == "GRU" else r * n * m  # those that exist
    carried = {
        "Immediate": lambda _: 0,
        "TBPTT": lambda spec: spec.horizon * (record + n),
        "SnAp": lambda _: k * weights,
        "RFLO": lambda _: k * weights,
        "KeRNL": lambda _: (k * n) ** 2 + k * r * n * m,
        "DNI": lambda _: k * n * m,
        "UORO": lambda spec: vectors + (spec.horizon - 1) * record,
        "NoBackTrack": lambda _: vectors,
        "ReversedKFRTRL": lambda _: r * n + k * n * m,
        "KFRTRL": lambda spec: spec.average * product,
        "OK": lambda spec: spec.rank * product,
        "BlockOK": lambda spec: spec.rank * product + (spec.block - 1) * (record + r * n * n / lanes),
        "RTRL": lambda _: k * n * r * n * m,
    }
    return lanes * itemsize * carried[type(estimator).__name__](estimator)
