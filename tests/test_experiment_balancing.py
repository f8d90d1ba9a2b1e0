"""Influence balancing: theta against the formulas, who reaches -1/6 and who runs away, going on after a file, refusals."""

import numpy as np
import pytest

import rtrl
from rtrl.cli import main
from rtrl.experiments import perform
from rtrl.experiments.balancing import problem as balancing
from rtrl.experiments.balancing import study
from rtrl.experiments.balancing.problem import Balancing, arrival, influence_within
from rtrl.experiments.store import read_results

OPTIMUM = -1 / 6
SLOW = rtrl.SGD(1e-5)


def by_hand(steps, lr, horizon=None, sliding=False):
    """theta after each step by the formulas; without a horizon with the whole influence."""
    A = 0.5 * (np.eye(23) + np.eye(23, k=1))
    signs = np.repeat([1.0, -1.0], [10, 13])
    powers = np.array([(np.linalg.matrix_power(A, lag) @ signs)[0] for lag in range(steps)])
    s, theta, credit, thetas = np.ones(23), 0.5, 0.0, []
    for t in range(steps):
        s = A @ s + theta * signs
        # Block windows count the step that sets the state, which theta does not reach.
        place = t if horizon is None else (t + 1) % horizon
        reach = t + 1 if horizon is None else min(t + 1, horizon if sliding else place + 1)
        credit += (s[0] - 1) * powers[:reach].sum()
        if horizon is None or sliding or place == horizon - 1:
            theta, credit = theta - lr * credit, 0.0
        thetas.append(theta)
    return np.array(thetas)


@pytest.mark.parametrize(
    ("estimator", "window"),
    [
        (rtrl.RTRL(), {}),
        (rtrl.RTRL(fresh=False), {}),
        (rtrl.BlockOK(1, 400), {}),
        (rtrl.TBPTT(7), {"horizon": 7}),
        (rtrl.TBPTT(120), {"horizon": 120}),
        (rtrl.TBPTT(30, True), {"horizon": 30, "sliding": True}),
        (rtrl.TBPTT(60, True), {"horizon": 60, "sliding": True}),
        (rtrl.Immediate(), {"horizon": 1}),
        (rtrl.RFLO(), {"horizon": 1}),
    ],
    ids=repr,
)
def test_theta_by_hand(estimator, window):
    run, expected = Balancing.start(estimator), by_hand(300, 1e-4, **window)
    np.testing.assert_allclose(np.concatenate([run.advance(1), run.advance(299)]), expected, rtol=1e-10)
    assert run.theta == pytest.approx(expected[-1], rel=1e-10) and run.step == 300
    assert abs(expected[-1] - 0.5) > 1e-2


def test_only_theta_is_learned():
    run = Balancing.start(rtrl.KFRTRL(), SLOW)
    np.testing.assert_array_equal(run.session.hidden, np.ones((1, 23)))
    before = run.session.network.parameters()["cell.0.weight"].copy()
    assert run.session.influence()["cell.0.weight"].any() and run.optimum == pytest.approx(OPTIMUM)
    assert len(run.advance(50)) == 50
    after = run.session.network.parameters()["cell.0.weight"]
    changed = (before != after).all(axis=0)
    assert changed.nonzero()[0].tolist() == [23] and (before == after)[:, ~changed].all()
    np.testing.assert_array_equal(np.abs(after[:, 23]), np.full(23, abs(run.theta)))


def test_theta_has_no_influence_at_first():
    run = Balancing.start(rtrl.RTRL())
    G = run.session.influence()["cell.0.weight"][0, :, :, 23]
    assert not G.any()
    run.advance(1)
    np.testing.assert_allclose(run.session.influence()["cell.0.weight"][0, :, :, 23], np.eye(23), atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("estimator", "optimizer", "most"),
    [
        (rtrl.RTRL(), None, 1500),
        (rtrl.TBPTT(50, True), None, 2000),
        (rtrl.TBPTT(100, True), None, 1500),
        (rtrl.TBPTT(150), None, 12000),
        (rtrl.TBPTT(200), None, 9000),
        (rtrl.OK(2), None, 2500),
        (rtrl.BlockOK(2, 4), None, 2500),
        (rtrl.UORO(), SLOW, 12000),
        (rtrl.NoBackTrack(), SLOW, 12000),
        (rtrl.KFRTRL(), SLOW, 15000),
    ],
    ids=repr,
)
def test_who_gets_there(estimator, optimizer, most, seed):
    run = Balancing.start(estimator, optimizer, seed=seed)
    steps = arrival(run.advance(most), run.optimum)
    assert steps is not None and 500 < steps < most and not run.away


