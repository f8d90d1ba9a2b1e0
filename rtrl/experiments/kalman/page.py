"""Tables and figure: loss of the answer against the span of the dependency."""

import re

import numpy as np

from rtrl.experiments import plots
from rtrl.experiments.curves import varying
from rtrl.experiments.kalman.study import SHARE, SPANS, TUNING
from rtrl.experiments.report import Table

__all__ = ["draw", "score", "stage", "tables", "tuned"]

_TOLD = ("task", "method", "gap", "lr", "lr_scale", "seed")  # settings that have a place of their own in tables
_COMMON = ("cell", "hidden", "batch_size", "steps", "symbols", "decay", "clip_norm", "dtype")
_TRUNCATIONS = (5, 15)
_KINDS = {  # of estimators, by the names that they start with; whatever is none of the others is of the last
    "truncated, and exact": ("TBPTT", "RTRL", "Immediate"),
    "one random product of vectors": ("NoBackTrack", "UORO"),
    "random Kronecker products, and others": "",
}


def score(result):
    """Mean loss of the answers in bits over the end of a run; None if it has not come there, infinite if there is no number."""
    steps = result.settings["steps"]
    rows = [row for row in result.rows if row["step"] > (1 - SHARE) * steps]
    if not (result.done and rows):
        return None
    counts = [row["answers"] for row in rows]
    losses = [np.inf if row["answer_bits"] is None and row["answers"] else row["answer_bits"] or 0 for row in rows]
    return float(np.average(losses, weights=counts)) if sum(counts) else None


def tuned(results):
    """Scores of the seeds that are reported, at the learning rate that the seeds for tuning chose.

    Returns
    -------
    dict
        For each (task, method, gap), the method with whatever else runs differ in: {"lr", "edge", "scores", "chance"}.  "edge"
        says whether the rate is the smallest or the largest of several, "chance" what guessing costs.  Left out where a rate
        must be chosen among several, and runs of the seeds for tuning are missing.
    """
    runs, chances = {}, {}
    for key, each in zip(_keys(results), results):
        rates = runs.setdefault(key, {})
        rates.setdefault(each.settings["lr"], {})[each.settings["seed"]] = score(each)
        chances[key] = float(np.log2(each.settings["symbols"]))
    return {key: {**found, "chance": chances[key]} for key, rates in runs.items() if (found := _tuned(rates))}


def _keys(results):
    """Task, method and gap of each result; the method with whatever else runs differ in."""
    others = [name for name in varying(results) if name not in _TOLD]
    return [
        (told["task"], ", ".join([told["method"], *(f"{name} {told[name]}" for name in others)]), told["gap"])
        for told in (each.settings for each in results)
    ]


def _tuned(rates):
    """Of scores by learning rate and seed, those that `tuned` reports."""
    lr = chosen_rate(rates)
    if lr is None:
        return None
    fresh = [value for seed, value in sorted(rates[lr].items()) if seed not in TUNING and value is not None]
    return {"lr": lr, "edge": len(rates) > 1 and lr in (min(rates), max(rates)), "scores": fresh}


def chosen_rate(rates):
    """The learning rate with the least mean score over the seeds for tuning; None if some of those scores are missing.

    Parameters
    ----------
    rates : dict of float to dict of int to (float or None)
        Scores by learning rate and seed.  A single rate needs no choice.
    """
    seeds = [seed for seed in TUNING if any(seed in scores for scores in rates.values())]
    if len(rates) == 1:
        return next(iter(rates))
    if not seeds or any(scores.get(seed) is None for scores in rates.values() for seed in seeds):
        return None
    return min(rates, key=lambda lr: np.mean([rates[lr][seed] for seed in seeds]))


def stage(runs, results):
    """The seeds for tuning first, then the others at the learning rates that were chosen."""
    if not results:
        return [each for each in runs if each.seed in TUNING] or runs
    scores = {}
    for each in results:
        told = each.settings
        scores.setdefault(_apart(told), {}).setdefault(told["lr"], {})[told["seed"]] = score(each)
    rates = {key: chosen_rate(found) for key, found in scores.items()}
    done = {(_apart(each.settings), each.settings["seed"]) for each in results}
    rest = [(each, _apart(each.describe())) for each in runs]
    return [each for each, key in rest if (key, each.seed) not in done and rates.get(key) == each.lr]


def _apart(told):
    """All that a learning rate is chosen for, as text."""
    return str({name: value for name, value in told.items() if name not in ("lr", "lr_scale", "seed")})


def tables(results):
    """Median loss of the answer, how many seeds learned, and the learning rates, for each method and gap."""
    found = tuned(results)
    blocks = []
    for task in dict.fromkeys(key[0] for key in found):
        chance = " or ".join(f"{each:.2f}" for each in _chances(found, task))
        for title, words in (
            (f"loss of the answer in bits, {chance} by chance: median and range of seeds", _spread),
            ("seeds whose answer costs less than half of what it costs by chance", _learned),
            ("learning rate, * at the edge of those that were tried", _rate),
        ):
            blocks.append(_table(f"{task.capitalize()}: {title}", found, task, words))
    return [*blocks, _words(results, found)]


