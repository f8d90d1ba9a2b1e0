"""`python -m rtrl compare`: memory, time and learning of every estimator against TBPTT, on real data."""

import argparse
import dataclasses
import os
import sys

from rtrl import cells, estimators
from rtrl.comparison import Settings, Task, compare
from rtrl.comparison.progress import Progress
from rtrl.comparison.report import FORMATS, render, save
from rtrl.comparison.settings import ESTIMATORS, label
from rtrl.comparison.specs import parse_list

__all__ = ["add_command"]

_BASE = Settings()
_CELLS = {"rhn": cells.RHN, "rnn": cells.RNN, "gru": cells.GRU, "lstm": cells.LSTM}
_DESCRIPTION = """\
Compare estimators of the gradient on one stream: time and memory of a step, how close the gradient comes to exact
RTRL, and what is learned.  Without --text or --series the data is the help text that comes with Python.  The table goes
to stdout, progress to stderr."""


def add_command(commands):
    """Add `compare` to the subcommands of a parser."""
    parser = commands.add_parser(
        "compare",
        help="memory, time and learning of every estimator against TBPTT",
        description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
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
    parser.add_argument("--cell", choices=_CELLS, default="rhn", help="recurrent cell")
    parser.add_argument("--depth", type=_whole(1, 64), default=1, metavar="N", help="stages of an rhn in one time step")
    parser.add_argument("--hidden", type=_whole(1, 2**20), default=_BASE.cell.hidden, metavar="N", help="hidden units")
    parser.add_argument(
        "--batch",
        type=_whole(1, 2**20),
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"lanes: places of the stream that are read at once (default: {_BASE.batch_size} for text, 1 for a series)",
    )
    parser.add_argument("--steps", type=_whole(1, 10**8), default=_BASE.steps, metavar="N", help="time steps of learning")
    parser.add_argument("--threads", type=_whole(1, 1024), default=_BASE.threads, metavar="N", help="threads of a session")
    parser.add_argument(
        "--seed", type=_whole(0, 2**64 - 1), default=_BASE.seed, metavar="N", help="seed of weights and random signs"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default=_BASE.dtype, help="type of all numbers")
    parser.add_argument(
        "--estimators",
        type=_estimators,
        default=", ".join(map(label, ESTIMATORS)),
        metavar="NAMES",
        help="rows of the table, separated by commas, options as in Python",
    )
    parser.add_argument("--lr", type=_number(above=True), default=_BASE.lr, metavar="X", help="learning rate of Adam")
    parser.add_argument(
        "--clip", type=_number(above=True), default=_BASE.clip_norm, metavar="X", help="largest norm of a gradient"
    )
    parser.add_argument(
        "--reset",
        type=_whole(0, 2**40),
        default=_BASE.reset_every,
        metavar="N",
        help="steps between resets of a lane's state and influence; 0: never",
    )
    parser.add_argument(
        "--patience",
        type=_number(),
        default=_BASE.patience,
        metavar="SECONDS",
        help="an estimator that would take longer to learn is timed but not trained",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="format on stdout")
    parser.add_argument(
        "--out",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="also write compare.txt, compare.json and compare.csv, with all settings, into this folder",
    )
    parser.set_defaults(run=_run, parser=parser)


def _whole(least, most):
    def whole_number(text):
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"a whole number is needed; got {text!r}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is needed; got {text}")
        return value

    return whole_number


def _number(above=False):
    def number(text):
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (0 < value < float("inf") or value == 0 and not above):
            raise argparse.ArgumentTypeError(f"a number {'above 0' if above else 'of at least 0'} is needed; got {text!r}")
        return value

    return number


def _estimators(text):
    try:
        return parse_list(text, estimators.Estimator)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(options):
    """Measure, write, print.  Whatever fails is raised; `rtrl.cli` turns it into a message."""
    series = getattr(options, "series", None)
    column = getattr(options, "column", None)
    if column is not None and series is None:
        options.parser.error("--column needs --series")
    if options.depth != 1 and options.cell != "rhn":
        options.parser.error("--depth is an option of --cell rhn only")
    out = getattr(options, "out", None)
    if out is not None:
        os.makedirs(out, exist_ok=True)  # better to fail now than after the work
    task = Task.of_text(getattr(options, "text", None)) if series is None else Task.of_series(series, column)
    depth = {"depth": options.depth} if options.cell == "rhn" else {}
    settings = dataclasses.replace(
        _BASE,
        cell=_CELLS[options.cell](options.hidden, **depth),
        estimators=options.estimators,
        batch_size=getattr(options, "batch", _BASE.batch_size if series is None else 1),
        steps=options.steps,
        threads=options.threads,
        seed=options.seed,
        dtype=options.dtype,
        lr=options.lr,
        clip_norm=options.clip,
        reset_every=options.reset,
        patience=options.patience,
    )
    result = compare(settings, task, Progress(sys.stderr))
    if out is not None:
        save(result, out)
    sys.stdout.write(render(result, options.format))
