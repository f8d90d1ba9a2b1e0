"""The command line: `python -m rtrl`, or `rtrl`.

Exit status: 0 done, 1 ran and failed (one line on stderr says why), 2 wrong usage, 130 interrupted.
"""

import argparse
import json
import os
import sys

from rtrl.commands import compare, experiment, report
from rtrl.info import __version__, show_config

__all__ = ["main"]


def main(arguments=None):
    """Run one command.

    Parameters
    ----------
    arguments : list of str or None
        None: those of the process.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    SystemExit
        Status 2 for wrong usage, 0 after --help and --version.
    """
    if hasattr(sys.stdout, "reconfigure") and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that a terminal has no letters for must not end the work
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left.  Nothing more may be written, not even when Python closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError, ValueError, MemoryError, RuntimeError) as error:
        print(f"{options.parser.prog}: error: {_words(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.parser.prog}: interrupted", file=sys.stderr)
        return 130
    return 0


def _words(error):
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _parser():
    parser = argparse.ArgumentParser(prog="rtrl", description="Online training of recurrent networks.")
    parser.add_argument("--version", action="version", version=f"rtrl {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    compare.add_command(commands)
    experiment.add_command(commands)
    report.add_command(commands)
    _add_info(commands)
    return parser


def _add_info(commands):
    parser = commands.add_parser(
        "info",
        help="version, CPU level, float widths, OpenMP and CPUs of this installation",
        description="Show what is installed here.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="format on stdout")
    parser.set_defaults(run=_info, parser=parser)


def _info(options):
    if options.format == "json":
        print(json.dumps(show_config("dicts"), indent=2))
    else:
        show_config()
