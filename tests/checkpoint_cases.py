"""Sessions that stop in the middle; the child process of test_checkpoint.py and the tests themselves play them."""

from pathlib import Path

import numpy as np
from common import CELLS, ESTIMATORS, OPTIMIZERS, session, stream

import rtrl

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
