"""The study `python -m rtrl experiment noise`; see `rtrl.experiments` for what a study has."""

import argparse

from rtrl.commands import options as shared
from rtrl.comparison import Task
from rtrl.comparison.settings import label
from rtrl.experiments.noise import cases, study
from rtrl.experiments.noise.picture import save
from rtrl.experiments.noise.tables import tables

__all__ = ["DESCRIPTION", "HELP", "add_options", "save", "start", "tables"]

_BASE = study.Settings()
HELP = "noise of every estimator against units, time and training"
DESCRIPTION = """\
Measure how far gradient estimates lie from the exact gradient: relative variance and cosine against the number of hidden
units, against time, and for untrained and trained weights.  The data is the help text that comes with Python.  Tables go to
stdout, progress to stderr."""


def add_options(parser):
    """Add what this study can be told."""
    chosen = ", ".join(map(label, study.default_estimators()))
    shared.add_estimators(
        parser, argparse.SUPPRESS, "rows of the tables", f" (default: {chosen}; RTRL up to n = {study.LARGEST_EXACT})"
    )
    shared.add_cell(parser)
    parser.add_argument(
        "--hidden",
        type=shared.sizes,
        default=",".join(str(cell.hidden) for cell in _BASE.cells),
        metavar="LIST",
        help="hidden units, separated by commas",
    )
    parser.add_argument(
        "--steps",
        type=shared.whole(1, 10**6),
        default=_BASE.steps,
        metavar="N",
        help="last step; gradients are compared after 1, 2, 5, 10, 20, 50, ... steps and after the last",
    )
    parser.add_argument(
        "--samples",
        type=shared.whole(1, 2**20),
        default=_BASE.samples,
        metavar="N",
        help=f"estimates of each gradient, spread over {cases.NETS} nets",
    )
    parser.add_argument(
        "--trained",
        action="store_true",
        help=f"measure the nets a second time, after {cases.TRAINING:,} steps of learning by TBPTT(25)",
    )
    shared.add_seed(parser, _BASE.seed, "weights, places in the text and signs", most=2**63 - 1)
    shared.add_dtype(parser, _BASE.dtype)
    shared.add_threads(parser, _BASE.threads)


def start(options, progress):
    """What was asked for as plain data, and an iterator of rows."""
    settings = study.Settings(
        cells=tuple(shared.CELLS[options.cell](n) for n in options.hidden),
        estimators=getattr(options, "estimators", None),
        steps=options.steps,
        samples=options.samples,
        seed=options.seed,
        dtype=options.dtype,
        trained=options.trained,
        threads=options.threads,
    )
    task = Task.of_text()
    return _asked(settings, task), study.measure(settings, task, progress)


def _asked(settings, task):
    """The settings as plain data."""
    return {
        "cells": [repr(cell) for cell in settings.cells],
        "estimators": [label(each) for each in settings.estimators or study.default_estimators()],
        "moments": list(settings.moments),
        "samples": settings.samples,
        "nets": settings.nets,
        "seed": settings.seed,
        "dtype": settings.dtype,
        "trained": settings.trained,
        "training_steps": cases.TRAINING,
        "data": task.name,
    }
