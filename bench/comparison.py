"""Ours against the rivals: the cases of `bench.cases`, and a stream of single samples."""

import numpy as np

import rtrl
from bench import rivals
from bench.cases import CASES
from bench.limits import least_seconds
from bench.rivals.problem import pose
from bench.rounds import interleave
from bench.table import Row, named, row

__all__ = ["cases", "stream"]

_RUN_TARGET, _STEP_TARGET = 500.0, 40.0


def cases(rounds, threads, rates, chosen=CASES):
    """Rows of all cases, one after the other; rivals that are not installed are named once a case."""
    for case in chosen:
        yield from _case(case, rounds, threads, rates)


def _case(case, rounds, threads, rates):
    problem = pose(case.cell, case.hidden, case.ours[0], case.lanes, case.steps, threads=threads, **case.options)
    sessions = {named(each, case.cell, case.hidden, case.lanes): problem.session(each) for each in case.ours}
    programs, absent = {}, {}
    for rival in dict.fromkeys(rival for rival, _ in case.targets):
        absent[rival] = rivals.missing(rival)
        if not absent[rival]:
            programs[rival] = rivals.sides(rival, problem)
            for name, (posed, program) in programs[rival].items():
                rivals.check(name, posed, program)
    runs = {name: (lambda session=session: session.run(problem.xs, problem.ys)) for name, session in sessions.items()}
    theirs = {name: program for each in programs.values() for name, (_, program) in each.items()}
    taken = {name: seconds / case.steps for name, seconds in interleave(runs | theirs, rounds).items()}
    group = "against " + ", ".join(absent)
    for (rival, which), target in case.targets.items():
        if which >= len(sessions):
            continue
        ours = list(sessions)[which]
        if absent[rival]:
            yield Row(ours, rival, target=target, note=absent[rival], group=group)
            continue
        limit = least_seconds(sessions[ours], rates)
        best = min(programs[rival], key=lambda name: np.median(taken[name]))
        for name in programs[rival]:
            wanted = {"target": target} if name == best else {}
            yield row(ours, name, taken[ours], taken[name], limit=limit, group=group, **wanted)


def stream(rounds, rates, hidden=32, ids=10, steps=500):
    """Rows of a plain RNN, one lane, SGD at every step, gradient through that step: `run` and `step`."""
    names = ("run", "step")
    if rivals.missing("PyTorch"):
        note = rivals.missing("PyTorch")
        for name, target in zip(names, (_RUN_TARGET, _STEP_TARGET)):
            yield Row(name, "PyTorch", target=target, note=note, group="single samples")
        return
    from bench.rivals import torch_stream

    problem = pose("RNN", hidden, rtrl.TBPTT(1), 1, steps, optimizer=rtrl.SGD(0.1), ids=ids)
    loops = {f"PyTorch, {name}": form(problem) for name, form in torch_stream.FORMS.items()}
    for name, loop in loops.items():
        rivals.check(name, problem, loop)
    xs, ys = (each[:, 0].copy() for each in (problem.xs, problem.ys))
    sessions = [problem.session(rtrl.Immediate()) for _ in names]

    def steps_one_by_one():
        for x, y in zip(xs, ys):
            sessions[1].step(x, y)

    ours = dict(zip(names, (lambda: sessions[0].run(xs, ys), steps_one_by_one)))
    limit = least_seconds(sessions[0], rates)
    taken = {name: seconds / steps for name, seconds in interleave(ours | loops, rounds).items()}
    for name, target in zip(names, (_RUN_TARGET, _STEP_TARGET)):
        for rival in loops:
            wanted = {} if rival.endswith("by hand") else {"target": target}
            what = f"{name}, RNN {hidden} x 1, SGD"
            yield row(what, rival, taken[name], taken[rival], limit=limit, group="single samples", **wanted)
