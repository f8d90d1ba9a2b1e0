"""The noise study as runs: several seeds, long streams, steep and sparse nets, what is left out, and resuming."""

import dataclasses

import numpy as np
import pytest
from noise_runs import WORDS, one, result, runs, study

import rtrl
from rtrl.experiments.noise import cases, tables
from rtrl.experiments.noise import study as noise
from rtrl.experiments.perform import perform


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("noise") / "words.txt"
    path.write_text(WORDS)
    return str(path)


def test_several_seeds_are_one_line_and_swept_settings_are_not(text):
    results = [
        result(each) for seed in (0, 1) for gain in (1.0, 1.5) for each in runs(text, (rtrl.UORO(),), seed=seed, gain=gain)
    ]
    blocks = tables(results)
    titles = [block.title for block in blocks if not isinstance(block, str)]
    assert [title for title in titles if title.startswith("Relative variance against t")] == [
        "Relative variance against t, n = 6, untrained, gain 1.0",
        "Relative variance against t, n = 6, untrained, gain 1.5",
    ]
    both = [each.rows[-1]["relative_variance"] for each in results[::2]]
    assert float(blocks[0].cells[1][-1]) == pytest.approx(np.mean(both), rel=0.01)
    assert len(blocks[0].cells) == 2
    assert "seed 0, 1" in blocks[-1]
    unfinished = dataclasses.replace(results[0], rows=[], done=False)
    assert "1 of 5 runs have not come to their end" in tables([*results, unfinished])[-1]


# --- long streams and steep nets ----------------------------------------------------------------------------------------


def test_gain_makes_H_larger_and_the_noise_grow(text):
    """A contracting net keeps the noise bounded; far above 1 it goes on growing with time."""
    which, found = rtrl.KFRTRL(fresh=False), {}
    for gain in (1.0, 6.0):
        found[gain] = study(text, (which,), hidden=(16,), steps=200, samples=64, gain=gain)
    calm, steep = ([one(found[gain], which, t=t) for t in (10, 200)] for gain in (1.0, 6.0))
    assert all(row["spectral_norm"] < 1 for row in calm)
    assert all(row["spectral_norm"] > 1.5 for row in steep)
    assert calm[1]["relative_variance"] < 2 * calm[0]["relative_variance"]
    assert steep[1]["relative_variance"] > 4 * steep[0]["relative_variance"]


def test_lanes_that_go_another_way_have_no_number(text, monkeypatch):
    (settings,) = runs(text, (rtrl.KFRTRL(),))
    case = cases.make_case(settings.of_case, 0)
    parted = dataclasses.replace(case, hidden=case.hidden + np.array([0.01, 0.01, 0.01, 0.01, 0])[:, None])
    monkeypatch.setattr(noise, "make_case", lambda *told: parted)
    rows = result(settings).rows
    assert [row["relative_variance"] is None for row in rows] == [row["cosine"] is None for row in rows] == [True] * 4 + [False]


def test_exact_gradients_of_long_streams_lose_nothing(text):
    """After 1,000 steps backpropagation through all of them agrees with RTRL, which goes forward."""
    row = one(study(text, (rtrl.RTRL(),), steps=1000, gain=1.5), rtrl.RTRL(), t=1000)
    assert row["relative_variance"] < 1e-20


def test_sparse_nets_and_their_snap(text):
    found = study(text, (rtrl.SnAp(), rtrl.SnAp(2), rtrl.RTRL()), hidden=(16,), sparsity=0.8)
    first, second, exact = (one(found, each)["relative_variance"] for each in (rtrl.SnAp(), rtrl.SnAp(2), rtrl.RTRL()))
    assert exact < 1e-20 < second < 0.5 * first
    (refused,) = study(text, (rtrl.SnAp(2),))
    assert "needs a network with sparse recurrent weights" in refused["refused"]


def test_costly_estimators_are_left_out_unless_they_are_asked_for(text):
    def chosen(**changes):
        return {each.estimator for each in runs(text, **changes)}

    assert rtrl.RTRL() in chosen(hidden=(32,))
    assert not {rtrl.RTRL(), rtrl.SnAp(2)} & chosen(hidden=(33,))
    assert rtrl.SnAp(2) in chosen(sparsity=0.5)
    assert chosen(estimators=(rtrl.RTRL(),), hidden=(64,)) == {rtrl.RTRL()}


# --- resuming -----------------------------------------------------------------------------------------------------------


def test_a_stopped_run_is_resumed_bit_for_bit(tmp_path, text, monkeypatch):
    (settings,) = runs(text, (rtrl.KFRTRL(),))
    whole = perform(settings, tmp_path / "whole")
    window = noise.Noise.window

    def stopping(self, tell):
        if self.step == 5:
            raise KeyboardInterrupt
        return window(self, tell)

    monkeypatch.setattr(noise.Noise, "window", stopping)
    with pytest.raises(KeyboardInterrupt):
        perform(settings, tmp_path / "parts", every=0)
    monkeypatch.setattr(noise.Noise, "window", window)
    done = []
    monkeypatch.setattr(noise, "_samples", lambda *told, measure=noise._samples: done.append(told) or measure(*told))
    parts = perform(settings, tmp_path / "parts", resume=True, every=0)
    assert len(done) == cases.NETS - 5
    assert parts.done
    assert parts.rows == whole.rows
