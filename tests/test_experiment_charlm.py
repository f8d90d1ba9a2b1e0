"""Language modelling: the texts and their conventions, and the command at a tiny size."""

from dataclasses import replace

import numpy as np
import pytest

import rtrl
from rtrl.cli import main
from rtrl.experiments import charlm, corpus, perform
from rtrl.experiments.store import read_results

WORDS = " the quick brown <unk> jumps over the lazy dog \n a stitch in time saves N \n" * 40


@pytest.fixture
def files(tmp_path):
    for name, count in (("train", 1), ("valid", 2), ("test", 4)):
        (tmp_path / name).write_text(WORDS[: len(WORDS) // count], encoding="utf-8")
    return [str(tmp_path / name) for name in ("train", "valid", "test")]


def options(files, **changes):
    told = {"text": files[0], "valid": files[1], "test": files[2], "hidden": 16, "batch_size": 4, "lr": 1e-2, "window": 50}
    return charlm.Settings(**{"estimator": rtrl.BlockOK(2, 4), "steps": 400, "validate_every": 100, **told, **changes})


def test_conventions(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(" caf\u00e9 <unk> b \n c\r\n".encode() * 20)
    for convention, beginning, length in (
        ("text", " caf\u00e9 <unk> b \n c\n", 18),
        ("bytes", " caf\u00c3\u00a9 <unk> b \n c\r\n", 20),
        ("mikolov", "caf\u00e9_<unk>_b\nc\n", 15),
    ):
        texts = corpus.read(convention, path, path, path)
        ids, vocabulary = rtrl.data.encode(beginning)
        assert len(texts.train) == len(texts.valid) == len(texts.test) == 20 * length
        assert texts.classes == len(vocabulary)
        np.testing.assert_array_equal(texts.train[: len(ids)], ids)


def test_the_last_tenth_is_held_out(files):
    whole = corpus.read("text", files[0])
    ids, vocabulary = rtrl.data.encode(WORDS)
    np.testing.assert_array_equal(np.concatenate([whole.train, whole.valid]), ids)
    assert len(whole.valid) == len(ids) // 10
    assert whole.test is None
    assert whole.classes == len(vocabulary)


def test_one_alphabet_for_all_texts(files, tmp_path):
    (tmp_path / "other").write_text("XYZ" + WORDS, encoding="utf-8")
    assert corpus.read("text", files[0], tmp_path / "other").classes == corpus.read("text", files[0], files[1]).classes + 3


def test_learning_is_seen_in_held_out_text(files, tmp_path):
    result = perform.perform(options(files), tmp_path)
    assert [row["step"] for row in result.rows] == list(range(50, 401, 50))
    valid = {row["step"]: row["valid"] for row in result.rows if "valid" in row}
    assert list(valid) == [100, 200, 300, 400]
    assert valid[400] < 0.75 * np.log2(corpus.read("text", files[0]).classes)
    for way in ("", "_reset"):
        best = np.inf
        for row in result.rows:
            if "valid" + way in row:
                assert ("test" + way in row) == (row["valid" + way] < best)
                best = min(best, row["valid" + way])


def test_the_held_out_text_is_only_looked_at(files, tmp_path):
    often, once = (perform.perform(options(files, validate_every=every), tmp_path) for every in (50, 400))
    assert [row["bits"] for row in often.rows] == [row["bits"] for row in once.rows]
    assert often.rows[-1]["valid"] == once.rows[-1]["valid"]


def test_bits_of_held_out_text_are_those_of_a_session(files):
    run = options(files).start()
    ids = run._texts.valid
    session = rtrl.Session(run.session.network, rtrl.Immediate(), batch_size=4)
    assert run._bits_of(ids) == pytest.approx(session.evaluate(*rtrl.data.lanes(ids, 4)) / np.log(2), rel=1e-12)
    assert run._bits_of(ids) == pytest.approx(np.log2(run._texts.classes), rel=0.05)


def test_reading_with_resets_is_reading_pieces_of_that_length(files):
    run = options(files, reset_every=10, batch_size=1, steps=200).start()
    run.window(lambda step: None)
    ids = run._texts.valid
    session = rtrl.Session(run.session.network, rtrl.Immediate())
    xs, ys = rtrl.data.lanes(ids, 1)
    losses = []
    for first in range(0, len(xs), 10):
        session.reset()
        losses.append(session.evaluate(xs[first : first + 10], ys[first : first + 10]) * len(xs[first : first + 10]))
    assert run._bits_of(ids, "_reset") == pytest.approx(sum(losses) / len(xs) / np.log(2), rel=1e-6)
    assert abs(run._bits_of(ids, "_reset") - run._bits_of(ids)) > 1e-4


def test_nets_that_learn_without_resets_are_read_without(files, tmp_path):
    result = perform.perform(options(files, reset_every=0), tmp_path)
    assert not any(key.endswith("_reset") for row in result.rows for key in row)
    assert len(charlm.tables([result])) == 4


def test_stopped_and_resumed_anywhere(files, tmp_path):
    whole = perform.perform(options(files), tmp_path / "whole")
    for steps in (50, 150, 400):
        parts = perform.perform(options(files, steps=steps), tmp_path / "parts", resume=True)
    # A run that ends between two looks takes one more look, at its end.
    looks = dict.fromkeys(("valid", "test", "valid_reset", "test_reset"), 0)
    assert [row | looks for row in parts.rows] == [row | looks for row in whole.rows]
    assert parts.rows[-1] == whole.rows[-1]


def test_results_of_another_text_do_not_stand_beside_new_ones(files, tmp_path):
    out = tmp_path / "out"
    perform.perform(options(files, steps=100), out)
    with open(files[2], "a", encoding="utf-8") as file:
        file.write("more")
    with pytest.raises(ValueError, match="cannot be resumed: the texts are not those that the run began with"):
        perform.perform(options(files, steps=100), out, resume=True)


def test_command(files, tmp_path, capsys):
    arguments = [
        "experiment",
        "charlm",
        "--hidden",
        "8",
        "--batch",
        "4",
        "--steps",
        "200",
        "--window",
        "100",
        "--validate",
        "100",
    ]
    texts = ["--text", files[0], "--valid", files[1], "--test", files[2], "--convention", "mikolov", "--reset", "20"]
    out = tmp_path / "out"
    assert main([*arguments, *texts, "--estimators", "TBPTT(5), UORO", "--out", str(out), "--plot"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "while learning",
        "read straight through",
        "read with resets",
        "test text",
        "TBPTT(5)",
        "UORO",
        "convention mikolov",
    ):
        assert words in shown
    assert (out / "charlm.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    figure = charlm.draw(read_results(out))
    assert figure.axes[0].get_ylabel() == "bits per character, held-out text"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": None}, "needs one to learn"),
        ({"text": "nowhere/at/all"}, "nowhere/at/all"),
        ({"validate_every": 75}, "--validate must be a multiple of --window"),
    ],
)
def test_bad_input_is_refused(files, tmp_path, changes, words):
    with pytest.raises((ValueError, OSError), match=words):
        perform.perform(replace(options(files), **changes), tmp_path)
