"""Streaming series: online forecasts h samples ahead, by recurrent nets and by linear models.

study    runs, and what they are told        scaling   standardising without a look ahead
models   what forecasts                      latency   how long a sample takes
tables   for people                          picture   the same as a figure
"""

from rtrl.experiments.forecast.picture import draw
from rtrl.experiments.forecast.study import Settings
from rtrl.experiments.forecast.tables import tables

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "tables"]

HELP = "streaming series: online forecasts, their errors and latency"
DESCRIPTION = """\
Forecast a series h samples ahead, online: at every sample a model forecasts, and learns from the target that has just come.
Scores are prequential: every forecast is made before anything of its target is known.  They are relative to the forecast that
nothing changes.

A net learns h samples behind, where targets are known, and forecasts with its newest weights through the samples since then.
Inputs and changes are standardised with what was known when they came.  Without files the series is chaotic (Mackey-Glass).

The defaults take half a minute on one core.  Several values of an option (--sweep lr=3e-4,1e-3) are candidates of one model: the
tables choose between them by the error from 10 % to 40 % of the stream, and show that of the last 60 %."""
