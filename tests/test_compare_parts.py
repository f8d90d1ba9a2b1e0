"""Parts of the comparison: specs from text, settings, tasks, reports, progress."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

import rtrl
from rtrl import cells, data, estimators
from rtrl.comparison import Settings, Task, compare, report
from rtrl.comparison.progress import Progress
from rtrl.comparison.settings import ESTIMATORS, REFERENCE
from rtrl.comparison.specs import parse, parse_list

SMALL = Settings(cell=rtrl.RHN(8), batch_size=4, steps=200)


@pytest.fixture(scope="module")
def task():
    ids, vocabulary = data.encode("the quick brown fox jumps over the lazy dog; " * 40)
    return Task("words", ids, len(vocabulary))


@pytest.fixture(scope="module")
def series():
    values = np.sin(np.arange(400) / 5)
    return Task("waves", (values - values.mean()) / values.std(), 0)


@pytest.fixture(scope="module")
def result(task):
    return compare(SMALL, task)


# --- specs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*ESTIMATORS, rtrl.TBPTT(7, sliding=True), rtrl.KFRTRL(fresh=False)])
def test_short_and_full_code_are_read_back(spec):
    assert parse(str(spec), estimators.Estimator) == parse(repr(spec), estimators.Estimator) == spec


def test_str_shows_only_options_that_differ_from_their_defaults():
    short = "TBPTT(1)|UORO|UORO(horizon=8)|NoBackTrack('kalman')|KFRTRL(average=4)|BlockOK(4, 8)|RTRL".split("|")
    assert [each for each in map(str, ESTIMATORS) if each in short] == short
    assert str(rtrl.TBPTT(7, sliding=True)) == "TBPTT(7, sliding=True)"
    assert f"{rtrl.RNN(4, leak=0.5)}, {rtrl.RNN(4, 'relu')}, {rtrl.RHN(4)}" == "RNN(4, leak=0.5), RNN(4, 'relu'), RHN(4)"
    assert str(rtrl.Adam(1e-3, clip_norm=1)) == "Adam(0.001, clip_norm=1.0)"
    assert repr(rtrl.RHN(4)) == "RHN(hidden=4, depth=1)"


def test_lists_split_outside_parentheses_and_drop_repetitions():
    assert parse_list("UORO, TBPTT(3, sliding=True) ,UORO(),TBPTT(3)", estimators.Estimator) == (
        rtrl.UORO(),
        rtrl.TBPTT(3, sliding=True),
        rtrl.TBPTT(3),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Nonsense", "no estimator 'Nonsense'; there are BlockOK, DNI, Immediate, KeRNL, KFRTRL, NoBackTrack, OK"),
        ("Estimator", "no estimator 'Estimator'"),
        ("RNN(3)", "no estimator 'RNN'"),
        ("dataclass", "no estimator 'dataclass'"),
        ("__getattr__", "no estimator '__getattr__'"),
        ("TBPTT", "horizon"),
        ("TBPTT(0)", "horizon must be between 1"),
        ("UORO(width=3)", "width"),
        ("TBPTT(25", "not a name with options"),
        ("TBPTT(open('x'))", "not a name with options"),
        ("TBPTT(*[1])", "not a name with options"),
        ("os.system", "not a name with options"),
        ("", "at least one name"),
        (" , ", "at least one name"),
    ],
)
def test_bad_estimators(text, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("*", r"\*")):
        parse_list(text, estimators.Estimator)


def test_cells_are_read_too():
    assert parse("LSTM(hidden=3)", cells.Cell) == rtrl.LSTM(3)


# --- settings and task ------------------------------------------------------------------------------------------------


def test_rates_give_all_estimators_the_same_path():
    settings = Settings(lr=1e-3)
    assert settings.rate(rtrl.KFRTRL()) == settings.rate(rtrl.TBPTT(9, sliding=True)) == 1e-3
    assert settings.rate(rtrl.TBPTT(5)) == pytest.approx(5e-3)
    assert settings.rate(rtrl.TBPTT(500)) == 0.02
    assert Settings(lr=0.1).rate(rtrl.TBPTT(5)) == 0.1


def test_resets_are_staggered_and_cut_anywhere():
    settings = dataclasses.replace(SMALL, batch_size=5, reset_every=20)
    mask = settings.resets(100)
    assert mask.sum(axis=0).tolist() == [5] * 5
    assert mask.sum(axis=1).max() == 1
    np.testing.assert_array_equal(mask[33:77], settings.resets(44, 33))
    assert dataclasses.replace(settings, reset_every=0).resets(10) is None


def test_reference_is_tbptt_25_or_the_first():
    assert Settings().reference == REFERENCE == rtrl.TBPTT(25)
    assert Settings(estimators=(rtrl.UORO(), rtrl.RTRL())).reference == rtrl.UORO()


@pytest.mark.parametrize("cell", [rtrl.RHN(6, 2), rtrl.LSTM(7), rtrl.GRU(5)])
def test_exact_influence_bytes_match_the_engine(cell, task):
    settings = dataclasses.replace(SMALL, cell=cell)
    counted = settings.session(task, rtrl.RTRL()).nbytes["influence"]
    states = settings.batch_size * cell.hidden * settings.network(task).compiled_cell().k
    padding = 32 * states * settings.network(task).dtype.itemsize * getattr(cell, "depth", 1)
    assert 0 <= counted - settings.exact_influence_bytes(task) < padding


def test_score_and_references_of_a_text(task):
    assert task.score([np.log(2), np.log(8)]) == pytest.approx(2.0)
    xs = np.array([[0, 1], [2, 3]])
    assert list(task.references(xs, xs).values()) == [pytest.approx(2.0)]


def test_score_and_references_of_a_series(series):
    assert series.score([0.25, 0.75]) == pytest.approx(1.0)
    xs, ys = series.batch(2, 200)
    assert xs.shape == ys.shape == (200, 2, 1)
    last, mean = series.references(xs, ys).values()
    assert last == pytest.approx(np.mean((ys - xs) ** 2))
    assert mean == pytest.approx(1.0)


# --- reports ----------------------------------------------------------------------------------------------------------


def test_json_holds_everything(result):
    assert json.loads(report.render(result, "json")) == result


def test_csv_has_one_line_an_estimator_with_all_settings(result):
    text = report.render(result, "csv")
    header = text.splitlines()[0].split(",")
    assert len(header) == len(set(header))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [each["estimator"] for each in lines] == [each["estimator"] for each in result["rows"]]
    assert {each["cell"] for each in lines} == {"RHN(hidden=8, depth=1)"}
    assert {each["environment rtrl"] for each in lines} == {rtrl.__version__}
    assert float(lines[3]["score"]) == result["rows"][3]["score"]


def test_table_is_aligned_and_fits(result):
    lines = report.render(result, "table").splitlines()
    rule = next(i for i, line in enumerate(lines) if set(line) == {"-"})
    body = lines[rule - 2 : rule] + lines[rule + 1 : rule + 1 + len(ESTIMATORS)]
    ends = {len(line) for line in body}
    assert ends == {len(lines[rule])}
    assert max(map(len, lines)) <= 125
    assert [line[: line.index("  ")] for line in body[2:]] == [str(each) for each in ESTIMATORS]
    assert "rate 0.0003, gradient clipped to norm 1; NoBackTrack('kalman'): Kalman, learning rate 0.0001" in lines[3]
    assert any("unigram entropy" in line for line in lines)


def test_table_shows_what_is_missing_as_dashes(result):
    missing = dict.fromkeys(("score", "us_per_step", "peak_bytes", "peak_growth_bytes"))
    gaps = [{**each, **missing} for each in result["rows"]]
    table = report.render({**result, "rows": gaps, "notes": ["No number."]}, "table")
    line = next(line for line in table.splitlines() if line.startswith("UORO"))
    assert line.split()[2] == "-" == line.split()[-1]
    assert table.endswith("\n- No number.\n")


# --- progress ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_redraws_on_a_terminal_and_leaves_it_clean():
    stream = Terminal()
    progress = Progress(stream)
    for i in range(1000):
        progress.show(f"step {i}")
    progress.clear()
    assert stream.getvalue() == "\r\x1b[2Kstep 0\r\x1b[2K"


def test_a_message_that_does_not_fit_leaves_no_line_behind(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    stream = Terminal()
    Progress(stream).show("a message of many letters")
    assert stream.getvalue() == "\r\x1b[2Ka message"


def test_a_line_that_is_said_stays():
    for stream, expected in ((Terminal(), "\r\x1b[2Kone\r\x1b[2Ktwo\n"), (io.StringIO(), "two\n")):
        progress = Progress(stream)
        progress.show("one")
        progress.say("two")
        assert stream.getvalue() == expected
    Progress().say("nowhere")


def test_progress_elsewhere_is_whole_lines_now_and_then(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("rtrl.comparison.progress.time.perf_counter", lambda: clock[0])
    stream = io.StringIO()
    progress = Progress(stream)
    for second in range(25):
        clock[0] = second
        progress.show(f"second {second}")
    progress.clear()
    assert stream.getvalue() == "second 10\nsecond 20\n"
