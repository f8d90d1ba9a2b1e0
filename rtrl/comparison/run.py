"""All measurements, as one result."""

import math
import time
import warnings

from rtrl.comparison import gradients, learning, timing
from rtrl.comparison.measuring import measure
from rtrl.comparison.progress import Progress
from rtrl.comparison.settings import FILTER_SHARE, LONGEST_RATE
from rtrl.estimators import RTRL
from rtrl.info import show_config

__all__ = ["compare"]


def compare(settings, task, progress=None, show=None):
    """Measure every estimator of `settings` on `task`.

    Parameters
    ----------
    settings : Settings
        What to compare.
    task : Task
        What to learn.
    progress : Progress or None
        Where to tell how far it is.
    show : callable or None
        Called as show(result, row) when a row is finished: the cheapest estimator's first, and long before the others are.

    Returns
    -------
    dict
        Plain data: "configuration", "environment", "references", "rows" (one dict an estimator; None where there is no
        number), "notes".

    Raises
    ------
    MemoryError
        If not even one estimator fits.
    ValueError, TypeError
        If the settings do not make a session.
    """
    progress, show = progress or Progress(), show or (lambda result, row: None)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what they say becomes a note, from Session.health
        times, nbytes, refused = timing.step_times(settings, task, progress)
        if not times:
            raise MemoryError(next(iter(refused.values())))
        result = _result(settings, task, times, nbytes, refused)
        rows, learned = dict(zip(settings.estimators, result["rows"], strict=True)), {}
        for estimator, found in measure(settings, task, times, progress):
            rows[estimator].update(_found(found))
            learned[estimator] = found.learned
            show(result, rows[estimator])
    progress.clear()
    result["notes"] = _notes(settings, times, refused, learned)
    result["seconds"] = time.perf_counter() - began
    return result


def _result(settings, task, times, nbytes, refused):
    """What is known once steps are timed."""
    rows = [_row(settings, each, times.get(each), nbytes.get(each)) for each in settings.estimators]
    _add_ratios(rows, str(settings.reference))
    for row, estimator in zip(rows, settings.estimators, strict=True):
        if estimator in refused and isinstance(estimator, RTRL):
            row["influence_bytes"] = settings.exact_influence_bytes(task)
    start = learning.scored_from(settings.steps)
    scored = task.batch(settings.batch_size, settings.steps - start, start)
    return {
        "configuration": _configuration(settings, task),
        "environment": show_config("dicts"),
        "references": task.references(*scored),
        "rows": rows,
        "notes": [],
        "seconds": None,
    }


def _row(settings, estimator, seconds, sizes):
    return {
        "estimator": str(estimator),
        "kind": estimator.kind,
        "us_per_step": seconds and seconds * 1e6,
        "time_ratio": None,
        "influence_bytes": sizes and sizes["influence"] + sizes["tape"],
        "total_bytes": sizes and sizes["total"],
        "memory_ratio": None,
        **dict.fromkeys(("peak_bytes", "peak_growth_bytes", "cosine", "relative_error", "score", "updates")),
        "optimizer": type(settings.optimizer(estimator)).__name__,
        "learning_rate": settings.rate(estimator),
        "learning_seconds": None,
    }


def _found(found):
    """The rest of a row."""
    peak, learned = found.peak, found.learned
    return {
        "peak_bytes": peak and peak["peak"],
        "peak_growth_bytes": peak and peak["peak"] - peak["before"],
        "cosine": _finite(found.quality["cosine"]),
        "relative_error": _finite(found.quality["relative_error"]),
        "score": learned and _finite(learned.score),
        "updates": learned and learned.health["updates"],
        "learning_seconds": learned and learned.seconds,
    }


def _finite(value):
    """The value, or None for what is no number: JSON has no word for it."""
    return value if math.isfinite(value) else None


def _add_ratios(rows, reference):
    base = next(row for row in rows if row["estimator"] == reference)
    for row in rows:
        for ratio, quantity in (("time_ratio", "us_per_step"), ("memory_ratio", "total_bytes")):
            if row[quantity] is not None and base[quantity] is not None:
                row[ratio] = row[quantity] / base[quantity]


def _configuration(settings, task):
    """The settings and the task as plain data."""
    network = settings.network(task)
    return {
        "data": task.name,
        "stream_length": len(task.stream),
        "classes": task.classes,
        "cell": repr(settings.cell),
        "inputs": task.inputs,
        "readout": repr(task.readout),
        "parameters": network.parameter_count,
        "estimators": [repr(each) for each in settings.estimators],
        "reference": str(settings.reference),
        "batch_size": settings.batch_size,
        "steps": settings.steps,
        "passes": settings.batch_size * settings.steps / len(task.stream),
        "scored_steps": settings.steps - learning.scored_from(settings.steps),
        "score_unit": task.score_name,
        "threads": settings.threads,
        "seed": settings.seed,
        "sparsity": settings.sparsity,
        "dtype": settings.dtype,
        "lr": settings.lr,
        "clip_norm": settings.clip_norm,
        "filter_lr": settings.lr * FILTER_SHARE,
        "reset_every": settings.reset_every,
        "patience": settings.patience,
        "longest_rate": LONGEST_RATE,
        "small_cell": repr(gradients.small_settings(settings).cell),
        "small_training": gradients.TRAINING,
        "small_steps": gradients.STEPS,
    }


def _notes(settings, times, refused, learned):
    """Why numbers are missing, and what the guards of a session had to do."""
    notes = [f"{each} was neither timed nor trained: {reason}." for each, reason in refused.items()]
    for each, seconds in times.items():
        if learned[each] is None:
            notes.append(
                f"{each} was timed but not trained: {settings.steps:,} steps would take about "
                f"{seconds * settings.steps:,.0f} s, more than --patience {settings.patience:g}."
            )
    for each in times:
        health = learned[each].health if learned[each] else {}
        events = {name.replace("_", " "): count for name, count in health.items() if count and name not in ("steps", "updates")}
        if events:
            notes.append(
                f"{each}: guards of the session acted while it learned: "
                + ", ".join(f"{name} {count:,}" for name, count in events.items())
                + "."
            )
    return notes
