"""NoBackTrack with a Kalman-like filter against truncation, as the span of the dependency grows.

methods  estimators with optimizers, as text             scrambled   the control
study    settings and runs                               page        tables and figure
"""

from rtrl.experiments.kalman.page import draw, stage, tables
from rtrl.experiments.kalman.study import Settings

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "stage", "tables"]

HELP = "NoBackTrack with the Kalman filter, and others, against truncation as dependencies get longer"
DESCRIPTION = """\
Learn to repeat a symbol after a gap of random others, with methods that cut credit off after T steps and with methods that do
not.  brackets: "[" cue "]" gap "[" cue "]", every character has a loss; recall: a marked cue among distractors of the same
alphabet, the only loss is at the question.  The score is the loss of the answer over the last tenth.

Every method runs at every gap with every learning rate of its grid and seeds 0 and 1; then the other seeds run with the rate
that has the least mean score of these two.  The tables and the figure show the scores of the other seeds alone.
TBPTT(T, sliding=True) reaches back T steps from every loss, its own included.  Scrambled methods are controls: the part of the
gradient that was carried from earlier steps gets a random sign at each step.

The defaults are 1680 runs of 5 to 50 seconds, 8 hours on one core: --jobs does several at once."""