@pytest.mark.parametrize(
    "estimator",
    [
        rtrl.Immediate(),
        rtrl.SnAp(),
        rtrl.RFLO(),
        *map(rtrl.TBPTT, (1, 5, 10, 30, 50)),
        rtrl.TBPTT(10, True),
        rtrl.TBPTT(30, True),
    ],
    ids=repr,
)
def test_who_runs_away(estimator):
    run = Balancing.start(estimator)
    thetas = run.advance(10000)
    assert run.away and thetas[-1] > 100 and (np.abs(thetas[:-1]) <= 100).all()
    assert (np.diff(thetas[500:]) >= 0).all()  # by then the state has forgotten where it began
    assert run.step == len(thetas) and run.advance(10).size == 0 and arrival(thetas, run.optimum) is None


def test_influence_within():
    """Its sign decides: the whole of it is -6, windows of 41 steps and blocks of 110 are the first that have it right."""
    assert influence_within(1) == influence_within(1, sliding=True) == 1
    assert influence_within(1000, sliding=True) == pytest.approx(-6)
    assert influence_within(3) == 2 and influence_within(3, sliding=True) == 3
    for sliding, first in ((True, 41), (False, 110)):
        seen = np.array([influence_within(horizon, sliding=sliding) for horizon in range(1, 200)])
        assert (seen[: first - 1] > 0).all() and (seen[first - 1 :] < 0).all(), seen
    assert influence_within(1000, sliding=True, units=5, plus=4) == pytest.approx(6)


@pytest.mark.parametrize("estimator", [rtrl.KFRTRL(), rtrl.TBPTT(7), rtrl.BlockOK(2, 4)], ids=repr)
def test_going_on(estimator, tmp_path):
    whole, cut = (Balancing.start(estimator, rtrl.Adam(1e-3), seed=3) for _ in range(2))
    first = cut.advance(33)
    cut.session.save(tmp_path / "run")
    again = Balancing(rtrl.Session.load(tmp_path / "run"))
    assert again.step == 33 and again.theta == cut.theta
    np.testing.assert_array_equal(np.concatenate([first, again.advance(44)]), whole.advance(77))


def test_other_sizes_and_optimizers():
    run = Balancing.start(rtrl.RTRL(), rtrl.Adam(1e-3), units=6, plus=4, theta=0.0)
    thetas = run.advance(3000)
    assert run.optimum == 0.25 and arrival(thetas, run.optimum) is not None


def test_arrival():
    assert arrival([0.5, 0.1, 0.0, 0.0], 0.0) == 3
    assert arrival([0.0, 0.5, 0.0], 0.0) == 3
    assert arrival([0.0, 0.0], 0.0) == 1
    assert arrival([0.0, 0.5], 0.0) is None and arrival([np.nan], 0.0) is None and arrival([], 0.0) is None
    assert arrival([0.5, 0.2], 0.0, tolerance=0.3) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(plus=0), "plus"),
        (dict(plus=23), "plus must be below units"),
        (dict(units=6, plus=3), "half"),
        (dict(units=0), "units"),
        (dict(units=10**7), "units"),
        (dict(theta=np.nan), "theta must be within"),
        (dict(theta=101.0), "theta must be within"),
        (dict(optimizer=rtrl.SGD(1e-4, weight_decay=0.1)), "weight_decay"),
    ],
    ids=repr,
)
def test_refusals(options, says):
    with pytest.raises(ValueError, match=says):
        Balancing.start(rtrl.RTRL(), **options)


