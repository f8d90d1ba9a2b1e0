"""The same work in other people's tools; each is optional.

`missing(rival)` says why one cannot be used, `sides(rival, problem)` makes its programs, and `check` refuses one whose
losses are not ours.  A module is imported when its rival is asked for, so that none disturbs the others.
"""

import dataclasses
import importlib

import numpy as np

__all__ = ["RIVALS", "check", "missing", "problems", "sides"]

RIVALS = {
    "JAX": ("jax", ("jax_online", "jax_tbptt")),
    "PyTorch": ("torch", ("torch_online", "torch_tbptt")),
    "NumPy": ("numpy", ("numpy_steps",)),
}
_TOLERANCE = 1e-4
_CHECKED_STEPS = 100  # afterwards rounding may grow: the weights follow their own losses


def missing(rival):
    """Empty when a rival can be used, otherwise the reason why not."""
    package = RIVALS[rival][0]
    try:
        importlib.import_module(package)
    except ImportError as error:
        return f"{rival} is not installed ({error}): pip install {package}"
    return ""


def _forms(rival):
    modules = (importlib.import_module(f"{__name__}.{name}") for name in RIVALS[rival][1])
    return {task: forms for module in modules for task, forms in module.FORMS.items()}


def problems(rival):
    """What a rival has: pairs of cell and name of the algorithm."""
    return list(_forms(rival))


def sides(rival, problem):
    """Programs of a rival for a problem: name -> (the problem, callable).

    Where an estimator is published without `fresh`, that form comes beside the other: a rival may choose the faster one.
    """
    published = {"": problem}
    if getattr(problem.estimator, "fresh", False):
        without = dataclasses.replace(problem, estimator=dataclasses.replace(problem.estimator, fresh=False))
        published = {"as published": without} | ({} if rival == "NumPy" else {"fresh": problem})
    made = {}
    for form, program in _forms(rival).get((problem.cell, problem.name), {}).items():
        for how, posed in published.items():
            made[", ".join(filter(None, (rival, form, how)))] = posed, program(posed)
    return made


def check(name, problem, program):
    """Run a program once; its losses must be those of our session: SystemExit otherwise.  Returns the difference."""
    ours, theirs = problem.session().run(problem.xs, problem.ys), program()
    difference = float(np.abs(ours - theirs)[:_CHECKED_STEPS].max())
    if not difference < _TOLERANCE:
        raise SystemExit(f"{name} does not compute the same: losses differ by {difference:.2g}")
    return difference
