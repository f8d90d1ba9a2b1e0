"""`python -m rtrl experiment NAME`: studies of the estimators; see `rtrl.experiments` for what a study has."""

import functools
import os
import sys

from rtrl.commands import options as shared
from rtrl.comparison.progress import Progress
from rtrl.experiments import plots, report
from rtrl.experiments.noise import command as noise

__all__ = ["add_command"]

STUDIES = {"noise": noise}


def add_command(commands):
    """Add `experiment` with its studies to the subcommands of a parser."""
    parser = commands.add_parser("experiment", help="studies of the estimators", description="Studies of the estimators.")
    studies = parser.add_subparsers(title="studies", metavar="NAME", required=True)
    for name, study in STUDIES.items():
        _add_study(studies, name, study)


def _add_study(studies, name, study):
    parser = shared.add_command(studies, name, study.HELP, study.DESCRIPTION)
    study.add_options(parser)
    shared.add_format(parser, report.FORMATS)
    shared.add_out(parser, f"{name}.jsonl into this folder, line by line as results come")
    parser.add_argument(
        "--plot", action="store_true", help=f"also write {name}.png into the folder of --out, or here; needs matplotlib"
    )
    parser.set_defaults(run=functools.partial(_run, name, study), parser=parser)


def _run(name, study, options):
    """Measure, write, print.  Whatever fails is raised; `rtrl.cli` turns it into a message."""
    if options.plot:
        plots.need()  # better to fail now than after the work
    out = shared.made_folder(options)
    progress = Progress(sys.stderr)
    asked, results = study.start(options, progress)
    rows = []
    with open(os.devnull if out is None else os.path.join(out, f"{name}.jsonl"), "w", encoding="utf-8") as file:
        file.write(report.line({"settings": asked}))
        for row in results:
            rows.append(row)
            file.write(report.line(row))
            file.flush()
    progress.clear()
    if all("refused" in row for row in rows):
        raise RuntimeError(f"nothing could be measured: {rows[0]['refused']}")
    if options.plot:
        study.save(rows, os.path.join(out or "", f"{name}.png"))
    sys.stdout.write(report.render(asked, rows, options.format, study.tables))
