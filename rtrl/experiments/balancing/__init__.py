"""Influence balancing: who is misled by what a parameter does soon.

problem   the chain of units, for scripts               study   settings, runs, tables and figure
"""

from rtrl.experiments.balancing.study import Settings, draw, tables

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "tables"]

HELP = "influence balancing: a parameter that is good soon and bad later"
DESCRIPTION = """\
A chain of linear units in which a parameter theta raises the output soon and lowers it later, by more.  Whoever looks back too
short a way moves theta uphill for good; the best theta is -1/6."""
