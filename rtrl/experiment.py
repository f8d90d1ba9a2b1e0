"""`python -m rtrl experiment NAME`: studies of the estimators."""

import argparse
import os
import sys

from rtrl.compare import _CELLS, _estimators, _whole
from rtrl.comparison import Task
from rtrl.comparison.progress import Progress
from rtrl.comparison.settings import label
from rtrl.experiments import cases, noise, plots, report

__all__ = ["add_command"]

_BASE = noise.Settings()
_DESCRIPTION = """\
Measure how far gradient estimates lie from the exact gradient: relative variance and cosine against the number of hidden
units, against time, and for untrained and trained weights.  The data is the help text that comes with Python.  Tables go to
stdout, progress to stderr."""


def add_command(commands):
    """Add `experiment` with its studies to the subcommands of a parser."""
    parser = commands.add_parser("experiment", help="studies of the estimators", description="Studies of the estimators.")
    studies = parser.add_subparsers(title="studies", metavar="NAME", required=True)
    _add_noise(studies)


def _add_noise(studies):
    parser = studies.add_parser(
        "noise",
        help="noise of every estimator against units, time and training",
        description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--estimators",
        type=_estimators,
        default=argparse.SUPPRESS,
        metavar="NAMES",
        help="rows of the tables, separated by commas, options as in Python (default: "
        f"{', '.join(map(label, noise.default_estimators()))}; RTRL up to n = {noise.LARGEST_EXACT})",
    )
    parser.add_argument("--cell", choices=_CELLS, default="rhn", help="recurrent cell")
    parser.add_argument(
        "--hidden",
        type=_sizes,
        default=",".join(str(cell.hidden) for cell in _BASE.cells),
        metavar="LIST",
        help="hidden units, separated by commas",
    )
    parser.add_argument(
        "--steps",
        type=_whole(1, 10**6),
        default=_BASE.steps,
        metavar="N",
        help="last step; gradients are compared after 1, 2, 5, 10, 20, 50, ... steps and after the last",
    )
    parser.add_argument(
        "--samples",
        type=_whole(1, 2**20),
        default=_BASE.samples,
        metavar="N",
        help=f"estimates of each gradient, spread over {cases.NETS} nets",
    )
    parser.add_argument(
        "--trained",
        action="store_true",
        help=f"measure the nets a second time, after {cases.TRAINING:,} steps of learning by TBPTT(25)",
    )
    parser.add_argument(
        "--seed", type=_whole(0, 2**63 - 1), default=_BASE.seed, metavar="N", help="seed of weights, places in the text and signs"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default=_BASE.dtype, help="type of all numbers")
    parser.add_argument("--threads", type=_whole(1, 1024), default=_BASE.threads, metavar="N", help="threads of a session")
    parser.add_argument("--format", choices=report.FORMATS, default="table", help="format on stdout")
    parser.add_argument(
        "--out",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="also write noise.jsonl into this folder, line by line as results come",
    )
    parser.add_argument(
        "--plot", action="store_true", help="also write noise.png into the folder of --out, or here; needs matplotlib"
    )
    parser.set_defaults(run=_run, parser=parser)


def _sizes(text):
    """Whole numbers separated by commas, each once, rising."""
    return tuple(sorted({_whole(1, 2**20)(part) for part in text.split(",")}))


def _run(options):
    """Measure, write, print.  Whatever fails is raised; `rtrl.cli` turns it into a message."""
    out = getattr(options, "out", None)
    if options.plot:
        plots.need()  # better to fail now than after the work
    if out is not None:
        os.makedirs(out, exist_ok=True)
    settings = noise.Settings(
        cells=tuple(_CELLS[options.cell](n) for n in options.hidden),
        estimators=getattr(options, "estimators", None),
        steps=options.steps,
        samples=options.samples,
        seed=options.seed,
        dtype=options.dtype,
        trained=options.trained,
        threads=options.threads,
    )
    task = Task.of_text()
    asked = _asked(settings, task)
    progress = Progress(sys.stderr)
    rows = []
    with open(os.devnull if out is None else os.path.join(out, "noise.jsonl"), "w", encoding="utf-8") as file:
        file.write(report.line({"settings": asked}))
        for row in noise.measure(settings, task, progress):
            rows.append(row)
            file.write(report.line(row))
            file.flush()
    progress.clear()
    if all("refused" in row for row in rows):
        raise RuntimeError(f"nothing could be measured: {rows[0]['refused']}")
    if options.plot:
        plots.noise(rows, os.path.join(out or "", "noise.png"))
    sys.stdout.write(report.render(asked, rows, options.format))


def _asked(settings, task):
    """The settings as plain data."""
    return {
        "cells": [repr(cell) for cell in settings.cells],
        "estimators": [label(each) for each in settings.estimators or noise.default_estimators()],
        "moments": list(settings.moments),
        "samples": settings.samples,
        "nets": settings.nets,
        "seed": settings.seed,
        "dtype": settings.dtype,
        "trained": settings.trained,
        "training_steps": cases.TRAINING,
        "data": task.name,
    }
