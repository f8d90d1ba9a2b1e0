"""Sessions that stop in the middle; the child process of test_checkpoint.py and the tests themselves play them."""

import json
from pathlib import Path

import numpy as np
from common import CELLS, ESTIMATORS, OPTIMIZERS, session, stream

import rtrl
from rtrl import _files

STEPS, MIDDLE, LANES = 19, 7, 2  # 7 is within a block of TBPTT(4), and within 5 steps between updates


def slow_down(step):
    """A learning rate that no file can hold."""
    return 0.1 / (1 + step)


def make(cell="gru", estimator="kfrtrl", optimizer="adam", dtype="float32", **options):
    optimizer = rtrl.SGD(slow_down, momentum=0.5) if optimizer == "callable" else OPTIMIZERS[optimizer]
    return session(CELLS[cell], ESTIMATORS[estimator], optimizer, dtype=dtype, batch_size=LANES, **options)


def cases():
    """Options of `make`, whether inputs are dense, and how the session stops, by name."""
    found = {}
    for cell in CELLS:
        for estimator in ESTIMATORS:
            found[f"{cell}, {estimator}"] = (dict(cell=cell, estimator=estimator), len(found) % 2 == 0, "run")
    for estimator in ESTIMATORS:
        for dense in (True, False):
            kind = "dense" if dense else "ids"
            options = dict(estimator=estimator, dtype="float64")
            found[f"{estimator}, {kind}, open step"] = (options, dense, "open step")
            found[f"{estimator}, {kind}, credited"] = (dict(options, update_every=5), dense, "run")
            found[f"{estimator}, {kind}, shadows"] = (dict(options, shadow=[rtrl.RTRL(), rtrl.TBPTT(3)]), dense, "run")
    for optimizer in (*OPTIMIZERS, "callable"):
        found[f"optimizer {optimizer}"] = (dict(optimizer=optimizer), True, "run")
    found["two threads"] = (dict(threads=2), True, "run")
    found["ids, then dense"] = (dict(estimator="tbptt block"), "mixed", "run")
    return found


def inputs(dense, t):
    """Input of one step; "mixed" gives ids at first and numbers from the middle on."""
    numbers, ids = stream(STEPS, LANES)[0], stream(STEPS, LANES, dense=False)[0]
    return numbers[t] if dense is True or dense == "mixed" and t > MIDDLE else ids[t]


def first_half(ran, dense, stop):
    ys = stream(STEPS, LANES)[1]
    for t in range(MIDDLE):
        ran.step(inputs(dense, t), ys[t])
    if stop == "open step":
        ran.feedback(np.full((LANES, 4), 0.5))
        ran.advance(inputs(dense, MIDDLE))


def second_half(ran, dense, stop):
    """The rest of the stream; returns everything that can be seen of it."""
    ys, seen = stream(STEPS, LANES)[1], {}
    if stop == "open step":
        ran.feedback(np.full((LANES, 4), 0.25))
        seen |= ran.gradient()
    losses = []
    for t in range(MIDDLE, STEPS):
        losses.append(ran.step(inputs(dense, t), ys[t]))
        for i, shadow in enumerate(ran.shadows):
            seen[f"cosine {i} {t}"] = shadow.cosines
    seen["losses"] = np.array(losses)
    seen |= {f"weights {name}": view for name, view in ran.network.parameters().items()}
    seen |= {f"gradient {name}": value for name, value in ran.gradient().items()}
    return seen | {f"influence {name}": G for name, G in ran.influence().items()}


def file_of(folder, name):
    return Path(folder) / f"{name.replace(' ', '-').replace(',', '')}.rtrl"


def save_all(folder):
    """Play the first half of every case and save it; the sessions then run on, so that saving is no end."""
    for name, (options, dense, stop) in cases().items():
        ran = make(**options)
        first_half(ran, dense, stop)
        ran.save(file_of(folder, name))
        ran.run(*stream(3, LANES, seed=7))


def contents(path):
    """Description and arrays of a file."""
    with np.load(path) as archive:
        arrays = dict(archive)
    description = json.loads(arrays.pop("description").tobytes())
    return description, {name.removeprefix("array/"): value for name, value in arrays.items()}


def forge(path, description, arrays):
    """Write a file as somebody might on purpose: its digest is right, whatever it says."""
    rest = {name: value for name, value in description.items() if name not in ("rtrl", "format", "digest")}
    _files.write(path, description["rtrl"], rest, arrays)


def limited():
    """Sessions with every block of integers that there is, by name."""
    estimators = {name: spec for name, spec in ESTIMATORS.items() if "eager" not in name}
    found = {name: dict(cell="rnn", estimator=spec) for name, spec in estimators.items()}
    found["kfrtrl blocks, deep"] = dict(cell="rhn 3", estimator=rtrl.KFRTRL(block=3))
    found["uoro 3, deep"] = dict(cell="rhn 3", estimator=rtrl.UORO(3))
    found["snap 2"] = dict(cell="rnn", estimator=rtrl.SnAp(2), sparsity=0.5)
    found["nobacktrack kalman"] = dict(cell="lstm", estimator=rtrl.NoBackTrack("kalman"), optimizer=rtrl.Kalman(0.01))
    found["exact fisher"] = dict(cell="rnn", estimator=rtrl.RFLO(), optimizer=rtrl.Kalman(0.01, fisher="exact"))
    found["outliers"] = dict(cell="rnn", estimator=rtrl.SnAp(), optimizer=rtrl.RMSprop(0.01, clip_outliers=5.0))
    found["shadows"] = dict(cell="rnn", estimator=rtrl.RTRL(), shadow=[rtrl.TBPTT(3), rtrl.BlockOK(2, 3), rtrl.UORO()])
    return found


def limited_session(cell, estimator, optimizer=None, **options):
    """One of those in the middle of everything: an open step, something credited, something reset."""
    ran = session(CELLS[cell], estimator, optimizer or rtrl.SGD(0.1, momentum=0.5), batch_size=LANES, update_every=5, **options)
    use(ran)
    return ran


def use(ran):
    """A bit of everything that can be done with a session; ids come first, so that those of a file are met."""
    xs, ys = stream(STEPS, LANES, dense=False)
    ran.feedback(np.full((LANES, ran.network.cell.hidden), 0.5)) if ran.steps else None
    ran.advance(xs[0])
    ran.run(xs[:MIDDLE], ys[:MIDDLE])
    ran.reset([True, False])
    ran.gradient()
    ran.advance(xs[0])
    ran.feedback(np.full((LANES, ran.network.cell.hidden), 0.5))
    ran.influence()
