"""`python -m rtrl report DIR`: a folder of results as one page."""

import argparse
import os

from rtrl.commands import options as shared
from rtrl.experiments import page

__all__ = ["add_command"]

_DESCRIPTION = """\
Write all results below a folder as one page in Markdown: tables, figures beside the page, and for each run its command, its
work and wall time, and whether it has come to its end."""


def add_command(commands):
    """Add `report` to the subcommands of a parser."""
    parser = shared.add_command(commands, "report", "a folder of results as one page with tables and figures", _DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="folder of results, such as that of --out of `rtrl experiment`")
    parser.add_argument("--out", metavar="FILE", default=argparse.SUPPRESS, help="the page (default: DIR/report.md)")
    parser.set_defaults(run=_run, parser=parser)


def _run(options):
    """Write the page, and say where it is.  Whatever fails is raised; `rtrl.cli` turns it into a message."""
    path = os.path.expanduser(getattr(options, "out", os.path.join(options.folder, "report.md")))
    page.write(options.folder, path)
    print(path)
