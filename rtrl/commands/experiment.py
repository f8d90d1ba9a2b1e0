"""`python -m rtrl experiment NAME`: studies of the estimators; see `rtrl.experiments` for what a study has."""

import argparse
import contextlib
import functools
import os
import sys
import tempfile
import time

from rtrl.commands import options as shared
from rtrl.comparison.progress import Progress
from rtrl.experiments import STUDIES, plots, report
from rtrl.experiments.perform import Cores, Refused, connect, joined, perform, perform_all
from rtrl.experiments.settings import add_options, chosen

__all__ = ["add_command"]

_CHECKPOINT = 60.0  # seconds


def add_command(commands):
    """Add `experiment` with its studies to the subcommands of a parser."""
    parser = commands.add_parser("experiment", help="studies of the estimators", description="Studies of the estimators.")
    studies = parser.add_subparsers(title="studies", metavar="NAME", required=True)
    for name, study in STUDIES.items():
        _add_study(studies, name, study)


def _add_study(studies, name, study):
    parser = shared.add_command(studies, name, study.HELP, study.DESCRIPTION)
    add_options(parser, study.Settings)
    shared.add_format(parser, report.FORMATS)
    shared.add_out(parser, f"every run into a folder of its own below DIR/{name}: results as they come, and checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in --out; what is finished is not done again")
    parser.add_argument(
        "--checkpoint", type=shared.number(), default=_CHECKPOINT, metavar="SECONDS", help="time between checkpoints of a run"
    )
    parser.add_argument(
        "--jobs",
        type=shared.whole(-1, 4096),
        default=1,
        metavar="N",
        help="runs at once, on cores of this machine; -1: as many as there are; needs joblib",
    )
    parser.add_argument(
        "--scheduler",
        default=argparse.SUPPRESS,
        metavar="ADDRESS",
        help="runs on the workers of this dask scheduler, which must see --out; needs distributed",
    )
    parser.add_argument(
        "--plot", action="store_true", help=f"also write {name}.png into the folder of --out, or here; needs matplotlib"
    )
    parser.set_defaults(run=functools.partial(_run, name, study), parser=parser)


def _run(name, study, options):
    """Measure, write, print.  Whatever fails is raised; `rtrl.cli` turns it into a message."""
    if options.plot:
        plots.need()  # better to fail now than after the work
    out = shared.made_folder(options)
    if options.plot and out is None:
        shared.try_folder(os.curdir)
    if options.resume and out is None:
        options.parser.error("--resume needs --out")
    if hasattr(options, "scheduler") and out is None:
        options.parser.error("--scheduler needs --out")
    if options.jobs == 0:
        options.parser.error("--jobs must be -1 or at least 1; got 0")
    runs = chosen(options.parser, study.Settings, options)
    runs = list({each.name: each for each in runs}.values())
    progress, results, refused = Progress(sys.stderr), [], []
    with contextlib.nullcontext(out) if out is not None else tempfile.TemporaryDirectory() as folder:
        place = os.path.abspath(os.path.join(folder, name))
        with _executor(options) as executor:
            do = functools.partial(_at_once, executor=executor) if executor is not None else _in_turn
            for some in _stages(study, runs, results):
                refused += do(some, results, place, options, progress)
                if not results:
                    break
    progress.clear()
    if results:
        _show(name, study, results, options, out or "")
    if refused:
        raise joined(refused)


def _show(name, study, results, options, out):
    """Tables and figure."""
    rows = [row for each in results for row in each.rows]
    if all("refused" in row for row in rows):
        raise RuntimeError(f"nothing could be measured: {rows[0]['refused']}" if rows else "nothing could be measured")
    try:
        if options.plot:
            plots.save(report.made(study.draw, results), os.path.join(out, f"{name}.png"))
    finally:  # hours of work may be in it, and nowhere else
        if options.format != "json":
            sys.stdout.write(report.render(results, options.format, study.tables))


def _executor(options):
    """What does many runs at once, as a context; None in it for one after the other."""
    if hasattr(options, "scheduler"):
        return connect(options.scheduler)
    return contextlib.nullcontext(None if options.jobs == 1 else Cores(options.jobs))


def _stages(study, runs, results):
    """The runs, all at once unless the study wants to see some results before it says which are worth doing."""
    if not hasattr(study, "stage"):
        yield runs
        return
    while some := report.made(functools.partial(study.stage, runs), results):
        yield some


def _in_turn(runs, results, folder, options, progress):
    """Runs one after the other, their rows written as they come; those that could not start, as `Refused`."""
    refused = []
    for i, each in enumerate(runs):
        if options.format == "json":
            _write(report.line(report.header(each.study, each.describe())))
        watch = _Watch(progress, each, f"run {i + 1} of {len(runs)}, " if len(runs) > 1 else "")
        show = (lambda row: _write(report.line(row))) if options.format == "json" else None
        try:
            results.append(perform(each, folder, options.resume, options.checkpoint, watch.tell, show))
        except Refused as error:
            refused.append(error)
    return refused


def _at_once(runs, results, folder, options, progress, executor):
    """Runs at the same time, the rows of each written when it is done; those that could not start, as `Refused`."""
    progress.show(f"{len(runs)} runs")
    done, refused = 0, []
    try:
        for each in perform_all(runs, folder, executor, options.resume, options.checkpoint):
            results.append(each)
            done += 1
            progress.show(f"{done} of {len(runs)} runs are done")
            if options.format == "json":
                _write(report.render([each], "json", None))
    except Refused as error:
        refused = [error]
    progress.say(f"{done} of {len(runs)} runs are done")
    return refused


def _write(text):
    sys.stdout.write(text)
    sys.stdout.flush()


class _Watch:
    """The line of progress of one run: rate and time left."""

    def __init__(self, progress, settings, place):
        self._progress, self._words = progress, f"{settings.study}: {place}{settings.title}"
        self._began = self._first = None

    def tell(self, run, step):
        """Show how far the run is."""
        now = time.perf_counter()
        if self._began is None:
            self._began, self._first = now, run.step
        done, seconds = step - self._first, now - self._began
        rate = (
            f", {done / seconds:,.0f} {run.unit}/s, {report.duration((run.steps - step) * seconds / done)} left"
            if done and seconds
            else ""
        )
        note = f", {run.note}" if run.note else ""
        self._progress.show(f"{self._words}: {step:,} of {run.steps:,} {run.unit}{rate}{note}")
