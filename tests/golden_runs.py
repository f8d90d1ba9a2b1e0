"""The runs behind tests/golden: the first losses of every estimator on every cell."""

from pathlib import Path

from common import CELLS, ESTIMATORS, reset_mask, session, stream

import rtrl

GOLDEN = Path(__file__).parent / "golden"
STEPS, LANES = 16, 2


def file_of(cell):
    return GOLDEN / f"{cell.replace(' ', '-')}.json"


def traces(cell):
    """Losses by estimator: Adam, dense inputs, missing targets and resets; and one with ids and another readout."""
    found = {}
    for name, estimator in ESTIMATORS.items():
        ran = session(CELLS[cell], estimator, rtrl.Adam(0.01, clip_norm=1.0), batch_size=LANES)
        found[name] = ran.run(*stream(STEPS, LANES, missing=0), reset_mask(STEPS, LANES)).tolist()
        readout = rtrl.Bernoulli(3)
        ran = session(CELLS[cell], estimator, rtrl.RMSprop(0.01), readout=readout, batch_size=LANES)
        found[f"{name}, ids, bernoulli"] = ran.run(*stream(STEPS, LANES, readout, dense=False)).tolist()
    return found
