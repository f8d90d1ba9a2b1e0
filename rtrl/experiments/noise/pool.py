"""Rows of many runs as those of one study: settings and row in one dict, several seeds as one."""

import math

from rtrl.experiments import curves

__all__ = ["ROUNDING", "Panel", "panels"]

ROUNDING = 1e-9  # smaller variances are errors of rounding, not noise
_OURS = ("estimator", "hidden", "trained")  # settings that tables and figures have a place for
_MEANS = ("relative_variance", "cosine", "mean_error", "spectral_norm")
_ERRORS = ("relative_variance_error", "cosine_error")
_SUMS = ("samples", "guards")


class Panel:
    """Rows whose settings are the same but for estimator, size and seed.

    Attributes
    ----------
    words : str
        What tells it from others: "untrained", "trained", or also the value of a setting that was swept.
    rows : list of dict
        With "estimator", "hidden", "kind", "t" and what was measured, the mean over seeds.
    """

    def __init__(self, words, rows):
        self.words, self.rows = words, rows

    @property
    def last(self):
        """The last time."""
        return max(row["t"] for row in self.rows)

    @property
    def largest(self):
        """Units of the largest nets."""
        return max(row["hidden"] for row in self.rows)

    def against(self, axis):
        """Rows after the last step, for "hidden", or on the largest nets, for "t"."""
        other, value = ("t", self.last) if axis == "hidden" else ("hidden", self.largest)
        return [row for row in self.rows if row[other] == value]


def panels(results):
    """Panels of all that was measured, untrained nets first.

    Parameters
    ----------
    results : list of rtrl.experiments.store.Result
        Of the noise study.

    Returns
    -------
    list of Panel
    """
    swept = [name for name in curves.varying(results) if name not in _OURS]
    found = {}
    for each in results:
        told = each.settings
        words = ", ".join([told["trained"], *(f"{name} {told[name]}" for name in swept)])
        for row in each.rows:
            if "refused" not in row:
                place = (told["estimator"], told["hidden"], row["t"])
                found.setdefault(words, {}).setdefault(place, []).append(row)
    order = sorted(found, key=lambda words: words.startswith("trained"))
    return [Panel(words, [_pooled(*place, rows) for place, rows in found[words].items()]) for words in order]


def _pooled(estimator, hidden, t, rows):
    """Rows of several seeds as one."""
    row = {"estimator": estimator, "hidden": hidden, "t": t, "kind": rows[0]["kind"]}
    row |= {name: _mean([each[name] for each in rows]) for name in _MEANS}
    row |= {name: _error([each[name] for each in rows]) for name in _ERRORS}
    return row | {name: sum(each[name] for each in rows) for name in _SUMS}


def _mean(values):
    """The mean; None if there is no number somewhere, since the mean of the others would flatter."""
    return None if None in values else sum(values) / len(values)


def _error(values):
    """Standard error of the mean of independent means."""
    return None if None in values else math.sqrt(sum(value**2 for value in values)) / len(values)
