"""The parts of the table: judgement, slopes, crossings, and small runs of every group."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rtrl
from bench import __main__, cases, comparison, crossing, limits, own, plots, rounds, scaling
from bench.cases import Case
from bench.table import Row, heading, judged, line, row
from bench.workloads import make, named, period


@pytest.fixture(scope="module")
def rates():
    """Invented ones: nothing is judged by them here."""
    return limits.Rates({"float32": 1e11, "float64": 5e10}, {1 << 18: 8e10, 1 << 28: 2e10})


@pytest.mark.parametrize(
    ("target", "most", "reached"), [(None, False, None), (1.9, False, True), (2.1, False, False), (2.1, True, True)]
)
def test_judgement(target, most, reached):
    once = row("ours", "theirs", np.array([1e-6, 2e-6]), np.array([2e-6, 4e-6]), target=target, most=most)
    assert once.ratio.median == 2
    assert once.reached is reached
    assert ("MISSED" in line(once)) == (reached is False)
    assert json.loads(json.dumps(once.plain()))["reached"] is reached


def test_what_was_not_measured_is_not_reached():
    absent = Row("ours", "theirs", target=2.0, note="not installed")
    assert absent.reached is None
    assert line(absent).endswith("not installed")
    assert judged([absent, Row("ours", "theirs")]) == (0, 0, 1)


def test_ratio_of_ourselves_is_a_price():
    assert row("dear", "cheap", np.array([3.0]), np.array([2.0]), inverse=True).ratio.median == 1.5


@pytest.mark.parametrize("power", [1.0, 2.5])
def test_slope(power):
    assert scaling.slope({size: 3 * size**power for size in (8, 16, 32, 64)}) == pytest.approx(power)


@pytest.mark.parametrize("estimator", [rtrl.UORO(), cases.DIRECT, rtrl.RTRL()], ids=str)
@pytest.mark.parametrize("lanes", [1, 3])
def test_crossing(estimator, lanes):
    (found,) = crossing.crossings("RHN", (64,), (lanes,), (estimator,))
    for which, horizon in enumerate((found.horizon, found.horizon_in_all)):
        size = (found.carried, found.total)[which]
        before, beyond = (crossing.bytes_of("RHN", 64, rtrl.TBPTT(T), lanes)[which] for T in (horizon - 2, horizon + 1))
        assert before < size < beyond  # to the step: cache lines are filled up


def test_every_case_is_possible():
    for case in cases.CASES:
        assert {rival for rival, _ in case.targets} <= {"JAX", "PyTorch", "NumPy"}
        if type(case.ours[0]) is rtrl.TBPTT:
            assert case.steps % case.ours[0].horizon == 0


def test_rows_of_a_case(rates):
    estimators = tuple(each for each in (cases.DIRECT, cases.blocked(8)) if each is not None)
    small = Case("RNN", 8, 1, estimators, {("NumPy", 0): 20.0, ("NumPy", 1): None}, 16, {"optimizer": rtrl.SGD(0.1), "ids": 5})
    rows = list(comparison.cases(1, 1, rates, [small]))
    assert len(rows) == len(estimators)
    assert rows[0].reached is not None
    assert heading(rows[0].group).strip().startswith("against NumPy")


def test_rows_of_the_stream(rates):
    rows = list(comparison.stream(1, rates, hidden=8, ids=5, steps=20))
    assert len({each.what for each in rows}) == 2


def test_cpu_time(monkeypatch):
    monkeypatch.setattr(rounds, "_clock", None)
    rounds.use_cpu_time()
    assert rounds.interleave({"sleep": lambda: time.sleep(0.01)}, 1, 0.0)["sleep"] < 0.005
    with pytest.raises(SystemExit):
        __main__.main(["--cpu-time"])


@pytest.mark.parametrize("most", [False, True])
def test_possible_ratio(most):
    known = row("ours", "theirs", np.array([4e-6]), np.array([3e-6]), inverse=most, most=most, limit=2e-6, target=1.0)
    assert known.possible == pytest.approx(2 / 3 if most else 3 / 2)
    assert f"{known.possible:.2f}" in line(known)
    assert json.loads(json.dumps(known.plain()))["possible"] == known.possible
    assert row("ours", "theirs", np.array([4e-6]), np.array([3e-6])).possible is None
    assert len(heading("group").splitlines()[1]) == len(line(known).removesuffix("reached").removesuffix("MISSED").rstrip())


def test_copies_of_several_threads():
    for size, threads in ((1 << 14, 1), (1 << 16, 1), (1 << 16, 2)):
        call, times = limits.copy_call(size, threads)
        call()
        assert times >= 1


def test_least_seconds(rates):
    session = make("RHN", 64, cases.DIRECT, 4)
    assert limits.least_seconds(session, rates) >= 4 * 4 * 64**3 / 1e11


def test_least_seconds_of_an_update(rates):
    often, seldom, plain = (
        limits.least_seconds(make("RHN", 64, rtrl.Immediate(), 4, update_every=every, optimizer=optimizer), rates)
        for every, optimizer in ((1, None), (10, None), (1, rtrl.SGD(0.1)))
    )
    size = make("RHN", 64, rtrl.Immediate(), 4).nbytes["weights"]
    adam, sgd = 2 * 4 * size / 2e10, 2 * 2 * size / 8e10  # more than 256 KiB, and less
    assert often - seldom == pytest.approx(0.9 * adam)
    assert often - plain == pytest.approx(adam - sgd)


def test_prices_name_everything_once():
    for wanted in own._prices().values():
        assert len(wanted) >= 1


def test_table_of_bytes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crossing.crossings, "__defaults__", ((8, 16), (1, 2), (rtrl.UORO(), rtrl.KFRTRL())))
    assert __main__.main(["--only", "memory", "--out", str(tmp_path)]) == 0
    assert "TBPTT(T) keeps more" in capsys.readouterr().out
    found = json.loads((tmp_path / "bench.json").read_text())
    assert len(found["memory"]) == 8
    assert plots.missing() or (tmp_path / "memory.png").stat().st_size > 0


def test_figure_of_costs(tmp_path):
    found = scaling.measure(1, hidden=(8, 16, 32), lanes=(1, 2), estimators=(rtrl.UORO(),))
    assert any("UORO" in text for text in scaling.lines(found))
    if not plots.missing():
        plots.cost(found, tmp_path / "cost.png")
        assert (tmp_path / "cost.png").stat().st_size > 0


def test_benchmarks_are_measured_by_the_step(tmp_path):
    """What pytest-benchmark shows and keeps is one step, in groups of one cell and size, however many steps a round has."""
    names = ["bench/test_step.py::test_step[RNN-UORO-n32-B1]", "bench/test_step.py::test_step[RNN-TBPTT25-n32-B1]"]
    names += ["bench/test_session.py::test_evaluate"]
    command = [sys.executable, "-m", "pytest", *names, "-p", "no:cacheprovider", "--benchmark-enable", "--benchmark-only"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, f"--benchmark-json={tmp_path / 'kept.json'}"],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
    )
    taken = time.perf_counter() - began
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    kept = {each["name"]: each for each in json.loads((tmp_path / "kept.json").read_text())["benchmarks"]}
    assert len(kept) == 3
    total = 0
    for each in kept.values():
        assert each["stats"]["median"] * 1e6 == pytest.approx(each["extra_info"]["us_per_step"])
        total += each["stats"]["total"] * each["extra_info"]["steps_per_round"]
    assert total < taken
    assert kept["test_step[RNN-TBPTT25-n32-B1]"]["extra_info"]["steps_per_round"] % 25 == 0
    assert {each["group"] for each in kept.values()} == {"RNN  32 units,  1 lane", "calls of a small network"}
    (columns,) = {" ".join(line.split()) for line in done.stdout.splitlines() if line.startswith("Name (")}
    assert columns == "Name (time in us) Min Median IQR"
    shown = re.search(r"^step\[RNN-UORO-n32-B1\] +[\d.,]+ \([\d.]+\) +([\d.,]+) ", done.stdout, re.M)[1].replace(",", "")
    assert float(shown) == pytest.approx(kept["test_step[RNN-UORO-n32-B1]"]["extra_info"]["us_per_step"], abs=1e-4)


def test_costs_repeat():
    """Rounds are whole windows, blocks and intervals between updates."""
    found = {
        str(estimator): period(make("RHN", 128, estimator, 16, update_every=every))
        for estimator, every in (
            (rtrl.UORO(), None),
            (rtrl.UORO(8), 3),
            (rtrl.TBPTT(25), None),
            (rtrl.BlockOK(4, 8), None),
            (rtrl.KFRTRL(), None),
            (rtrl.KFRTRL(block=1), 2),
        )
    }
    assert list(found.values()) == [1, 24, 25, 8, 8, 2]


def test_groups_come_by_size():
    names = [named(make("RNN", hidden, rtrl.UORO(), lanes)) for hidden in (32, 128) for lanes in (1, 16)]
    assert (
        names
        == sorted(names)
        == ["RNN  32 units,  1 lane", "RNN  32 units, 16 lanes", "RNN 128 units,  1 lane", "RNN 128 units, 16 lanes"]
    )
