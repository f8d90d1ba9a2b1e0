"""The noise study: what must hold of its numbers, and the command as a user runs it."""

import csv
import dataclasses
import io
import json
import sys

import numpy as np
import pytest
from noise_runs import WORDS, one, result, runs, study

import rtrl
from rtrl.cli import main
from rtrl.experiments import plots
from rtrl.experiments.noise import Settings, cases, draw
from rtrl.experiments.noise import settings as told
from rtrl.experiments.noise import study as noise

FIRST = {"hidden": 4, "steps": 6, "samples": 16, "estimator": rtrl.UORO()}  # what QUICK does first
SAMPLES = 50  # of each net in the study below
QUICK = ["experiment", "noise", "--hidden", "4,6", "--steps", "6", "--samples", "16", "--threads", "1"]
QUICK += ["--estimators", "UORO, KFRTRL, Immediate"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("noise") / "words.txt"
    path.write_text(WORDS)
    return str(path)


@pytest.fixture(scope="module")
def rows(text):
    """Every estimator that there is, on the smallest net on which noise can be told from its mean."""
    return study(text, samples=SAMPLES * cases.NETS)


def test_moments_are_round_and_end_with_the_last_step():
    assert Settings(steps=30).moments == (1, 2, 5, 10, 20, 30)
    assert Settings(steps=50).moments == (1, 2, 5, 10, 20, 50)
    assert Settings(steps=1).moments == (1,)


def test_exact_estimators_have_no_noise(rows, text):
    longer = study(text, estimators=(rtrl.TBPTT(12), rtrl.TBPTT(20, sliding=True), rtrl.RTRL(fresh=False)))
    exact = longer + [row for row in rows if row["kind"] == "exact"]
    assert {"RTRL", "RTRL(fresh=False)", "TBPTT(12)"} <= {row["estimator"] for row in exact}
    for row in exact:
        assert row["relative_variance"] < 1e-20
        assert row["mean_error"] < 1e-10
        assert row["cosine"] == pytest.approx(1, abs=1e-12)
        assert row["samples"] == cases.NETS


def test_unbiased_estimators_are_right_in_the_mean(rows):
    """|mean - exact|^2 is 1 / samples of the variance, and far more where there is a bias."""
    names = {row["estimator"] for row in rows if row["kind"] == "unbiased"}
    assert {"UORO", "UORO(fresh=False)", "KFRTRL", "KFRTRL(fresh=False)"} <= names
    for row in rows:
        excess = row["mean_error"] ** 2 * SAMPLES / max(row["relative_variance"], 1e-20)
        if row["kind"] == "unbiased":
            assert row["samples"] == SAMPLES * cases.NETS
            assert row["mean_error"] < 1e-10 or 0.2 < excess < 3, row
        elif row["estimator"] == "Immediate" and row["t"] > 1:
            assert excess == pytest.approx(SAMPLES)


def test_a_planted_bias_is_seen(text, monkeypatch):
    gradient = rtrl.Session.gradient
    monkeypatch.setattr(
        rtrl.Session,
        "gradient",
        lambda self: {name: value * (1.5 if self.batch_size > 1 else 1) for name, value in gradient(self).items()},
    )
    row = one(study(text, estimators=(rtrl.KFRTRL(),), samples=SAMPLES * cases.NETS), rtrl.KFRTRL())
    assert row["mean_error"] ** 2 * SAMPLES / row["relative_variance"] > 4


def test_order_of_estimators(rows):
    for fresh in (False, True):
        uoro, kfrtrl = one(rows, rtrl.UORO(fresh=fresh)), one(rows, rtrl.KFRTRL(fresh=fresh))
        assert uoro["relative_variance"] > 1.5 * kfrtrl["relative_variance"]
        assert uoro["cosine"] < kfrtrl["cosine"]
    for estimator in (rtrl.UORO, rtrl.KFRTRL):
        assert one(rows, estimator())["relative_variance"] < one(rows, estimator(fresh=False))["relative_variance"]
        assert one(rows, estimator(), t=1)["relative_variance"] < 1e-20
    assert one(rows, rtrl.Immediate(), t=1)["relative_variance"] < 1e-20
    assert one(rows, rtrl.TBPTT(5, sliding=True))["relative_variance"] < one(rows, rtrl.Immediate())["relative_variance"]


def test_ratio_grows_with_units_and_kfrtrl_stays(text):
    which = (rtrl.UORO(fresh=False), rtrl.KFRTRL(fresh=False))
    found = study(text, hidden=(6, 48), estimators=which, samples=64)
    small, large = ([one(found, each, hidden=n)["relative_variance"] for each in which] for n in (6, 48))
    assert 2.5 < (large[0] / large[1]) / (small[0] / small[1]) < 25
    assert 0.4 < large[1] / small[1] < 2.5


def test_nobacktrack_is_below_uoro_where_components_differ(text):
    which = (rtrl.UORO(fresh=False), rtrl.NoBackTrack(fresh=False))
    found = study(text, cell="lstm", hidden=(12,), steps=50, estimators=which, samples=256)
    uoro, nobacktrack = (one(found, each, t=50)["relative_variance"] for each in which)
    assert 0.5 < nobacktrack / uoro < 0.9  # docs/noise.md: 0.74 and 0.71 at n = 8 and 16


def test_blocks_are_far_less_noisy_on_a_trained_net(text):
    which = (rtrl.KFRTRL(), rtrl.OK(4), rtrl.BlockOK(4, 8))
    found = study(text, hidden=(16,), steps=50, estimators=which, samples=64, trained=("trained",))
    variances = [one(found, each, t=50)["relative_variance"] for each in which]
    assert variances[0] > 20 * variances[2]
    assert variances[0] > variances[1] > variances[2]


def test_one_step_noise_of_kfrtrl_is_its_closed_form(text):
    """2 |u| |A'| |h_hat| |D| + 2 <u, h_hat> <A', D>, times |delta|^2 for one unit: at t = 2, u and A' are known exactly."""
    (settings,) = runs(text, (rtrl.KFRTRL(fresh=False),), hidden=(1,), cell="rnn", steps=2, samples=8)
    case = cases.make_case(settings.of_case, 0)
    weights = case.network.parameters()["cell.0.weight"]
    first, second = np.zeros((2, weights.shape[1]))
    first[[1 + case.ids[0], -1]] = 1
    h = np.tanh(weights @ first)
    second[[1 + case.ids[1], -1]] = 1
    second[0] = h[0]
    D1, D2 = 1 - h[0] ** 2, 1 - np.tanh(weights @ second)[0] ** 2
    # After one step u (x) A = h_hat (x) D, and the product of the norms is what counts.
    A = D2 * weights[0, 0] * D1
    variance = 2 * abs(A) * D2 * np.linalg.norm(first) * np.linalg.norm(second) + 2 * (first @ second) * A * D2
    exact = A * first + D2 * second
    assert case.exact[1] == pytest.approx(case.deltas[1, 0] * exact, rel=1e-12)
    assert case.spectral_norms[1] == pytest.approx(abs(D2 * weights[0, 0]), rel=1e-12)
    # The noise is c1 c2 times a fixed vector: every sample has the same squared error.
    errors = noise._samples(settings, case, 0)["errors"][:, 1]
    assert errors == pytest.approx(np.full(len(errors), variance / (exact @ exact)), rel=1e-9)


def test_samples_and_seeds(text):
    row = one(study(text, estimators=(rtrl.KFRTRL(),), samples=3), rtrl.KFRTRL())
    assert row["samples"] == 3
    assert study(text, estimators=(rtrl.KFRTRL(),)) == study(text, estimators=(rtrl.KFRTRL(),), threads=2)
    other = one(study(text, estimators=(rtrl.KFRTRL(),), seed=1, samples=3), rtrl.KFRTRL())
    assert other["relative_variance"] != row["relative_variance"]
    assert one(study(text, estimators=(rtrl.KFRTRL(),), samples=1), rtrl.KFRTRL())["relative_variance_error"] is None


def test_trained_nets_are_other_nets(text, monkeypatch):
    monkeypatch.setattr(cases, "TRAINING", 200)
    cases.make_case.cache_clear()
    found = study(text, estimators=(rtrl.Immediate(), rtrl.RTRL()), trained=told.STATES, cell="lstm", hidden=(5,))
    before, after = (one(found, rtrl.Immediate(), trained=trained) for trained in told.STATES)
    assert before["cosine"] != after["cosine"]
    assert before["spectral_norm"] != after["spectral_norm"]
    assert one(found, rtrl.RTRL(), trained="trained")["relative_variance"] < 1e-18
    cases.make_case.cache_clear()


def test_what_a_net_cannot_have_is_reported(text, monkeypatch):
    start = rtrl.Session._start

    def refusing(self, threads):
        if isinstance(self.estimator, rtrl.RTRL):
            raise MemoryError("this needs 70 GiB")
        start(self, threads)

    monkeypatch.setattr(rtrl.Session, "_start", refusing)
    found = study(text, estimators=(rtrl.RTRL(), rtrl.UORO()))
    assert found[0]["estimator"] == "RTRL"
    assert found[0]["refused"] == "this needs 70 GiB"
    assert all("refused" not in row for row in found[1:])


# --- the command ------------------------------------------------------------------------------------------------------


def test_command_writes_lines_and_tables(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert main([*QUICK, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    for words in ("Relative variance against n, after 6 steps, untrained", "Cosine", "n = 6", "t = 5", "UORO / KFRTRL"):
        assert words in shown
    assert main([*QUICK, "--format", "json"]) == 0
    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    heads, rest = [each for each in lines if "study" in each], [each for each in lines if "study" not in each]
    # Those of one size follow each other, so that its nets are made once.
    assert [each["settings"]["hidden"] for each in heads] == [4, 4, 4, 6, 6, 6]
    assert [each["t"] for each in rest] == [1, 2, 5, 6] * 6
    assert all(isinstance(row["relative_variance"], float) for row in rest)
    files = {path.parent.name: list(map(json.loads, path.read_text().splitlines())) for path in out.glob("noise/*/rows.jsonl")}
    assert len(files) == 6
    assert files[Settings(**FIRST).name] == rest[:4]
    assert main([*QUICK, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["cosine"]) for row in table] == [row["cosine"] for row in rest]


def test_command_with_nothing_to_measure_fails(capsys):
    assert main(["experiment", "noise", "--hidden", "1000000", "--steps", "1", "--estimators", "RTRL"]) == 1
    assert "this needs " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME"),
        (["silence"], "silence"),
        (["noise", "--hidden", "4,,8"], "--hidden: a whole number is needed"),
        (["noise", "--hidden", "0"], "--hidden"),
        (["noise", "--steps", "0"], "--steps"),
        (["noise", "--samples", "few"], "--samples"),
        (["noise", "--estimators", "Guess"], "there is no estimator 'Guess'"),
        (["noise", "--cell", "mlp"], "--cell"),
        (["noise", "--gain", "-1"], "--gain"),
        (["noise", "--trained", "well"], "one of untrained, trained, both is needed"),
        (["noise", "--sweep", "hidden=4,x"], "hidden: a whole number is needed"),
    ],
)
def test_wrong_usage_is_status_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(["experiment", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_missing_matplotlib_is_said_before_the_work(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main([*QUICK, "--plot"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "pip install 'rtrl[plot]'" in shown.err
    assert shown.err.count("\n") == 1


def test_plot(tmp_path, text):
    which = (rtrl.Immediate(), rtrl.KFRTRL(fresh=False))
    results = [result(each) for each in runs(text, which, hidden=(4, 6))]
    refused = dataclasses.replace(results[0], rows=[{"kind": "exact", "refused": "too large"}])
    trained = [dataclasses.replace(each, settings={**each.settings, "trained": "trained"}) for each in results]
    assert len(draw([*results, refused, *trained]).axes) == 8
    figure = draw(results)
    plots.save(figure, tmp_path / "noise.png")
    assert (tmp_path / "noise.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [axes.get_xlabel() for axes in figure.axes] == ["hidden units n"] * 2 + ["time t (steps)"] * 2
    assert all(axes.get_ylabel() for axes in figure.axes)
    assert len(figure.legends[0].get_texts()) == len(which)
    curve = next(each for each in figure.axes[2].containers if each.get_label() == "KFRTRL(fresh=False) (unbiased)")
    expected = [row for row in results[-1].rows if row["relative_variance"] > 1e-9]
    assert list(curve.lines[0].get_xdata()) == [row["t"] for row in expected]
    assert list(curve.lines[0].get_ydata()) == [row["relative_variance"] for row in expected]
    assert draw([refused]).axes  # a figure, however empty
