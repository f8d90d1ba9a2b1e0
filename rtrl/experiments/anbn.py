"""a^n b^n with UORO's settings: bits per character against steps; see `rtrl.tasks.Anbn`."""

from dataclasses import dataclass

from rtrl import tasks
from rtrl.commands import options as shared
from rtrl.experiments import strings
from rtrl.experiments.settings import setting

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "tables"]

HELP = "as many b as there were a: bits per character on strings a^n b^n"
DESCRIPTION = """\
Predict each next character of strings a^k newline b^k newline, k random: whoever counts can know where the b end.  The score
is the loss over the last tenth of the stream, beside the entropy of the strings, below which nothing can get.

The defaults are UORO's settings, but that windows slide, and so update the weights at every character, as all others do.  They
take 1.2 hours on one core, of which UORO takes 5 minutes and OK(4) 20; RTRL would take 4 hours.  All strings have even lengths:
windows in blocks, such as TBPTT(2), cut many of them at the same places, and how they learn depends on where."""
_QUANTITIES = {"bits": "loss per character"}


@dataclass(frozen=True, kw_only=True)
class Settings(strings.Strings):
    """As `Strings`, with the limits of k.

    Attributes
    ----------
    low, high : int
        k is uniform on {low .. high}.
    """

    study = "anbn"
    low: int = setting(1, shared.whole(1, 2**20), "smallest k", metavar="N")
    high: int = setting(32, shared.whole(1, 2**20), "largest k", metavar="N")

    def __post_init__(self):
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"--low must be at most --high; got {self.low} and {self.high}")

    def stream(self):
        return tasks.Anbn(self.low, self.high, self.batch_size, self.seed)


def _notes(results):
    return {"bits": ("entropy", {tasks.Anbn(each.settings["low"], each.settings["high"]).floor for each in results})}


def tables(results):
    """Loss per character at the end and on the way."""
    return strings.tables(results, _QUANTITIES, _notes(results))


def draw(results):
    """The same as a figure."""
    caption = "Strings a^k b^k: loss of the next character (lower is better); nothing can get below the line."
    return strings.draw(results, _QUANTITIES, _notes(results), caption)
