"""The rows of the table: two things that took turns, their ratio, and the target it is judged by."""

from dataclasses import asdict, dataclass, field

from bench.rounds import Spread, spread

__all__ = ["Row", "heading", "judged", "line", "named", "row"]

_WHAT, _AGAINST = 38, 30  # widths


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    what, against : str
        Ours, and what it is measured against.
    ours, other : Spread or None
        Seconds a time step (all lanes).
    ratio : Spread or None
        None where it could not be measured; `note` then says why.
    target : float or None
        None: nothing was promised.
    most : bool
        The ratio must be at most the target, otherwise at least.
    limit : float or None
        Seconds that the machine needs at best for what `what` computes and moves.
    """

    what: str
    against: str
    ours: Spread | None = None
    other: Spread | None = None
    ratio: Spread | None = None
    target: float | None = None
    most: bool = False
    limit: float | None = None
    note: str = ""
    group: str = field(default="", kw_only=True)

    @property
    def reached(self):
        """Whether the median keeps to the target; None where there is none or nothing was measured."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio.median <= self.target if self.most else self.ratio.median >= self.target

    @property
    def possible(self):
        """The ratio if ours took no more than the limit; None where no limit is known."""
        if self.limit is None or self.other is None:
            return None
        return self.limit / self.other.median if self.most else self.other.median / self.limit

    def plain(self):
        """For JSON."""
        return asdict(self) | {"reached": self.reached, "possible": self.possible}


def named(estimator, cell, hidden, lanes):
    """What a row is about, in a few characters."""
    return f"{estimator} {cell} {hidden} x {lanes}"


def row(what, against, ours, other, *, inverse=False, **rest):
    """A `Row` from seconds of both, round by round; the ratio is other / ours, or ours / other if `inverse`."""
    ratio = spread(ours / other if inverse else other / ours)
    return Row(what, against, spread(ours), spread(other), ratio, **rest)


def heading(group):
    """Two lines above the rows of a group."""
    measured = f"{'us a step':>10}{'limit':>9}   {'against':{_AGAINST}}{'us a step':>10}"
    ratios = f"{'ratio (quartiles)':24}{'possible':>9}{'target':>9}"
    return f"\n{group:{_WHAT}}{measured}   {ratios}"


def line(each):
    """One row as text."""
    measured = f"{each.what:{_WHAT}}{_us(each.ours):>10}{_us(each.limit):>9}"
    return f"{measured}   {each.against:{_AGAINST}}{_us(each.other):>10}   {_end(each)}".rstrip()


def judged(rows):
    """(reached, missed, not measured) among the rows that have a target."""
    verdicts = [each.reached for each in rows if each.target is not None]
    return verdicts.count(True), verdicts.count(False), verdicts.count(None)


def _us(value):
    if value is None:
        return "-"
    micro = 1e6 * (value.median if isinstance(value, Spread) else value)
    return f"{micro:.2f}" if micro < 100 else f"{micro:.0f}"


def _end(each):
    if each.ratio is None:
        return each.note
    form = ".1f" if each.ratio.median >= 20 else ".2f"
    possible = "-" if each.possible is None else f"{each.possible:{form}}"
    target = "" if each.target is None else f"{'<=' if each.most else '>='} {each.target:g}"
    verdict = {None: "", True: "reached", False: "MISSED"}[each.reached]
    return "  ".join(filter(None, (f"{each.ratio.text(form):24}{possible:>9}{target:>9}", verdict, each.note)))
