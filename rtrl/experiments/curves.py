"""Learning curves of many runs: runs that differ in their seed alone are one curve, with the range of the seeds."""

import numpy as np

from rtrl.experiments import plots
from rtrl.experiments.report import Table

__all__ = ["draw", "groups", "legend", "plot", "spread", "table", "varying"]

_SAME = ("seed",)  # fields in which runs of one curve may differ
_COLUMNS = 6


def varying(results):
    """Names of the settings in which results differ, seeds apart; always with the estimator."""
    names = dict.fromkeys(name for each in results for name in each.settings)
    differ = [name for name in names if len({str(each.settings.get(name)) for each in results}) > 1 and name not in _SAME]
    return list(dict.fromkeys((["estimator"] if "estimator" in names else []) + differ))


def groups(results):
    """Results that differ in their seeds alone, by label.

    Parameters
    ----------
    results : list of Result
        Of one study.

    Returns
    -------
    dict of str to list of Result
    """
    names, found = varying(results), {}
    for each in results:
        values = {name: each.settings.get(name) for name in names}
        estimator = [values.pop("estimator")] if "estimator" in values else []
        found.setdefault(", ".join(estimator + [f"{name} {value}" for name, value in values.items()]), []).append(each)
    return found


def spread(values, form="{:.3f}", seeds=None):
    """Mean and range of values as text, and of how many runs they are where that is not all.

    Parameters
    ----------
    values : list of float or None
        Of runs that differ in their seeds; None: a run that has no number there.
    form : str
        Of a number.
    seeds : int or None
        Of how many runs there might be a value; None: of as many as there are values.
    """
    known = [value for value in values if value is not None]
    failed = [f"{len(values) - len(known)} failed"] if len(known) < len(values) else []
    missing = [f"{len(values)} of {seeds} seeds"] if values and seeds is not None and len(values) < seeds else []
    numbers = [form.format(np.mean(known))] if known else [] if failed else ["-"]
    if len(known) > 1 and min(known) < max(known):
        numbers[0] += f" ({form.format(min(known))} to {form.format(max(known))})"
    return ", ".join(numbers + missing + failed)


def table(title, results, quantity, form="{:.3f}", marks=None):
    """A quantity at some steps, one line a curve.

    Parameters
    ----------
    title : str
        Of the table.
    results : list of Result
        Rows have "step", and some of them the quantity.
    quantity : str
        Which.
    form : str
        Of a number.
    marks : list of int or None
        Steps; None: some that are spread evenly on a logarithmic scale.

    Returns
    -------
    Table
    """
    marks = _marks(results, quantity) if marks is None else marks
    cells = [["", "seeds", *(f"{mark:,}" for mark in marks)]]
    for name, some in groups(results).items():
        at = [_known(each, quantity) for each in some]
        columns = [spread([found[mark] for found in at if mark in found], form, len(some)) for mark in marks]
        cells.append([name, str(len(some)), *columns])
    return Table(title, cells)


def _known(result, quantity):
    """The quantity by step, where there is one."""
    return {row["step"]: row[quantity] for row in result.rows if quantity in row}


def _marks(results, quantity):
    """Steps, rising: the last of any result, and about a factor of 2 before each."""
    common = {step for each in results for step in _known(each, quantity)}
    if not common:
        return []
    marks = {last := max(common)}
    for i in range(1, _COLUMNS):
        marks.add(min(common, key=lambda step: abs(step - last / 2**i)))
    return sorted(marks)


def legend(results):
    """What all runs have in common, in a line or two."""
    same = dict.fromkeys(name for each in results for name in each.settings if name not in (*varying(results), *_SAME))
    seeds = sorted({each.settings["seed"] for each in results})
    told = {name: results[0].settings.get(name) for name in same}  # a setting that is new is not in older results
    words = [f"{name.replace('_', ' ')} {value}" for name, value in told.items() if value is not None]
    unfinished = sum(not each.done for each in results)
    ending = f" {unfinished} of {len(results)} runs have not come to their end." if unfinished else ""
    return f"All runs: {', '.join(words)}; seeds {', '.join(map(str, seeds))}; mean over seeds, and their range.{ending}"


def draw(results, quantity, words, caption, log=False):
    """A figure of a quantity against steps: mean over seeds, and their range as a band.

    Parameters
    ----------
    results : list of Result
        As for `table`.
    quantity, words : str
        What is drawn, and how the axis is called, with its unit.
    caption : str
        One sentence that says what is seen.
    log : bool
        Steps on a logarithmic axis.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, ((axes,),) = plots.blank(9, 5)
    plot(axes, results, quantity, words, log)
    axes.set_title(caption, fontsize="medium", loc="left")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def plot(axes, results, quantity, words, log=False):
    """The curves of `draw`, in axes of one's own; each ends where the first of its seeds does, or has no number."""
    for i, (name, some) in enumerate(groups(results).items()):
        at = [_known(each, quantity) for each in some]
        steps = sorted(set.intersection(*map(set, at)))
        values = np.array([[found[step] for found in at] for step in steps], float).reshape(len(steps), len(at))
        look = plots.style(i)
        axes.plot(steps, values.mean(1), label=name, markevery=max(1, len(steps) // 8), markersize=5, **look)
        if len(some) > 1:
            axes.fill_between(steps, values.min(1), values.max(1), color=look["color"], alpha=0.15, linewidth=0)
    if log and any(len(curve.get_xdata()) for curve in axes.lines):  # matplotlib has no logarithm of nothing
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=5)  # so that long numbers stay apart
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("time steps")
    axes.set_ylabel(words)
    axes.grid(alpha=0.3)
