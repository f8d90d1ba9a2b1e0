"""Distant brackets with UORO's settings: bits per character, and of the repeated letters; see `rtrl.tasks.Brackets`."""

import math
from dataclasses import dataclass

from rtrl import tasks
from rtrl.commands import options as shared
from rtrl.experiments import strings
from rtrl.experiments.settings import setting

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "tables"]

HELP = "distant brackets: letters that return after others"
DESCRIPTION = """\
Predict each next character of strings "[" s letters "]" k others "[" the same s letters "]" newline.  The score is the loss
over the last tenth of the stream, beside the entropy of the strings, and the loss of the repeated letters alone, beside chance;
they return s + k + 1 steps after they were read.

The defaults are UORO's settings, but that windows slide, and so update the weights at every character, as all others do.  They
take 1.2 hours on one core, of which UORO takes 5 minutes and OK(4) 20; RTRL would take 4 hours."""
_QUANTITIES = {"bits": "loss per character", "answer_bits": "loss of a repeated letter"}


@dataclass(frozen=True, kw_only=True)
class Settings(strings.Strings):
    """As `Strings`, with the form of the strings.

    Attributes
    ----------
    s, k, a : int
        Letters in brackets, letters between them, size of the alphabet.
    """

    study = "brackets"
    s: int = setting(1, shared.whole(1, 2**20), "letters in brackets", metavar="N")
    k: int = setting(5, shared.whole(0, 2**20), "letters between brackets", metavar="N")
    a: int = setting(10, shared.whole(2, 26), "size of the alphabet", metavar="N")

    def stream(self):
        return tasks.Brackets(self.s, self.k, self.a, self.batch_size, self.seed)


def _notes(results):
    streams = [tasks.Brackets(*(each.settings[name] for name in "ska")) for each in results]
    chance = {math.log2(each.a) for each in streams}
    return {"bits": ("entropy", {each.floor for each in streams}), "answer_bits": ("chance", chance)}


def tables(results):
    """Losses at the end and on the way."""
    return strings.tables(results, _QUANTITIES, _notes(results))


def draw(results):
    """The same as a figure."""
    caption = (
        "Distant brackets: loss of the next character, and of the letters that return (lower is better).\n"
        "Nothing can get below the entropy; who does not remember the letters is at chance."
    )
    return strings.draw(results, _QUANTITIES, _notes(results), caption)
