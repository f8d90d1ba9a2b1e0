"""The result of a comparison as a table for people, as JSON, and as CSV."""

import csv
import io
import json
import os
import textwrap

from rtrl.comparison.grid import aligned, grid, widths

__all__ = ["FILES", "FORMATS", "heading", "in_short", "line", "render", "save"]

FORMATS = ("table", "json", "csv")
FILES = {"table": "compare.txt", "json": "compare.json", "csv": "compare.csv"}
_WIDTH = 118


def render(result, form):
    """The result as text in one of `FORMATS`, with a line end."""
    return {"table": _table, "json": _json, "csv": _csv}[form](result)


def save(result, folder):
    """Write compare.txt, compare.json and compare.csv into a folder, which is made if need be.

    Raises
    ------
    OSError
        If that is not possible.
    """
    folder = os.path.expanduser(os.fsdecode(folder))
    os.makedirs(folder, exist_ok=True)
    for form, name in FILES.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(render(result, form))


def heading(result):
    """Headings for `line`."""
    return grid(_headings(result), headings=2, room=_room(result)) + "\n"


def line(result, row):
    """A finished row as a line of a table whose other rows are not complete yet."""
    return aligned(_cells(result, [row])[0], _room(result)) + "\n"


def in_short(result, row):
    """A finished row in a few words."""
    made = result["configuration"]
    known = {
        f"{_significant(row['us_per_step'])} us/step": row["us_per_step"],
        f"gradient cosine {_fixed(row['cosine'], 1, 3)}": row["cosine"],
        f"learned {_fixed(row['score'], 1, 3)} {made['score_unit']}": row["score"],
    }
    return f"{row['estimator']}: {', '.join(words for words, value in known.items() if value is not None)}"


def _json(result):
    return json.dumps(result, indent=2, allow_nan=False, default=float) + "\n"


def _csv(result):
    """One line an estimator: the measurements, then everything that is the same for all, so that files can be joined."""
    common = {**result["configuration"], **{f"environment {name}": value for name, value in result["environment"].items()}}
    common |= {f"reference {name}": value for name, value in result["references"].items()}
    common = {name: "; ".join(map(str, value)) if isinstance(value, list) else value for name, value in common.items()}
    text = io.StringIO()
    writer = csv.DictWriter(text, [*result["rows"][0], *common], lineterminator="\n")
    writer.writeheader()
    for row in result["rows"]:
        writer.writerow({**common, **row})
    return text.getvalue()


def _table(result):
    parts = [_head(result), _rows(result), _legend(result)]
    if result["notes"]:
        parts.append("\n".join(_wrapped("- ", note) for note in result["notes"]))
    return "\n\n".join(parts) + "\n"


def _head(result):
    """What was compared, and where."""
    made, place = result["configuration"], result["environment"]
    unit = "characters" if made["classes"] else "values"
    kinds = f", {made['classes']} different" if made["classes"] else ""
    seen = made["batch_size"] * made["steps"]
    again = "; later passes are no longer new" if made["passes"] > 1 else ""
    sparse = f" ({made['sparsity']:.0%} of the cell's weights do not exist)" if made["sparsity"] else ""
    resets = f"each lane reset every {made['reset_every']:,} steps" if made["reset_every"] else "no resets"
    lines = {
        "data": f"{made['data']}: {made['stream_length']:,} {unit}{kinds}",
        "task": f"predict the next {unit[:-1]}; {_count(made['batch_size'], 'lane')} x {_count(made['steps'], 'step')} = "
        f"{seen:,} {unit} ({made['passes']:.2g} passes{again})",
        "net": f"{made['cell']}, {made['readout']}, {made['parameters']:,} parameters{sparse}, {made['dtype']}, "
        f"seed {made['seed']}",
        "learning": f"{_optimizers(result)}; {resets}",
        "machine": f"rtrl {place['rtrl']}, CPU level {place['cpu level']}, {_count(made['threads'], 'thread')} on "
        f"{_count(place['threads'], 'CPU')}, Python {place['python']}, NumPy {place['numpy']}",
    }
    return "\n".join(_wrapped(f"{name:10}", line) for name, line in lines.items())


