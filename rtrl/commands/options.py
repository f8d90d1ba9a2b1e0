"""What commands share: types of arguments, and options that mean the same wherever they stand.

Defaults, limits and the words that differ are the caller's.  An option without a default is absent from the namespace
(argparse.SUPPRESS), so that the help shows no "None".
"""

import argparse
import os
import tempfile

from rtrl import cells
from rtrl import estimators as family
from rtrl.comparison.specs import parse, parse_list

__all__ = [
    "CELL_HELP",
    "HIDDEN_HELP",
    "Given",
    "add_cell",
    "add_command",
    "add_dtype",
    "add_estimators",
    "add_format",
    "add_hidden",
    "add_out",
    "add_seed",
    "add_threads",
    "cell",
    "check_hidden",
    "estimators",
    "made_cell",
    "made_folder",
    "number",
    "sizes",
    "try_folder",
    "whole",
]

_CELLS = {"rhn": cells.RHN, "rnn": cells.RNN, "gru": cells.GRU, "lstm": cells.LSTM}
CELL_HELP = f"recurrent cell: {', '.join(_CELLS)}, or any with its options as in Python, such as 'RNN(64, \"relu\")'"
HIDDEN_HELP = "hidden units, of a cell by its short name"


# Types


def whole(least, most):
    """The type of a whole number within limits."""

    def whole_number(text):
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"a whole number is needed; got {text!r}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is needed; got {text}")
        return value

    return whole_number


def number(above=False):
    """The type of a finite number of at least 0, or above 0."""

    def number(text):
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (0 < value < float("inf") or value == 0 and not above):
            raise argparse.ArgumentTypeError(f"a number {'above 0' if above else 'of at least 0'} is needed; got {text!r}")
        return value

    return number


def sizes(text):
    """Whole numbers separated by commas, each once, rising."""
    return tuple(sorted({whole(1, 2**20)(part) for part in text.split(",")}))


def estimators(text):
    """Estimators separated by commas, each once."""
    try:
        return parse_list(text, family.Estimator)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def cell(text):
    """A recurrent cell: a short name, which needs a size, or a cell with its options."""
    if text in _CELLS:
        return text
    try:
        return parse(text, cells.Cell)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(_CELLS)}, nor a cell with options: {error}") from None


def made_cell(cell, hidden, **options):
    """The cell of a short name with its size, or the one that was given with its options."""
    return _CELLS[cell](hidden, **options) if isinstance(cell, str) else cell


def check_hidden(parser, given, sizes):
    """Refuse a number of units beside a cell that has another one of its own."""
    for each in given:
        if not isinstance(each, str) and any(size != each.hidden for size in sizes):
            parser.error(f"--hidden is for cells by their short names; {each} has its own number of units")


# Options


class Given(argparse.Action):
    """Stores a value, and its option's name in `given`: whether it was told, and is not just the default."""

    def __call__(self, parser, namespace, values, option=None):
        setattr(namespace, self.dest, values)
        namespace.given = {*getattr(namespace, "given", ()), self.dest}


def add_command(commands, name, words, description):
    """A subcommand with its line in the list of commands; its help shows defaults."""
    return commands.add_parser(name, help=words, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)


def add_cell(parser):
    parser.add_argument("--cell", type=cell, default="rhn", metavar="CELL", help=CELL_HELP)


def add_hidden(parser, default):
    parser.add_argument("--hidden", type=whole(1, 2**20), default=default, metavar="N", action=Given, help=HIDDEN_HELP)


def add_estimators(parser, default, rows, note=""):
    words = f"{rows}, separated by commas, options as in Python{note}"
    parser.add_argument("--estimators", type=estimators, default=default, metavar="NAMES", help=words)


def add_threads(parser, default):
    parser.add_argument("--threads", type=whole(1, 1024), default=default, metavar="N", help="threads of a session")


def add_seed(parser, default, of, most=2**64 - 1):
    parser.add_argument("--seed", type=whole(0, most), default=default, metavar="N", help=f"seed of {of}")


def add_dtype(parser, default):
    parser.add_argument("--dtype", choices=("float32", "float64"), default=default, help="type of all numbers")


def add_format(parser, formats):
    parser.add_argument("--format", choices=formats, default="table", help="format on stdout")


def add_out(parser, files):
    parser.add_argument("--out", metavar="DIR", default=argparse.SUPPRESS, help=f"also write {files}")


def made_folder(options, files=()):
    """The folder of --out, made if need be, and able to take these files; None without --out."""
    if not hasattr(options, "out"):
        return None
    out = os.path.expanduser(options.out)
    try_folder(out, files)
    return out


def try_folder(folder, files=()):
    """Make a folder if need be, and try whether files can be written: better to fail before the work than after it.

    Parameters
    ----------
    folder : path-like
        Where files will be written.
    files : list of str
        Their names; those that are there stay as they are.

    Raises
    ------
    OSError
        If that is not possible; the error names the file or the folder.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(folder)) from None
    for path in (os.path.join(folder, name) for name in files):
        if os.path.lexists(path):
            open(path, "r+b").close()
