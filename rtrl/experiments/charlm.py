"""Character-level language modelling: bits per character against steps, on any text."""

from dataclasses import dataclass

import numpy as np

from rtrl import tasks
from rtrl.commands import options as shared
from rtrl.data import lanes
from rtrl.estimators import Estimator, Immediate
from rtrl.experiments import corpus, curves
from rtrl.experiments.recipe import Recipe, estimator_setting
from rtrl.experiments.report import Table
from rtrl.experiments.runs import Learning, bits, finite
from rtrl.experiments.settings import preset, setting
from rtrl.session import Session
from rtrl.tasks.text import staggered

__all__ = ["DESCRIPTION", "HELP", "Settings", "draw", "tables"]

HELP = "character-level language modelling of any text, Penn Treebank in both conventions"
DESCRIPTION = """\
Predict each next character of a text.  Without --text it is the help text that comes with Python, and its last tenth is held
out.  Bits per character of the held-out text are measured now and then, read in two ways: straight through, and with resets
as often as in learning (--reset); those of the test text where the former are better than ever before."""

_WAYS = {"": "straight through", "_reset": "with resets"}  # how a text is read: endings of the keys of rows, and words


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """As `Recipe`, with the texts.

    Attributes
    ----------
    text, valid, test : str or None
        Files to learn, to hold out, and to test with.
    convention : {"text", "mikolov", "bytes"}
        What is a character, see `rtrl.experiments.corpus`.
    reset_every : int
        Steps after which state and influence of a lane are zeroed, the lanes in turn; 0: never.
    validate_every : int
        Steps between looks at the held-out text.
    """

    study = "charlm"
    estimator: Estimator = estimator_setting("BlockOK(8, 8), KFRTRL, UORO, TBPTT(5), TBPTT(25)")
    hidden: int = preset(Recipe, "hidden", 256)
    batch_size: int = preset(Recipe, "batch_size", 32)
    steps: int = preset(Recipe, "steps", 10_000)
    weight_std: float = preset(Recipe, "weight_std", 0.01)
    text: str | None = setting(None, str, "file to learn", metavar="FILE")
    valid: str | None = setting(None, str, "file that is held out (default: the last tenth of --text)", metavar="FILE")
    test: str | None = setting(None, str, "file to test with", metavar="FILE")
    convention: str = setting("text", str, "what is a character: see the documentation", choices=corpus.CONVENTIONS)
    reset_every: int = setting(
        100, shared.whole(0, 2**40), "steps between resets of a lane's state and influence; 0: never", metavar="N", flag="reset"
    )
    validate_every: int = setting(
        10_000, shared.whole(1, 10**12), "steps between looks at the held-out text", metavar="N", flag="validate"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.validate_every % self.window:
            raise ValueError(f"--validate must be a multiple of --window; got {self.validate_every} and {self.window}")

    def texts(self):
        return corpus.read(self.convention, self.text, self.valid, self.test)

    def start(self):
        return _Charlm(self, self.texts())

    def check(self, state):
        _check(self.texts(), state)


def _check(texts, state):
    if state.get("texts", texts.digest) != texts.digest:
        raise ValueError("the texts are not those that the run began with: their files, or this version of Python, are others")


class _Charlm(Learning):
    """Rows: bits per character while learning; now and then of the held-out text, and of the test text at its best.

    Texts are read straight through ("valid", "test") and, by nets that learn with resets, with as many ("valid_reset",
    "test_reset"): such a net has never seen what becomes of its state later.
    """

    def __init__(self, settings, texts):
        self._texts = texts
        super().__init__(settings, tasks.Text(texts.train, texts.classes, settings.batch_size, settings.reset_every))
        self._best = {}

    def row(self, losses):
        row = {"bits": bits(losses)}
        if self.step % self.settings.validate_every == 0 or self.step == self.steps:
            for way in _WAYS if self.settings.reset_every else ("",):
                row |= self._look(way)
            self.note = f"{row['valid']:.3f} bits/char held out" if row["valid"] is not None else "diverged"
        return row

    def _look(self, way):
        """Bits per character of the held-out text, and where they are the best so far of the test text."""
        found = {"valid" + way: self._bits_of(self._texts.valid, way)}
        value, best = found["valid" + way], self._best.get(way)
        if value is not None and (best is None or value < best):
            self._best[way] = value
            if self._texts.test is not None:
                found["test" + way] = self._bits_of(self._texts.test, way)
        return found

    def _bits_of(self, ids, way=""):
        """Bits per character of a text, read by all lanes from places of their own that share it evenly."""
        count = self.settings.batch_size
        xs, ys = lanes(ids, count)
        resets = staggered(count, self.settings.reset_every, len(xs)) if way else None
        reader = Session(self.session.network, Immediate(), batch_size=count, threads=self.settings.threads)
        return finite(reader.evaluate(xs, ys, resets) / np.log(2))

    def save(self, path):
        return {**super().save(path), "best": self._best, "texts": self._texts.digest}

    def load(self, path, state):
        _check(self._texts, state)
        super().load(path, state)
        self._best = state["best"]


def tables(results):
    """Bits per character against steps, and the best of each."""
    best = [["", "seed", "read", "at step", "held out", "test"]]
    ways = _ways(results)
    for name, some in curves.groups(results).items():
        for each in some:
            best += [[name, str(each.settings["seed"]), words, *_best(each.rows, way)] for way, words in ways.items()]
    return [
        curves.table("Bits per character while learning, mean of a window that ends at this step", results, "bits"),
        *(
            curves.table(f"Bits per character of the held-out text, read {words}, at this step", results, "valid" + way)
            for way, words in ways.items()
        ),
        Table("Where the held-out text was predicted best, and bits per character of the test text there", best),
        curves.legend(results),
    ]


def _ways(results):
    """The ways of reading that rows tell of."""
    return {way: words for way, words in _WAYS.items() if any("valid" + way in row for each in results for row in each.rows)}


def _best(rows, way):
    """Step, and bits per character there of the held-out and the test text, as texts."""
    valid, test = "valid" + way, "test" + way
    row = min((row for row in rows if row.get(valid) is not None), key=lambda row: row[valid], default=None)
    if row is None:
        return ["-"] * 3
    return [f"{row['step']:,}", *(f"{row[key]:.3f}" if row.get(key) is not None else "-" for key in (valid, test))]


def draw(results):
    """Bits per character of the held-out text, read straight through, against steps."""
    return curves.draw(
        results,
        "valid",
        "bits per character, held-out text",
        "Predicting the next character of a text that is not learned from; lower is better.",
        log=True,
    )