def test_kinds():
    for options in (dict(theta="0.5"), dict(theta=None), dict(theta=True), dict(units=5.5), dict(optimizer=0.1)):
        with pytest.raises(TypeError):
            Balancing.start(rtrl.RTRL(), **options)


def test_sessions_of_something_else():
    run = Balancing.start(rtrl.RTRL())
    with pytest.raises(ValueError, match="plus=9"):
        Balancing(run.session, plus=9)
    for steps in (0, -1):
        with pytest.raises(ValueError, match="steps"):
            run.advance(steps)
    assert run.step == 0
    net = rtrl.Network(rtrl.RNN(23), 2)
    with pytest.raises(ValueError, match="linear"):
        Balancing(rtrl.Session(net, rtrl.RTRL(), rtrl.SGD(0.1)))
    with pytest.raises(ValueError, match="one lane"):
        Balancing(rtrl.Session(run.session.network, rtrl.RTRL(), rtrl.SGD(0.1), batch_size=2))
    assert balancing.AWAY == 100


# --- the command ------------------------------------------------------------------------------------------------------

WHO = "RTRL, OK(2), TBPTT(10), TBPTT(100, sliding=True)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("balancing")
    command = ["experiment", "influence-balancing", "--lr", "1e-4", "--steps", "4000", "--window", "1000"]
    assert main([*command, "--estimators", WHO, "--out", str(out), "--plot"]) == 0
    return out


def test_command_tells_who_arrives_and_who_runs_away(folder):
    last = {each.settings["estimator"]: each.rows[-1] for each in read_results(folder)}
    for name in ("RTRL", "OK(2)", "TBPTT(100, sliding=True)"):
        assert last[name]["theta"] == pytest.approx(OPTIMUM, abs=1e-3)
        assert last[name]["outside"] < 3000
    assert last["TBPTT(10)"]["away"]
    assert last["TBPTT(10)"]["step"] < 4000
    assert last["TBPTT(10)"]["theta"] > 100
    table, _ = study.tables(read_results(folder))
    lines = {line[0]: line[1:] for line in table.cells}
    assert lines["RTRL"][2] == "1"
    assert lines["TBPTT(10)"][4] == "1"
    assert (folder / "influence-balancing.png").read_bytes()[:4] == b"\x89PNG"


def test_figure_has_a_panel_for_each_fate(folder):
    arrived, away = study.draw(read_results(folder)).axes
    assert {text.get_text() for text in away.get_legend().get_texts()} == {"TBPTT(10)"}
    assert {text.get_text() for text in arrived.get_legend().get_texts()} >= {"RTRL", "OK(2)", "best theta, -1/6"}
    assert arrived.get_xlabel() == away.get_xlabel() == "time steps"


def test_outside_is_the_step_before_arrival(tmp_path):
    run = Balancing.start(rtrl.RTRL(), rtrl.SGD(1e-4))
    thetas = run.advance(2000)
    last = perform.perform(study.Settings(estimator=rtrl.RTRL(), steps=2000), tmp_path).rows[-1]
    assert last["outside"] + 1 == arrival(thetas, OPTIMUM)
    assert last["theta"] == thetas[-1]


@pytest.mark.parametrize("estimator", [rtrl.UORO(), rtrl.TBPTT(10)])
def test_stopped_and_resumed_anywhere(tmp_path, estimator):
    told = {"estimator": estimator, "window": 500}
    whole = perform.perform(study.Settings(steps=4000, **told), tmp_path / "whole")
    for steps in (500, 2000, 4000):
        parts = perform.perform(study.Settings(steps=steps, **told), tmp_path / "parts", resume=True)
    assert parts.rows == whole.rows


def test_rates_are_those_of_the_paper():
    assert study.Settings(estimator=rtrl.UORO()).rate == 1e-5
    assert study.Settings(estimator=rtrl.RTRL()).rate == study.Settings(estimator=rtrl.SnAp()).rate == 1e-4
    assert study.Settings(estimator=rtrl.UORO(), lr=3e-5).rate == 3e-5
