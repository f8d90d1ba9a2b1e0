"""`python -m rtrl compare`: memory, time and learning of every estimator against TBPTT, on real data."""

import argparse
import dataclasses
import sys

from rtrl import comparison
from rtrl.commands import options as shared
from rtrl.commands.options import number, whole
from rtrl.comparison import Settings, Task, report
from rtrl.comparison.progress import Progress
from rtrl.comparison.settings import ESTIMATORS

__all__ = ["add_command"]

_BASE = Settings()
_HELP = "memory, time and learning of every estimator against TBPTT"
_DESCRIPTION = """\
Compare estimators of the gradient on one stream: time and memory of a step, how close the gradient comes to exact
RTRL, and what is learned.  Without --text or --series the data is the help text that comes with Python.  The table goes
to stdout, progress to stderr.  On a terminal each row is shown as soon as it is known, the cheapest first, and the whole
table at the end."""


def add_command(commands):
    """Add `compare` to the subcommands of a parser."""
    parser = shared.add_command(commands, "compare", _HELP, _DESCRIPTION)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--text", metavar="FILE", default=argparse.SUPPRESS, help="predict the characters of this text file (UTF-8)"
    )
    source.add_argument("--series", metavar="FILE", default=argparse.SUPPRESS, help="predict a numeric column of this CSV file")
    parser.add_argument(
        "--column",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="column of the CSV file, by name or number from 1 (default: the last)",
    )
    shared.add_cell(parser)
    parser.add_argument("--depth", type=whole(1, 64), default=1, metavar="N", help="stages of an rhn in one time step")
    shared.add_hidden(parser, _BASE.cell.hidden)
    parser.add_argument(
        "--batch",
        type=whole(1, 2**20),
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"lanes: places of the stream that are read at once (default: {_BASE.batch_size} for text, 1 for a series)",
    )
    parser.add_argument(
        "--sparsity", type=number(), default=_BASE.sparsity, metavar="X", help="share of the cell's weights that do not exist"
    )
    parser.add_argument("--steps", type=whole(1, 10**8), default=_BASE.steps, metavar="N", help="time steps of learning")
    shared.add_threads(parser, _BASE.threads)
    shared.add_seed(parser, _BASE.seed, "weights and random signs")
    shared.add_dtype(parser, _BASE.dtype)
    shared.add_estimators(parser, ", ".join(map(str, ESTIMATORS)), "rows of the table")
    parser.add_argument(
        "--optimizer",
        choices=("adam", "kalman"),
        default="adam",
        help="kalman: the filter, for all rows and not only where needed",
    )
    parser.add_argument(
        "--lr", type=number(above=True), default=_BASE.lr, metavar="X", help="learning rate of Adam; a third of it is Kalman's"
    )
    parser.add_argument(
        "--clip", type=number(above=True), default=_BASE.clip_norm, metavar="X", help="largest norm of a gradient"
    )
    parser.add_argument(
        "--reset",
        type=whole(0, 2**40),
        default=_BASE.reset_every,
        metavar="N",
        help="steps between resets of a lane's state and influence; 0: never",
    )
    parser.add_argument(
        "--patience",
        type=number(),
        default=_BASE.patience,
        metavar="SECONDS",
        help="an estimator that would take longer to learn is timed but not trained",
    )
    shared.add_format(parser, report.FORMATS)
    shared.add_out(parser, "compare.txt, compare.json and compare.csv, with all settings, into this folder")
    parser.set_defaults(run=_run, parser=parser)


def _run(options):
    """Measure, print, write.  Whatever fails is raised; `rtrl.cli` turns it into a message."""
    series = getattr(options, "series", None)
    column = getattr(options, "column", None)
    if column is not None and series is None:
        options.parser.error("--column needs --series")
    if options.depth != 1 and options.cell != "rhn":
        options.parser.error("--depth is an option of --cell rhn only")
    if "hidden" in getattr(options, "given", ()):
        shared.check_hidden(options.parser, [options.cell], [options.hidden])
    out = shared.made_folder(options, report.FILES.values())
    task = Task.of_text(getattr(options, "text", None)) if series is None else Task.of_series(series, column)
    depth = {"depth": options.depth} if options.cell == "rhn" else {}
    settings = dataclasses.replace(
        _BASE,
        cell=shared.made_cell(options.cell, options.hidden, **depth),
        estimators=options.estimators,
        batch_size=getattr(options, "batch", _BASE.batch_size if series is None else 1),
        steps=options.steps,
        threads=options.threads,
        seed=options.seed,
        dtype=options.dtype,
        lr=options.lr,
        clip_norm=options.clip,
        filter=options.optimizer == "kalman",
        reset_every=options.reset,
        sparsity=options.sparsity,
        patience=options.patience,
    )
    progress = Progress(sys.stderr)
    rows = options.format == "table" and sys.stdout.isatty()
    result = comparison.compare(settings, task, progress, _Rows(progress).show if rows else _telling(progress))
    # Minutes of work may be in it: it is shown before anything else can fail.
    sys.stdout.write("\n" * rows + report.render(result, options.format))
    sys.stdout.flush()
    if out is not None:
        report.save(result, out)


class _Rows:
    """The rows of the table on a terminal, each when it is finished."""

    def __init__(self, progress):
        self._progress, self._begun = progress, False

    def show(self, result, row):
        """Show a row, and headings above the first."""
        self._progress.clear()
        sys.stdout.write(("" if self._begun else report.heading(result)) + report.line(result, row))
        sys.stdout.flush()
        self._begun = True


def _telling(progress):
    """What tells on stderr that a row is finished."""
    return lambda result, row: progress.say(report.in_short(result, row))
