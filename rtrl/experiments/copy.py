"""String memorisation with a curriculum: how long a string each estimator learns to copy; see `rtrl.tasks.Copy`."""

from dataclasses import dataclass

from rtrl import tasks
from rtrl.estimators import Estimator
from rtrl.experiments import curves
from rtrl.experiments.recipe import Recipe, estimator_setting
from rtrl.experiments.runs import Learning, bits
from rtrl.experiments.settings import preset

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "tables"]

HELP = "string memorisation: the longest string that is learned"
DESCRIPTION = """\
Learn to repeat strings of random bits that grow longer by one whenever they are known (loss below 0.15 bits), as in the papers
on KF-RTRL and OK.  The score is the length of the longest strings."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """As `Recipe`; the OK authors had 128 units and a learning rate of 10^-3.5."""

    study = "copy"
    estimator: Estimator = estimator_setting(
        "KFRTRL, UORO, SnAp, TBPTT(8, sliding=True), TBPTT(64, sliding=True), OK(4), BlockOK(4, 8)"
    )
    steps: int = preset(Recipe, "steps", 125_000)
    lr: float = preset(Recipe, "lr", 1e-3)
    weight_std: float = preset(Recipe, "weight_std", 0.01)

    def stream(self):
        return tasks.Copy(self.batch_size, self.seed)

    def start(self):
        return _Copy(self)


class _Copy(Learning):
    """Rows: length of the longest strings at the end of a window, and the mean loss over it."""

    def row(self, losses):
        self.note = f"strings of {self.stream.longest} bits"
        return {"longest": self.stream.longest, "bits": bits(losses)}


def tables(results):
    """Longest strings against steps."""
    return [curves.table("Longest string (bits) after so many steps", results, "longest", "{:.1f}"), curves.legend(results)]


def draw(results):
    """The same as a figure."""
    return curves.draw(
        results,
        "longest",
        "longest string (bits)",
        "Copy task: strings of random bits grow by one bit whenever they are known; higher is better.",
    )
