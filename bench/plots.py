"""Figures of what was measured; matplotlib is optional."""

import rtrl
from bench.crossing import bytes_of, tape_line
from bench.scaling import slope

__all__ = ["cost", "memory", "missing"]

_HORIZONS = (1, 10, 100, 1000, 10000)
_STYLES = ("-", (0, (6, 3)), (0, (2, 2)))  # in turn: estimators that carry the same lie upon each other


def missing():
    """Empty when figures can be drawn, otherwise the reason why not."""
    try:
        import matplotlib
    except ImportError as error:
        return f"matplotlib is not installed ({error}): pip install matplotlib"
    matplotlib.use("Agg")
    return ""


def _panels(count):
    from matplotlib import pyplot

    return pyplot.subplots(1, count, figsize=(6 * count, 5), layout="constrained")


def cost(found, path):
    """Time of a step against n and B (of `bench.scaling.measure`), the fitted slopes in the legend."""
    figure, panels = _panels(len(found))
    for panel, (axis, part) in zip(panels, found.items()):
        for name, points in part["cost"].items():
            sizes = sorted(points)
            label = f"{name}: {axis}^{slope(points):.2f}"
            panel.loglog(sizes, [points[size] * 1e6 for size in sizes], "o-", label=label)
        panel.set(xlabel={"n": "n, units", "B": "B, lanes"}[axis], ylabel="us a step, all lanes", title=f"RHN, {part['at']}")
        _mark(panel, sizes)
        panel.legend()
    figure.savefig(path)


def memory(found, path, hidden=256, lanes=16):
    """Bytes against T and B, and the horizon of the crossing against n, from `bench.crossing.crossings`."""
    figure, (by_horizon, by_lanes, by_hidden) = _panels(3)
    cell = found[0].cell
    start, a_step = tape_line(cell, hidden, lanes)[0]
    by_horizon.loglog(_HORIZONS, [start + a_step * horizon for horizon in _HORIZONS], "k--", label="TBPTT(T)")
    by_horizon.set(xlabel="T, steps of a window of TBPTT", ylabel="bytes carried", title=f"{cell}, n={hidden}, B={lanes}")
    counts = sorted({each.lanes for each in found})
    tapes = [bytes_of(cell, hidden, rtrl.TBPTT(25), count)[0] for count in counts]
    by_lanes.loglog(counts, tapes, "k--")
    by_lanes.set(xlabel="B, lanes", ylabel="bytes carried", title=f"{cell}, n={hidden}; TBPTT(25)")
    by_hidden.set(xlabel="n, units", ylabel="T from which on TBPTT(T) carries more", title=f"{cell}, B={lanes}")
    for i, name in enumerate(dict.fromkeys(each.estimator for each in found)):
        look = {"color": f"C{i}", "linestyle": _STYLES[i % len(_STYLES)]}
        own = [each for each in found if each.estimator == name and each.carried is not None]
        flat = [each.carried for each in own if (each.hidden, each.lanes) == (hidden, lanes)]
        if flat:
            by_horizon.loglog(_HORIZONS, flat * len(_HORIZONS), label=name, **look)
        _line(by_lanes, [(each.lanes, each.carried) for each in own if each.hidden == hidden], look)
        _line(by_hidden, [(each.hidden, each.horizon) for each in own if each.lanes == lanes], look)
    _mark(by_lanes, counts)
    _mark(by_hidden, sorted({each.hidden for each in found}))
    figure.legend(loc="outside right upper")
    figure.savefig(path)


def _line(panel, points, look):
    if points:
        panel.loglog(*zip(*points), marker="o", **look)


def _mark(panel, sizes):
    """Ticks at the sizes that were measured."""
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.minorticks_off()
