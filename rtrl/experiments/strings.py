"""What the studies `anbn` and `brackets` share: UORO's settings, and the end of a long stream as the score.

A GRU of 64 units reads one stream of 1e7 characters, with Adam at 1e-3 / (1 + 0.03 sqrt t) (Tallec and Ollivier 2018,
arXiv:1702.05043).  Weights of the input begin normal with standard deviation 1, as embeddings do in the authors' program; where
they begin as small as the others, UORO does not learn to count.

Windows slide: all strings of a^n b^n have even lengths, so that blocks of 2 would always cut them at the same places, and the
loss that tells whether the net has counted would never be credited to the step before.

Gradients are not clipped: with one lane the noise of unbiased estimators has large norms now and then that average out, and what
a limit cuts off is a bias.  After 400,000 characters of a^n b^n UORO is at 0.27 bits without a limit and at 0.83 with norms up to
1, KF-RTRL at 0.19 and 0.48 (the command is in docs/choosing.md).
"""

from dataclasses import dataclass

import numpy as np

from rtrl.cells import Cell
from rtrl.commands import options as shared
from rtrl.estimators import Estimator
from rtrl.experiments import curves, plots
from rtrl.experiments.recipe import Recipe, estimator_setting
from rtrl.experiments.report import Table
from rtrl.experiments.runs import Learning, bits
from rtrl.experiments.settings import preset, setting

__all__ = ["SHARE", "Strings", "StringsRun", "answers", "draw", "tables"]

SHARE = 0.1  # of a run at its end, over which it is scored


@dataclass(frozen=True, kw_only=True)
class Strings(Recipe):
    """As `Recipe`, with UORO's settings as defaults."""

    estimator: Estimator = estimator_setting(
        "UORO, NoBackTrack, KFRTRL, OK(4), BlockOK(4, 8), SnAp, RFLO, TBPTT(1), "
        "TBPTT(2, sliding=True), TBPTT(16, sliding=True), Immediate"
    )
    cell: str | Cell = preset(Recipe, "cell", "gru")
    batch_size: int = preset(Recipe, "batch_size", 1)
    steps: int = preset(Recipe, "steps", 10_000_000)
    window: int = preset(Recipe, "window", 100_000)
    decay: float = preset(Recipe, "decay", 0.03)
    clip_norm: float = preset(Recipe, "clip_norm", 0.0)
    input_std: float = setting(
        1.0, shared.number(), "standard deviation of the initial weights of the input; 0: as the others", metavar="X"
    )

    def start(self):
        return StringsRun(self)


class StringsRun(Learning):
    """Rows: mean loss of a window in bits, and of its answers alone where the task has some."""

    def row(self, losses):
        found = {"bits": bits(losses)}
        if hasattr(self.stream, "answers"):
            found["answer_bits"] = bits(answers(self.stream, self.step - len(losses), losses))
        self.note = ", ".join(f"{value:.3f} {name.replace('_', ' ')}" for name, value in found.items() if value is not None)
        return found


def answers(stream, first, losses):
    """Losses of the answers, among those of steps `first` and on, of a `rtrl.tasks.Brackets`.

    All strings have one length, so all lanes are at the same place of theirs.
    """
    places = np.arange(first, first + len(losses)) % stream.length
    return losses[np.isin(places, stream.answers)]


def tables(results, quantities, notes):
    """Means over the end of each run, and curves.

    Parameters
    ----------
    results : list of rtrl.experiments.store.Result
        Of one study.
    quantities : dict of str to str
        Keys of rows, with their words.
    notes : dict of str to (str, set of float)
        What each quantity is compared with: its name and values in bits, several where the strings of the runs differ.
    """
    notes = {key: f"{name} {', '.join(f'{value:.4f}' for value in sorted(values))}" for key, (name, values) in notes.items()}
    cells = [["", "seeds", *(f"{words} ({notes[key]})" for key, words in quantities.items())]]
    for name, some in curves.groups(results).items():
        ends = [[_end(each, key) for each in some if each.done] for key in quantities]
        cells.append([name, str(len(some)), *(curves.spread(each, "{:.4f}", len(some)) for each in ends)])
    title = f"Loss over the last {SHARE:.0%} of a run (bits)"
    marks = [curves.table(f"{words.capitalize()} (bits) after so many steps", results, key) for key, words in quantities.items()]
    return [Table(title, cells), *marks, curves.legend(results)]


def _end(result, quantity):
    """Mean over the end of a run, every window by its length; None where a window has no number."""
    begin = (1 - SHARE) * result.settings["steps"]
    lengths = np.diff([0, *(row["step"] for row in result.rows)])
    values, lengths = zip(*((row[quantity], length) for row, length in zip(result.rows, lengths) if row["step"] > begin))
    return None if None in values else float(np.average(values, weights=lengths))


def draw(results, quantities, notes, caption):
    """Curves of each quantity, with a line at what it is compared with."""
    figure, (panels,) = plots.blank(5 + 5 * len(quantities), 5.5, 1, len(quantities))
    for axes, (key, words) in zip(panels, quantities.items()):
        curves.plot(axes, results, key, f"{words} (bits)", log=True)
        name, values = notes[key]
        for value in values:
            axes.axhline(value, color="black", linewidth=0.8)
            place = (1, value), (-4, -3), ("axes fraction", "data"), "offset points"  # nothing gets below an entropy
            axes.annotate(f"{name} {value:.3f}", *place, ha="right", va="top")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.suptitle(caption, fontsize="medium")
    return figure
