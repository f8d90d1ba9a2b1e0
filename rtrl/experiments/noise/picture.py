"""The result of the noise study as a figure; needs matplotlib (the extra `plot`)."""

from rtrl.experiments import plots
from rtrl.experiments.noise.pool import ROUNDING, panels

__all__ = ["draw"]

_CAPTION = (
    "Noise of gradient estimates. Relative variance 1: the error is as large as the gradient itself. "
    "Cosine 1: the exact direction, 0: no information."
)
_AXES = {
    "hidden": "hidden units n",
    "t": "time t (steps)",
    "relative_variance": "relative variance",
    "cosine": "cosine with the exact gradient",
}
_GREATEST = 1e12  # larger variances are not drawn: they would press all others into one line


def draw(results):
    """Relative variance and cosine, against n where there are several sizes, and against t where there are several times.

    Parameters
    ----------
    results : list of rtrl.experiments.store.Result
        Of the noise study.

    Returns
    -------
    matplotlib.figure.Figure
    """
    wanted = []
    for panel in panels(results):
        axes = [axis for axis in ("hidden", "t") if len({row[axis] for row in panel.rows}) > 1] or ["t"]
        wanted += [(panel, axis) for axis in axes]
    names = {name: i for i, name in enumerate(dict.fromkeys(row["estimator"] for panel, _ in wanted for row in panel.rows))}
    figure, grid = plots.blank(15, 4.5 * max(1, len(wanted)), max(1, len(wanted)), 2)
    for pair, (panel, axis) in zip(grid, wanted):
        for axes, quantity in zip(pair, ("relative_variance", "cosine")):
            _panel(axes, panel, names, axis, quantity)
    _share_limits(grid)
    handles = {label: handle for axes in grid[:, 0] for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside right center", frameon=False)
    figure.suptitle(_CAPTION)
    return figure


def _panel(axes, panel, names, axis, quantity):
    """One quantity against one axis, one curve an estimator."""
    rows = panel.against(axis)
    for name in dict.fromkeys(row["estimator"] for row in rows):
        kind = next(row["kind"] for row in rows if row["estimator"] == name)
        x, y, bars = _curve([row for row in rows if row["estimator"] == name], axis, quantity)
        axes.errorbar(
            x,
            y,
            bars,
            label=f"{name} ({kind})",
            color=f"C{names[name] % 10}",
            linestyle="-" if kind == "unbiased" else "--",
            marker="os^vDXP"[names[name] % 7],
            markersize=4,
            linewidth=1.2,
            elinewidth=0.7,
        )
    axes.set_xscale("log")
    if axis == "hidden":
        sizes = sorted({row["hidden"] for row in rows})
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes], minor=False)
        axes.set_xticks([], minor=True)
    axes.set_yscale("log" if quantity == "relative_variance" else "linear")
    axes.set_xlabel(_AXES[axis])
    axes.set_ylabel(_AXES[quantity])
    held = f"t = {panel.last:,}" if axis == "hidden" else f"n = {panel.largest:,}"
    axes.set_title(f"{panel.words}, {held}")
    axes.grid(alpha=0.3)


def _curve(rows, axis, quantity):
    """Places, values, and bars [down, up] of one curve."""
    points = sorted((row[axis], row[quantity], row[f"{quantity}_error"] or 0) for row in rows if row[quantity] is not None)
    if quantity == "cosine":
        return [x for x, _, _ in points], [y for _, y, _ in points], [e for _, _, e in points]
    points = [point for point in points if ROUNDING < point[1] < _GREATEST]
    # Downwards no further than half of the value: on a logarithmic axis the bar would not end.
    bars = [[min(e, y / 2) for _, y, e in points], [e for _, _, e in points]]
    return [x for x, _, _ in points], [y for _, y, _ in points], bars


def _share_limits(grid):
    """The same limits for one quantity everywhere, so that panels can be compared."""
    for column in grid.T:
        limits = [axes.get_ylim() for axes in column]
        for axes in column:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
