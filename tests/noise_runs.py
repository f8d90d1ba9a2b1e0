"""Runs of the noise study on a text of few characters, without files."""

from rtrl.experiments.noise import Settings
from rtrl.experiments.noise.settings import default_estimators
from rtrl.experiments.store import Result

WORDS = "the quick brown fox jumps over the lazy dog; " * 40


def runs(text, estimators=None, hidden=(6,), trained=("untrained",), **changes):
    """Settings of the runs that the command would do."""
    options = {"text": text, "steps": 12, "samples": 16, "dtype": "float64", "threads": 1, **changes}
    return Settings.worth(
        [
            Settings(trained=state, hidden=n, estimator=each, **options)
            for state in trained
            for n in hidden
            for each in estimators or default_estimators()
        ]
    )


def result(settings):
    run, rows = settings.start(), []
    while run.step < run.steps:
        rows += run.window(lambda step: None)[0]
    return Result("noise", settings.describe(), rows, done=True)


def study(text, estimators=None, **changes):
    """Rows with the settings that they belong to."""
    results = map(result, runs(text, estimators, **changes))
    return [{**each.settings, **row} for each in results for row in each.rows]


def one(rows, estimator, t=12, **wanted):
    wanted |= {"estimator": str(estimator), "t": t}
    (found,) = [row for row in rows if wanted.items() <= row.items()]
    return found
