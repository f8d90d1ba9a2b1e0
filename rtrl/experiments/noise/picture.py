"""The result of the noise study as a picture; needs matplotlib (the extra `plot`)."""

from rtrl.experiments import plots

__all__ = ["draw", "save"]

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
_LEAST = 1e-9  # smaller variances are errors of rounding, not noise


def save(rows, path):
    """Draw relative variance and cosine against n and t, four panels for each state of training.

    Parameters
    ----------
    rows : list of dict
        As `rtrl.experiments.noise.study.measure` yields them.
    path : path-like
        The PNG file.

    Raises
    ------
    RuntimeError
        If matplotlib is missing.
    OSError
        If the file cannot be written.
    """
    draw(rows).savefig(path, format="png", dpi=110)


def draw(rows):
    """The figure that `save` writes."""
    Figure, Canvas = plots.need()
    rows = [row for row in rows if "refused" not in row]
    states = sorted({row["trained"] for row in rows})
    names = {name: i for i, name in enumerate(dict.fromkeys(row["estimator"] for row in rows))}
    figure = Figure(figsize=(15, 9 * len(states)), layout="constrained")
    Canvas(figure)
    grid = figure.subplots(2 * len(states), 2, squeeze=False)
    for panels_of_state, trained in zip(grid.reshape(len(states), 4), states):
        some = [row for row in rows if row["trained"] == trained]
        panels = ((axis, quantity) for axis in ("hidden", "t") for quantity in ("relative_variance", "cosine"))
        for axes, (axis, quantity) in zip(panels_of_state, panels):
            _panel(axes, some, names, axis, quantity, "trained" if trained else "untrained")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.suptitle(_CAPTION)
    return figure


def _panel(axes, rows, names, axis, quantity, words):
    """One quantity against one axis, one curve an estimator."""
    other, held = ("t", "t") if axis == "hidden" else ("hidden", "n")
    fixed = max(row[other] for row in rows)
    for name, i in names.items():
        points = sorted(
            (row[axis], row[quantity], row[f"{quantity}_error"] or 0)
            for row in rows
            if row["estimator"] == name and row[other] == fixed and row[quantity] is not None
        )
        if quantity == "relative_variance":
            points = [point for point in points if point[1] > _LEAST]
        kind = next((row["kind"] for row in rows if row["estimator"] == name), "unbiased")
        axes.errorbar(
            [x for x, _, _ in points],
            [y for _, y, _ in points],
            # Downwards no further than half of the value: on a logarithmic axis the bar would not end.
            [[min(e, y / 2) if quantity == "relative_variance" else e for _, y, e in points], [e for _, _, e in points]],
            label=f"{name} ({kind})",
            color=f"C{i % 10}",
            linestyle="-" if kind == "unbiased" else "--",
            marker="os^vDXP"[i % 7],
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
    axes.set_title(f"{words}, {held} = {fixed:,}")
    axes.grid(alpha=0.3)
