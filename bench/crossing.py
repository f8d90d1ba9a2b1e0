"""Memory against TBPTT: from which horizon on its tape is larger than what a forward estimator keeps.

A tape grows by the same bytes with every step of the horizon, so two sessions of TBPTT give the whole line (blocks are filled
up to whole cache lines, which may move a crossing by a step); what forward estimators keep does not depend on T.
`Session.nbytes` is exact, and nothing is run.
"""

from dataclasses import asdict, dataclass

import rtrl
from bench.cases import DIRECT, blocked
from bench.workloads import make

__all__ = ["ESTIMATORS", "Crossing", "bytes_of", "crossings", "lines", "tape_line"]

ESTIMATORS = tuple(
    each
    for each in (rtrl.UORO(), rtrl.SnAp(), rtrl.RFLO(), DIRECT, blocked(8), rtrl.BlockOK(4, 8), rtrl.OK(4), rtrl.RTRL())
    if each is not None
)
HIDDEN, LANES = (32, 64, 128, 256, 512), (1, 16)
_HORIZONS = (1000, 2000)


@dataclass(frozen=True)
class Crossing:
    """Bytes of an estimator at one size, and the least horizons at which TBPTT needs more: of what is carried, and in all."""

    cell: str
    estimator: str
    hidden: int
    lanes: int
    carried: int | None
    total: int | None
    horizon: int | None
    horizon_in_all: int | None

    def plain(self):
        """For JSON."""
        return asdict(self)


def bytes_of(cell, hidden, estimator, lanes):
    """(carried, total) bytes of a session, or (None, None) where it is refused because it would not fit."""
    try:
        sizes = make(cell, hidden, estimator, lanes).nbytes
    except MemoryError:
        return None, None
    return sizes["influence"] + sizes["tape"], sizes["total"]


def tape_line(cell, hidden, lanes):
    """Bytes of TBPTT(T) as (at T = 0, a step of T), carried and in all."""
    low, high = (bytes_of(cell, hidden, rtrl.TBPTT(horizon), lanes) for horizon in _HORIZONS)
    apart = _HORIZONS[1] - _HORIZONS[0]
    return [(first - _HORIZONS[0] * (second - first) / apart, (second - first) / apart) for first, second in zip(low, high)]


def crossings(cell, hidden=HIDDEN, lanes=LANES, estimators=ESTIMATORS):
    """The `Crossing` of every estimator and size."""
    for count in lanes:
        for n in hidden:
            both = tape_line(cell, n, count)
            for estimator in estimators:
                sizes = bytes_of(cell, n, estimator, count)
                horizons = [_beyond(size, *line) for size, line in zip(sizes, both)]
                yield Crossing(cell, str(estimator), n, count, *sizes, *horizons)


def _beyond(size, start, a_step):
    """The least T for which start + a_step T > size."""
    return None if size is None else max(1, int((size - start) // a_step) + 1)


def lines(found):
    """The table as text: the horizon T from which on TBPTT(T) keeps more, of what is carried | in all."""
    found = list(found)
    hidden, lanes = (sorted({getattr(each, name) for each in found}) for name in ("hidden", "lanes"))
    cells = {(each.estimator, each.hidden, each.lanes): each for each in found}
    for count in lanes:
        yield ""
        heading = f"TBPTT(T) keeps more from T = , B = {count}"
        yield f"{heading:36}" + "".join(f"{f'n = {n}':>20}" for n in hidden)
        for name in dict.fromkeys(each.estimator for each in found):
            yield f"{name:36}" + "".join(f"{_pair(cells[name, n, count]):>20}" for n in hidden)


def _pair(each):
    return "refused" if each.total is None else f"{each.horizon:,} | {each.horizon_in_all:,}"
