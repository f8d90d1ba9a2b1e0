"""How far the gradient of an estimator lies from the exact one, against units, time and training.

settings  what a run is told
study     what is measured, net by net                   cases    nets, their text, and exact gradients
pool      results of several seeds as one                tables   the result as tables
picture   the result as a figure
"""

from rtrl.experiments.noise.cases import NETS, TRAINING
from rtrl.experiments.noise.picture import draw
from rtrl.experiments.noise.settings import Settings
from rtrl.experiments.noise.tables import tables

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "tables"]

HELP = "noise of every estimator against units, time and training"
DESCRIPTION = f"""\
Measure how far gradient estimates lie from the exact gradient: relative variance and cosine against the number of hidden
units, against time, and for untrained and trained weights (after {TRAINING:,} steps of learning by TBPTT(25)).  Estimates are
spread over {NETS} nets.  The data is the help text that comes with Python."""
