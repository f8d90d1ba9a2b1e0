"""The results for people.

Runs that differ in more than seed and series are candidates of one model, which is the estimator or the baseline.  Each model
is represented by the candidate with the least squared error between `SETTLED` and `CHOSEN` of the stream, mean over seeds, and
scored on what comes after: no choice has seen what it is scored on, and all models are chosen alike.
"""

from pathlib import PurePath

import numpy as np

from rtrl.experiments import curves
from rtrl.experiments.forecast.latency import percentile
from rtrl.experiments.forecast.models import Baseline
from rtrl.experiments.forecast.study import listed
from rtrl.experiments.report import Table

__all__ = ["WHERE", "best", "latencies", "place", "tables"]

SETTLED, CHOSEN = 0.1, 0.4  # shares of the stream
WHERE = ("series", "column", "inputs", "ahead", "steps", "window")  # settings that say what is forecast, and not how
_EXPLAINED = (
    f"Errors are those of the last {1 - CHOSEN:.0%} of a stream, relative to those of another forecast: below 1 is better. "
    "Mean over seeds, and their range."
)
_HOW = f" Settings were chosen for each model by its squared error from {SETTLED:.0%} to {CHOSEN:.0%} of the stream."
_SHARES = {"50 %": 0.5, "95 %": 0.95, "99 %": 0.99}


def tables(results):
    """Errors of all models at a glance, and one table for everything that is forecast: errors, latency and what was chosen."""
    chosen, tried = best(results), {name: _tried(candidates) for name, candidates in _candidates(results).items()}
    shown = [each for models in chosen.values() for runs in models.values() for each in runs]
    return [
        *([_glance(chosen)] if len(chosen) > 1 else []),
        *(_details(where, models, tried) for where, models in chosen.items()),
        _EXPLAINED + (_HOW if any(tried.values()) else ""),
        "Latency: time from a sample to the next forecast, learning included, in a loop in Python, on the machine of these runs.",
        curves.legend(shown),
    ]


def place(result):
    """What is forecast, in words."""
    settings = result.settings
    files = [PurePath(file.replace("\\", "/")).stem for file in listed(settings["series"] or "Mackey-Glass")]
    columns = f" {settings['column']}" if settings["column"] else ""
    reads = f" (reads {settings['inputs']})" if settings["inputs"] else ""
    return f"{' + '.join(files)}{columns}{reads}, {settings['ahead']} ahead"


def best(results):
    """Runs of the best candidate, by what is forecast and by model.

    Returns
    -------
    dict of str to dict of str to list of Result
        By `place`, then by model; a list has the seeds of one candidate.
    """
    chosen = {}
    for (where, model), candidates in _candidates(results).items():
        chosen.setdefault(where, {})[model] = min(candidates, key=_trial)
    return chosen


def _candidates(results):
    """Lists of the runs of each candidate, by what is forecast and model: in order of series and `ahead`, baselines last."""
    found = {}
    for each in sorted(results, key=_order):
        candidate = tuple((name, value) for name, value in each.settings.items() if name != "seed")
        found.setdefault((place(each), each.settings["estimator"]), {}).setdefault(candidate, []).append(each)
    return {name: list(candidates.values()) for name, candidates in found.items()}


def _order(result):
    baselines = [each.__name__ for each in Baseline.__subclasses__()]
    return place(result).rsplit(", ", 1)[0], result.settings["ahead"], result.settings["estimator"] in baselines


def error(result, after=CHOSEN, until=1.0, name="mse"):
    """Mean over a part of the stream, given as shares of it; infinite where a forecast was no number, NaN where there is none."""
    last = result.rows[-1]["step"] if result.rows else 0
    rows = [row for row in result.rows if after * last < row["step"] <= until * last and row["scored"]]
    if not rows:
        return np.nan
    if any(row[name] is None for row in rows):
        return np.inf
    return sum(row[name] * row["scored"] for row in rows) / sum(row["scored"] for row in rows)


def _trial(runs):
    errors = np.mean([error(each, SETTLED, CHOSEN) for each in runs])
    return np.inf if np.isnan(errors) else errors


def _ratio(above, below):
    """NaN where there is no error to compare with, as that of the last value on a series that stands still."""
    return above / below if below else np.nan


def _relative_to_last(run, models):
    return _ratio(error(run), error(run, name="last_mse"))


def _absolute(run, models):
    return _ratio(error(run, name="mae"), error(run, name="last_mae"))


def _relative_to_rls(run, models):
    """Relative to the run with the same seed, which matters where the series depends on it, or to the only one."""
    linear = models.get("RLS", [])
    same = [each for each in linear if each.settings["seed"] == run.settings["seed"]] or linear
    return _ratio(error(run), error(same[0])) if same else np.nan


def _models(chosen):
    return list(dict.fromkeys(model for models in chosen.values() for model in models))


def _glance(chosen):
    names = _models(chosen)
    cells = [["", *names]]
    for where, models in chosen.items():
        means = [np.mean([_relative_to_last(run, models) for run in models.get(name, [])] or np.nan) for name in names]
        cells.append([where, *(f"{value:.3f}" if np.isfinite(value) else "-" for value in means)])
    return Table("Mean squared error relative to the last value", cells)


def _details(where, models, tried):
    choice = ["chosen"] if any(tried[where, model] for model in models) else []
    cells = [["", *choice, "seeds", *_QUANTITIES, *(f"us, {words}" for words in (*_SHARES, "longest"))]]
    for model, runs in models.items():
        words = [", ".join(f"{name} {runs[0].settings[name]}" for name in tried[where, model])] if choice else []
        errors = [_spread([ratio(run, models) for run in runs]) for ratio in _QUANTITIES.values()]
        times = ["-" if value is None else f"{value:,.0f}" for value in latencies(runs).values()]
        cells.append([model, *words, str(len(runs)), *errors, *times])
    return Table(f"{where}: errors and latency", cells, 1 + len(choice))


def _spread(values):
    known = [value for value in values if not np.isnan(value)]
    return curves.spread([value if np.isfinite(value) else None for value in known]) if known else "-"


def _tried(candidates):
    """Settings in which candidates differ."""
    names = curves.varying([runs[0] for runs in candidates])
    return [name for name in names if name not in (*WHERE, "estimator")]


_QUANTITIES = {
    "squared error / last value": _relative_to_last,
    "absolute error / last value": _absolute,
    "squared error / RLS": _relative_to_rls,
}


def latencies(runs):
    """Microseconds a sample, by words: percentiles over all runs, and the longest."""
    counts = [each["latency"] for run in runs for each in run.times]
    found = {words: percentile(counts, share) for words, share in _SHARES.items()}
    return found | {"longest": max((each["longest"] for run in runs for each in run.times), default=None)}
