"""The results as a figure: the error of every model as time goes on, one panel for each forecast, and latency beneath."""

import numpy as np

from rtrl.experiments import plots
from rtrl.experiments.forecast.tables import CHOSEN, best, latencies

__all__ = ["draw"]

_SMOOTH = 0.1  # share of the stream that a point of a curve is the mean over
_WIDTH, _HEIGHT, _COLUMNS = 5.0, 3.2, 3  # inches of a panel, and panels in a row


def draw(results):
    """Rolling error relative to the last value, and percentiles of the latency, of the best candidate of each model."""
    chosen = best(results)
    names = list(dict.fromkeys(model for models in chosen.values() for model in models))
    looks = {name: plots.style(i) for i, name in enumerate(names)}
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = plots.blank(max(10, _WIDTH * columns), _HEIGHT * (rows + 1.2), rows + 1, columns)
    for panel, (where, models) in zip(axes[:-1].flat, chosen.items()):
        _errors(panel, where, models, looks)
    for panel in axes[:-1].flat[len(chosen) :]:
        panel.axis("off")
    beneath = axes[-1, 0].get_gridspec()[-1, :]
    for panel in axes[-1]:
        panel.remove()
    _latency(figure.add_subplot(beneath), names, chosen, looks)
    handles = [figure.axes[0].plot([], [], label=name, **looks[name])[0] for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(
        "Online forecasts: squared error relative to the forecast that nothing changes; lower is better.\n"
        "Mean over seeds, and their range. The tables compare the models on what is right of the dotted line.",
        fontsize="medium",
    )
    return figure


def _errors(axes, where, models, looks):
    for name, runs in models.items():
        steps, ratios = _rolling(runs)
        axes.plot(steps, ratios.mean(1), markevery=max(1, len(steps) // 6), markersize=4, **looks[name])
        if len(runs) > 1:
            axes.fill_between(steps, ratios.min(1), ratios.max(1), color=looks[name]["color"], alpha=0.15, linewidth=0)
    last = max((run.rows[-1]["step"] for runs in models.values() for run in runs if run.rows), default=0)
    axes.axvline(CHOSEN * last, color="grey", linestyle=":")
    if any(np.nanmax(line.get_ydata(), initial=0) > 0 for line in axes.lines[:-1]):  # a scale of nothing cannot be drawn
        axes.set_yscale("log")
    axes.set_xlabel("samples")
    axes.set_ylabel(f"error / last value's,\nlast {_SMOOTH:.0%} of the stream")
    axes.set_title(where, fontsize="medium")
    axes.grid(alpha=0.3, which="both")


def _rolling(runs):
    """Steps that all runs have, and the ratio [steps, runs] of the mean errors over the last `_SMOOTH` of the stream."""
    count = min(len(run.rows) for run in runs)
    steps = [row["step"] for row in runs[0].rows[:count]]
    width = max(1, round(_SMOOTH * count))
    ratios = np.full((count, len(runs)), np.nan)
    for i, run in enumerate(runs):
        rows = run.rows[:count]
        model, last = ([np.nan if row[key] is None else row[key] * row["scored"] for row in rows] for key in ("mse", "last_mse"))
        scored = np.array([row["scored"] for row in rows])
        for k in range(count):
            window = [j for j in range(max(0, k + 1 - width), k + 1) if scored[j]]
            below = sum(last[j] for j in window)
            ratios[k, i] = sum(model[j] for j in window) / below if below else np.nan
    return steps, ratios


def _latency(axes, names, chosen, looks):
    for i, name in enumerate(names):
        times = latencies([run for models in chosen.values() for run in models.get(name, [])])
        for value, marker in zip(times.values(), "|osx"):
            if value is not None:
                axes.plot(value, i, marker=marker, color=looks[name]["color"], linestyle="", markersize=9)
    for words, marker in zip(("median", "95 %", "99 %", "longest"), "|osx"):
        axes.plot([], [], marker=marker, color="grey", linestyle="", label=words)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("time from a sample to the next forecast, learning included (microseconds), over all panels")
    axes.grid(alpha=0.3, which="both", axis="x")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