def _words(results, found):
    """What the tables mean, what they leave out, and what all runs have in common."""
    seeds = " and ".join(map(str, TUNING))
    words = [
        f"Losses are means over the last {SHARE:.0%} of a run.  The learning rate of each method and gap has the least mean loss "
        f"over seeds {seeds}, which are not in the other numbers."
    ]
    if unfinished := sum(not each.done for each in results):
        words.append(f"{unfinished} of {len(results)} runs have not come to their end, and are left out.")
    if missing := len(set(_keys(results))) - len(found):
        words.append(f"{missing} pairs of method and gap are left out, because runs that choose their learning rate are missing.")
    told = {name: dict.fromkeys(str(each.settings[name]) for each in results) for name in _COMMON}
    common = ", ".join(f"{name.replace('_', ' ')} {' or '.join(values)}" for name, values in told.items())
    return " ".join([*words, f"All runs: {common}."])


def _table(title, found, task, words):
    gaps = sorted({gap for other, _, gap in found if other == task})
    cells = [["", *(f"gap {gap}, span {gap + SPANS[task]}" for gap in gaps)]]
    for method in dict.fromkeys(method for other, method, _ in found if other == task):
        row = [found.get((task, method, gap)) for gap in gaps]
        cells.append([method, *("-" if cell is None else words(cell) for cell in row)])
    return Table(title, cells)


def _spread(cell):
    scores = cell["scores"]
    if not scores:
        return "-"
    text = f"{np.median(scores):.2f}"
    return text + (f" ({min(scores):.2f} to {max(scores):.2f})" if len(scores) > 1 else "")


def _learned(cell):
    scores, half = cell["scores"], cell["chance"] / 2
    return f"{sum(value < half for value in scores)} of {len(scores)}" if scores else "-"


def _rate(cell):
    return f"{cell['lr']:.3g}{'*' if cell['edge'] else ''}"


def _chances(found, task):
    """What guessing costs in the runs of a task, in bits: one number for each size of the alphabet."""
    return sorted({cell["chance"] for (other, _, _), cell in found.items() if other == task})


def draw(results):
    """Loss of the answer against the span: a row for each task, a panel for each kind of estimator."""
    found = tuned(results)
    names = list(dict.fromkeys(key[0] for key in found)) or list(SPANS)[:1]
    figure, panels = plots.blank(16, 7.2 * len(names), len(names), len(_KINDS), sharey=True)
    methods = list(dict.fromkeys(method for _, method, _ in found))
    for row, task in zip(panels, names):
        for axes, kind in zip(row, _KINDS):
            own = [method for method in methods if _kind(method) == kind]
            others = [method for method in methods if method not in own and method.startswith("TBPTT") and "Adam" in method]
            for i, method in enumerate(others + own):
                look = plots.style(i - len(others)) if method in own else {"color": "gray", "marker": "ox+"[i % 3]}
                # Side by side, so that bars at the same span can be told apart.
                _bars(axes, found, task, method, look, 0.08 * (i - (len(others + own) - 1) / 2))
            _frame(axes, others + own, _chances(found, task))
            axes.set_title(f"{task}: {kind}", fontsize="medium", loc="left")
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(-0.05, -0.11), frameon=False)
    figure.suptitle(
        "Dependencies longer than the truncation: loss of the answer (lower is better) when the cue is so many steps back.\n"
        "Dots are medians over seeds, bars their range; scrambled methods are controls that cannot use what they carry.",
        fontsize="medium",
    )
    return figure


def _kind(method):
    """Of which panel a method is."""
    words = method.removeprefix("scrambled ")
    return next(kind for kind, estimators in _KINDS.items() if words.startswith(estimators))


def _bars(axes, found, task, method, look, aside):
    scores = {gap + SPANS[task]: cell["scores"] for (*names, gap), cell in found.items() if names == [task, method]}
    cells = sorted((span, values) for span, values in scores.items() if values)
    if not cells:
        return
    spans = np.array([span for span, _ in cells]) + aside
    low, middle, high = np.array([np.quantile(values, (0, 0.5, 1)) for _, values in cells]).T
    look = {**look, "linestyle": "--" if method.startswith("scrambled") else ":" if look["color"] == "gray" else "-"}
    axes.errorbar(spans, middle, (middle - low, high - middle), label=method, markersize=5, elinewidth=0.7, capsize=2, **look)


def _frame(axes, methods, chances):
    """What the methods of a panel are compared with: chance, and where windows end."""
    for chance in chances:
        axes.axhline(chance, color="black", linewidth=0.8)
        axes.annotate("chance", (1, chance), (-4, 3), ("axes fraction", "data"), "offset points", ha="right", fontsize="small")
    top = 1.3 * max(chances, default=1)
    for horizon in (each for each in _TRUNCATIONS if any(re.search(rf"TBPTT\({each}\b", method) for method in methods)):
        axes.axvline(horizon, color="gray", linewidth=0.8, linestyle="-.")
        words, at = f" TBPTT({horizon}) ends", (horizon, top)
        axes.annotate(words, at, rotation=90, va="top", ha="left", fontsize="x-small")
    axes.set_ylim(-0.023 * top, top)  # what is 0 stands clear of the axis
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("steps from the cue to the answer")
    axes.set_ylabel("loss of the answer (bits)")
    axes.grid(alpha=0.3)
