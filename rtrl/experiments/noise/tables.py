"""The result of the noise study as tables for people."""

from rtrl.comparison.grid import grid

__all__ = ["tables"]

_RATIOS = (("UORO(fresh=False)", "KFRTRL(fresh=False)"), ("UORO", "KFRTRL"))
_ROUNDING = 1e-9  # smaller variances are errors of rounding, shown as 0


def tables(settings, rows):
    """All rows as tables with a legend; `settings` is a dict of what was asked for."""
    parts = []
    measured = [row for row in rows if "refused" not in row]
    for trained in sorted({row["trained"] for row in measured}):
        some = [row for row in measured if row["trained"] == trained]
        words = "trained" if trained else "untrained"
        last, largest = max(row["t"] for row in some), max(row["hidden"] for row in some)
        by_size = [row for row in some if row["t"] == last]
        by_time = [row for row in some if row["hidden"] == largest]
        for quantity, name in (("relative_variance", "Relative variance"), ("cosine", "Cosine with the exact gradient")):
            parts.append(f"{name} against n, after {_count(last)}, {words}\n{_pivot(by_size, 'hidden', 'n', quantity)}")
            if last > 1:
                parts.append(f"{name} against t, n = {largest}, {words}\n{_pivot(by_time, 't', 't', quantity)}")
    parts.append(_legend(settings, measured))
    refused = dict.fromkeys(
        f"{row['estimator']} on {row['cell']} was left out: {row['refused']}" for row in rows if "refused" in row
    )
    parts += ["\n".join(f"- {each}" for each in refused)] if refused else []
    return "\n\n".join(parts) + "\n"


def _count(steps):
    return f"{steps:,} step{'' if steps == 1 else 's'}"


def _pivot(rows, axis, name, quantity):
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
    return grid(cells)


def _ratio(a, b):
    return _number(a / b, "ratio") if a and b and min(a, b) > _ROUNDING else "-"


def _number(value, quantity):
    """Three significant digits of a variance, three decimals of a cosine."""
    if value is None:
        return "-"
    if quantity == "cosine":
        return f"{value:.3f}"
    if value >= 100:
        return f"{value:,.0f}"
    return "0" if value < _ROUNDING else f"{value:.1e}" if value < 1e-3 else f"{value:.3g}"


def _legend(settings, rows):
    text = [
        "Relative variance: E |estimate - exact|^2 / |exact|^2 for the gradient of one loss; at 1 the error is as large as the",
        "gradient. For a biased estimator it is the square of what is left out. Cosine: 1 is the exact direction.",
        f"Means over {max(row['samples'] for row in rows)} samples on {settings['nets']} nets (one a net where nothing is "
        f"random), {settings['dtype']}, seed {settings['seed']}.",
        f"Task: predict the next character of {settings['data']}.",
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
    acted = sum(row["guards"] for row in rows)
    if acted:
        text.append("The guards of a session had to act (see docs/noise.md): what they touched is in these numbers.")
    return "\n".join(text)
