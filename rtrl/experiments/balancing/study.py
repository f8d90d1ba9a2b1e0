"""Settings, runs, tables and figure of influence balancing."""

from dataclasses import dataclass

from rtrl.commands import options as shared
from rtrl.estimators import Estimator
from rtrl.experiments import curves, plots
from rtrl.experiments.balancing.problem import AWAY, Balancing
from rtrl.experiments.recipe import estimator_setting
from rtrl.experiments.report import Table
from rtrl.experiments.runs import Run, finite
from rtrl.experiments.settings import Settings as Base
from rtrl.experiments.settings import setting
from rtrl.optimizers import SGD
from rtrl.session import Session

__all__ = ["Settings", "draw", "tables"]

_CLOSE = 1e-3  # of theta
_RANDOM, _OTHER = 1e-5, 1e-4  # learning rates of the UORO paper


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    """What a run is told.

    Attributes
    ----------
    estimator : rtrl.estimators.Estimator
        Where gradients come from.
    steps, window : int
        Losses, and losses between two rows.
    lr : float or None
        Rate of SGD; None: that of the UORO paper, 1e-4, for estimators with noise 1e-5.
    """

    study = "influence-balancing"

    estimator: Estimator = estimator_setting(
        "RTRL, UORO, NoBackTrack, KFRTRL, OK(2), BlockOK(2, 4), Immediate, SnAp, RFLO, TBPTT(1), TBPTT(10, sliding=True), "
        "TBPTT(30, sliding=True), TBPTT(50, sliding=True), TBPTT(100, sliding=True), TBPTT(50), TBPTT(100), TBPTT(200)"
    )
    steps: int = setting(60_000, shared.whole(1, 10**12), "time steps", metavar="N", extends=True)
    window: int = setting(100, shared.whole(1, 10**9), "steps between rows", metavar="N")
    lr: float | None = setting(
        None, shared.number(above=True), "rate of SGD (default: 1e-5 for estimators with noise, otherwise 1e-4)", metavar="X"
    )

    @property
    def rate(self):
        """Learning rate."""
        return self.lr or (_RANDOM if self.estimator.kind == "unbiased" else _OTHER)

    def start(self):
        return _Balancing(self)


class _Balancing(Run):
    """Rows: theta, and the last step after which it was not close to the best one.  A run ends when theta has run away."""

    def __init__(self, settings):
        super().__init__(settings)
        self._problem = Balancing.start(settings.estimator, SGD(settings.rate), seed=settings.seed)
        self._outside = 0

    def window(self, tell):
        first, problem = self._problem.step, self._problem
        thetas = problem.advance(self.room)
        far = [i for i, theta in enumerate(thetas, first + 1) if not abs(theta - problem.optimum) <= _CLOSE]
        self._outside = far[-1] if far else self._outside
        self.step = self.steps if problem.away else problem.step
        tell(self.step)
        self.note = f"theta {problem.theta:.4f}"
        return [{"step": problem.step, "theta": finite(problem.theta), "outside": self._outside, "away": problem.away}], {}

    def save(self, path):
        self._problem.session.save(path)
        return {"step": self.step, "outside": self._outside}

    def load(self, path, state):
        self._problem = Balancing(Session.load(path, threads=self.settings.threads))
        self.step, self._outside = self.steps if self._problem.away else state["step"], state["outside"]


def tables(results):
    """What became of theta, one line an estimator."""
    cells = [["", "rate", "seeds", "reached -1/6", "after steps", "ran away", "after steps"]]
    for name, some in curves.groups(results).items():
        last = [each.rows[-1] for each in some if each.rows]
        there = [row["outside"] + 1 for row in last if row["outside"] < row["step"]]
        away = [row["step"] for row in last if row["away"]]
        counts = [str(len(some)), str(len(there)), _range(there), str(len(away)), _range(away)]
        cells.append([name, f"{_rate(some[0]):g}", *counts])
    words = (
        f"Reached: theta stays within {_CLOSE:g} of -1/6 from that step on. Ran away: |theta| passed {AWAY:g}. Neither: on its "
        "way at the last step. TBPTT(T) makes an update once in T steps, with sliding=True one at every step."
    )
    return [Table("Theta, from 1/2", cells), f"{words}\n{curves.legend(results)}"]


def _rate(result):
    return Settings(estimator=shared.estimators(result.settings["estimator"])[0], lr=result.settings["lr"]).rate


def _range(steps):
    return "-" if not steps else f"{min(steps):,}" if min(steps) == max(steps) else f"{min(steps):,} to {max(steps):,}"


def draw(results):
    """Theta against steps: runs that did not run away on the left, the others on the right."""
    figure, (panels,) = plots.blank(14, 5.5, 1, 2, sharex=True)
    for axes, away, words in zip(panels, (False, True), ("on the way to the best theta", "running away from it")):
        for i, (name, some) in enumerate(curves.groups(results).items()):
            _curves(axes, [each for each in some if each.rows and each.rows[-1]["away"] == away], label=name, **plots.style(i))
        axes.set_title(words, fontsize="medium", loc="left")
        axes.set_xscale("log")
        axes.set_xlim(50)
        axes.set_ylim(*((0, 3) if away else (-0.7, 1.2)))
        axes.set_xlabel("time steps")
        axes.set_ylabel("theta")
        axes.grid(alpha=0.3)
    panels[0].axhline(-1 / 6, color="black", linewidth=0.8, linestyle=":", label="best theta, -1/6")
    for axes in panels:
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    figure.suptitle(
        "Influence balancing: theta raises the output soon and lowers it later, by more. Who looks back too short a way moves it "
        "up for good.",
        fontsize="medium",
    )
    return figure


def _curves(axes, results, label, **look):
    """One curve a run."""
    for i, each in enumerate(results):
        known = [(row["step"], row["theta"]) for row in each.rows if row["theta"] is not None]
        steps, thetas = zip((1, 0.5), *known)
        axes.plot(steps, thetas, label=None if i else label, markevery=0.1, markersize=4, linewidth=1, **look)
