"""The result of the noise study as tables for people."""

from rtrl.experiments.noise.pool import ROUNDING, panels
from rtrl.experiments.report import Table

__all__ = ["tables"]

_RATIOS = (("UORO(fresh=False)", "KFRTRL(fresh=False)"), ("UORO", "KFRTRL"))
_QUANTITIES = (("relative_variance", "Relative variance"), ("cosine", "Cosine with the exact gradient"))


def tables(results):
    """All results as tables with a legend."""
    parts, found = [], panels(results)
    for panel in found:
        for quantity, name in _QUANTITIES:
            title = f"{name} against n, after {_count(panel.last)}, {panel.words}"
            parts.append(_pivot(title, panel.against("hidden"), "hidden", "n", quantity))
            if panel.last > 1:
                title = f"{name} against t, n = {panel.largest}, {panel.words}"
                parts.append(_pivot(title, panel.against("t"), "t", "t", quantity))
    rows = [row for panel in found for row in panel.rows]
    return [*parts, *([_legend(results, rows)] if rows else []), *_refused(results)]


def _count(steps):
    return f"{steps:,} step{'' if steps == 1 else 's'}"


def _pivot(title, rows, axis, name, quantity):
    """One line an estimator, one column a value of `axis`."""
    places = sorted({row[axis] for row in rows})
    found = {(row["estimator"], row[axis]): row[quantity] for row in rows}
    kinds = {row["estimator"]: row["kind"] for row in rows}
    cells = [["estimator", "kind", *(f"{name} = {place:,}" for place in places)]]
    for each, kind in kinds.items():
        cells.append([each, kind, *(_number(found.get((each, place)), quantity) for place in places)])
    for above, below in _RATIOS if quantity == "relative_variance" else ():
        if above in kinds and below in kinds:
            pairs = [(found.get((above, place)), found.get((below, place))) for place in places]
            cells.append([f"{above} / {below}", "ratio", *(_ratio(*pair) for pair in pairs)])
    if axis == "t" and quantity == "relative_variance":
        norms = {row["t"]: row["spectral_norm"] for row in rows}
        cells.append(["spectral norm of H", "", *(_number(norms[place], "") for place in places)])
    return Table(title, cells, words=2)


def _ratio(a, b):
    return _number(a / b, "ratio") if a and b and min(a, b) > ROUNDING else "-"


def _number(value, quantity):
    """Three significant digits of a variance, three decimals of a cosine."""
    if value is None:
        return "-"
    if quantity == "cosine":
        return f"{value:.3f}"
    if value >= 1e6:
        return f"{value:.1e}"
    if value >= 100:
        return f"{value:,.0f}"
    return "0" if value < ROUNDING else f"{value:.1e}" if value < 1e-3 else f"{value:.3g}"


def _legend(results, rows):
    told = results[0].settings
    seeds = sorted({each.settings["seed"] for each in results})
    text = [
        "Relative variance: E |estimate - exact|^2 / |exact|^2 for the gradient of one loss; at 1 the error is as large as the",
        "gradient. For a biased estimator it is the square of what is left out. Cosine: 1 is the exact direction.",
        f"Means over up to {max(row['samples'] for row in rows)} samples on several nets (one sample a net where nothing is "
        f"random), {told['cell']}, {told['dtype']}, seed {', '.join(map(str, seeds))}.",
        f"Task: predict the next character of {told['text'] or 'the help texts that come with Python'}.",
    ]
    errors = [
        row["relative_variance_error"] / row["relative_variance"]
        for row in rows
        if row["kind"] == "unbiased" and row["relative_variance_error"] and row["relative_variance"]
    ]
    if errors:
        text.append(
            f"Standard error of the variances of unbiased estimators: {100 * sorted(errors)[len(errors) // 2]:.0f} % (median)."
        )
    if any(row["guards"] for row in rows):
        text.append("The guards of a session had to act (see docs/noise.md): what they touched is in these numbers.")
    unfinished = sum(not each.done for each in results)
    if unfinished:
        text.append(f"{unfinished} of {len(results)} runs have not come to their end, and are not shown.")
    return "\n".join(text)


def _refused(results):
    """One block that says what could not be measured, or none."""
    lines = dict.fromkeys(
        f"- {each.settings['estimator']} on {each.settings['cell']} with n = {each.settings['hidden']} was left out: "
        f"{row['refused']}"
        for each in results
        for row in each.rows
        if "refused" in row
    )
    return ["\n".join(lines)] if lines else []