def _optimizers(result):
    """How the weights are moved: by Adam, by the filter, or by either."""
    made = result["configuration"]
    found = {row["optimizer"]: row for row in result["rows"]}
    words = [f"Adam, learning rate {made['lr']:g}, gradient clipped to norm {made['clip_norm']:g}"] if "Adam" in found else []
    if "Kalman" in found:
        whose = "" if len(found) == 1 else f"{found['Kalman']['estimator']}: "
        words.append(f"{whose}Kalman, learning rate {made['filter_lr']:g}")
    return "; ".join(words)


def _count(count, noun):
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _columns(result):
    """(heading, unit, row -> text) of every column."""
    reference = "/" + result["configuration"]["reference"]
    return [
        ("estimator", "", lambda row: row["estimator"]),
        ("kind", "", lambda row: row["kind"]),
        ("time", "us/step", lambda row: _significant(row["us_per_step"])),
        ("time", reference, lambda row: _significant(row["time_ratio"])),
        ("carried", "bytes", lambda row: _whole(row["influence_bytes"])),
        ("session", "bytes", lambda row: _whole(row["total_bytes"])),
        ("session", reference, lambda row: _significant(row["memory_ratio"])),
        ("peak", "MB", lambda row: _fixed(row["peak_growth_bytes"], 1e-6, 1)),
        ("gradient", "cosine", lambda row: _fixed(row["cosine"], 1, 3)),
        ("gradient", "error", lambda row: _error(row["relative_error"])),
        ("learned", result["configuration"]["score_unit"], lambda row: _fixed(row["score"], 1, 3)),
    ]


def _significant(value):
    """Three significant digits, thousands separated."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _whole(value):
    return "-" if value is None else f"{value:,}"


def _fixed(value, factor, digits):
    return "-" if value is None else f"{value * factor:,.{digits}f}"


def _error(value):
    """Three decimals, or the power of ten of what they would hide; 0 is for errors of rounding."""
    if value is None or value >= 0.0005:
        return _fixed(value, 1, 3)
    return f"{value:.0e}" if value > 1e-9 else "0"


def _rows(result):
    """Aligned columns: words to the left, numbers to the right."""
    return grid(_headings(result) + _cells(result, result["rows"]), headings=2)


def _headings(result):
    return [[heading for heading, _, _ in _columns(result)], [unit for _, unit, _ in _columns(result)]]


def _cells(result, rows):
    return [[text(row) for _, _, text in _columns(result)] for row in rows]


def _room(result):
    """Room for columns, of which the peak is not known for all rows yet: it is a little more than the session's bytes."""
    rows = [{**row, "peak_growth_bytes": 1.5 * (row["total_bytes"] or 0)} for row in result["rows"]]
    return widths(_headings(result) + _cells(result, rows))


def _legend(result):
    """What the columns mean, and what to compare the last one with."""
    made = result["configuration"]
    entries = {
        "kind": "exact: the true gradient; unbiased: right on average, with noise; biased: something is left out.",
        "time": f"median time of a step of {_count(made['batch_size'], 'lane')}, learning included; estimators take turns.",
        "carried": "what the estimator carries from step to step: its influence, or TBPTT's tape of past steps.",
        "session": "all buffers of the session, counted exactly: weights, Adam, workspace and what is carried.",
        "peak": f"growth of resident memory in a process of its own{_before(result)}.",
        "gradient": f"gradient of each step's loss against exact RTRL, one lane of {made['small_cell']} in float64, trained for "
        f"{made['small_training']:,} steps and frozen; over {made['small_steps']:,} steps, mean cosine (exact: 1) "
        "and median error relative to the exact gradient (0).",
        "learned": f"{_score_words(made)} over the last {made['scored_steps']:,} steps, each predicted before it is "
        "learned; lower is better. TBPTT(T) updates once every T steps, with T times the learning rate "
        f"(at most {made['longest_rate']:g}).",
    }
    lines = [_wrapped(f"{name:10}", text) for name, text in entries.items()]
    lines += [f"{'':10}for comparison, {name}: {value:.3f}" for name, value in result["references"].items()]
    return "\n".join(lines)


def _score_words(made):
    return "mean loss in bits per character" if made["classes"] else "mean squared error in units of the series' variance"


def _before(result):
    befores = [row["peak_bytes"] - row["peak_growth_bytes"] for row in result["rows"] if row["peak_bytes"] is not None]
    return f", beyond the {sum(befores) / len(befores) / 1e6:.0f} MB that it takes with rtrl imported" if befores else ""


def _wrapped(start, text):
    return textwrap.fill(text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)
