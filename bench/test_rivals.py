"""Every program of every rival that is installed computes the losses of our session."""

import dataclasses

import pytest

import rtrl
from bench import rivals
from bench.cases import DIRECT
from bench.rivals.problem import pose

_TASKS = [
    ("RNN", DIRECT),
    ("RNN", rtrl.UORO()),
    ("RNN", rtrl.TBPTT(5)),
    ("RHN", DIRECT),
    ("RHN", rtrl.UORO()),
    ("RHN", rtrl.TBPTT(5)),
    ("GRU", rtrl.TBPTT(5)),
    ("LSTM", rtrl.TBPTT(5)),
]
_TAUGHT = [rtrl.RTRL(), rtrl.UORO(), DIRECT, rtrl.RFLO()]


def all_agree(rival, problem, count):
    programs = rivals.sides(rival, problem)
    assert len(programs) == count
    for name, (posed, program) in programs.items():
        rivals.check(name, posed, program)
        assert program().shape == (len(problem.xs),)


@pytest.mark.parametrize("rival", ["JAX", "PyTorch"])
@pytest.mark.parametrize(("cell", "estimator"), _TASKS, ids=lambda value: str(value))
def test_losses(rival, cell, estimator):
    if rivals.missing(rival):
        pytest.skip(rivals.missing(rival))
    problem = pose(cell, 12, estimator, 3, 20, optimizer=rtrl.Adam(1e-3))
    if (cell, problem.name) not in rivals.problems(rival):
        pytest.skip(f"{rival} has no {problem.name} for {cell}")
    all_agree(rival, problem, 1 if rival == "PyTorch" and problem.name == "TBPTT" and cell != "RHN" else 2)


@pytest.mark.parametrize("leak", [1.0, 0.5])
@pytest.mark.parametrize("estimator", _TAUGHT, ids=str)
def test_losses_of_numpy(estimator, leak):
    all_agree("NumPy", pose("RNN", 7, estimator, 1, 30, optimizer=rtrl.SGD(0.1), ids=5, leak=leak, dtype="float64"), 1)


def test_a_difference_is_refused():
    problem = pose("RNN", 7, dataclasses.replace(DIRECT, fresh=False), 1, 30, optimizer=rtrl.SGD(0.1), ids=5, dtype="float64")
    ((_, program),) = rivals.sides("NumPy", problem).values()
    program.W += 0.1
    with pytest.raises(SystemExit, match="does not compute the same"):
        rivals.check("this", problem, program)


@pytest.mark.parametrize("form", ["module", "functional", "by hand"])
def test_losses_of_the_stream(form):
    if rivals.missing("PyTorch"):
        pytest.skip(rivals.missing("PyTorch"))
    from bench.rivals import torch_stream

    problem = pose("RNN", 12, rtrl.TBPTT(1), 1, 30, optimizer=rtrl.SGD(0.1), ids=5)
    rivals.check(form, problem, torch_stream.FORMS[form](problem))
