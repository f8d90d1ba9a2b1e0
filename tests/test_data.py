"""Reading of texts and series, and lanes."""

import numpy as np
import pytest

from rtrl import data


def series_file(tmp_path, rows, header="time;x;y"):
    path = tmp_path / "series.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def waves(count=120, delimiter=";", comma=","):
    """Rows of a time, a slow and a fast wave, and the two waves."""
    slow, fast = np.sin(np.arange(count) / 9), -40.5 * np.cos(np.arange(count) / 3)
    rows = [f"{i}{delimiter}{slow[i]:.4f}{delimiter}{fast[i]:.4f}".replace(".", comma) for i in range(count)]
    return rows, slow, fast


# --- text -------------------------------------------------------------------------------------------------------------


def test_default_text_is_english_and_the_same_at_every_call():
    text = data.default_text()
    assert text == data.default_text()
    assert len(text) > 300_000
    assert text.count(" the ") > 2000


def test_default_text_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(ValueError, match="without pydoc_data"):
        data.default_text()


def test_encode_sorts_by_code_point_and_decodes():
    text = "caf\u00e9 \u03b1\U0001f600 cab"
    ids, vocabulary = data.encode(text)
    assert ids.dtype == np.int32
    assert vocabulary == "".join(sorted(set(text)))
    assert "".join(vocabulary[i] for i in ids) == text
    with pytest.raises(ValueError, match="empty"):
        data.encode("")


def test_read_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"one line\r\n" * 20)
    assert data.read_text(path) == "one line\n" * 20


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "nothing"), (b"short", "only 5 characters"), (b"a" * 200 + b"\xff", r"not text in UTF-8 \(byte 200\)")],
)
def test_read_text_refuses(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refusal:
        data.read_text(path)
    assert "text.txt" in str(refusal.value)


def test_read_text_unreadable(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.read_text(tmp_path / "none.txt")
    with pytest.raises(OSError, match="directory"):
        data.read_text(tmp_path)


# --- lanes ------------------------------------------------------------------------------------------------------------


def test_lanes_start_at_even_offsets_and_run_cyclically():
    xs, ys = data.lanes(np.arange(10), 3, 9)
    assert xs.shape == ys.shape == (9, 3)
    assert xs[0].tolist() == [0, 3, 6]
    assert ys.tolist() == ((xs + 1) % 10).tolist()
    assert xs[:, 2].tolist() == [6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert xs.dtype == np.arange(10).dtype


def test_lanes_make_one_pass_unless_told():
    xs, _ = data.lanes(np.arange(12), 4)
    assert sorted(xs.ravel()) == list(range(12))


def test_lanes_can_be_cut_anywhere():
    stream = np.arange(7.0)
    whole, parts = data.lanes(stream, 2, 30), [data.lanes(stream, 2, 10, first) for first in (0, 10, 20)]
    for side in (0, 1):
        np.testing.assert_array_equal(whole[side], np.concatenate([part[side] for part in parts]))


@pytest.mark.parametrize(
    "arguments", [(np.arange(1), 1), (np.zeros((3, 3)), 1), (np.arange(9), 0), (np.arange(9), 1, 0), (np.arange(9), 1, 1, -1)]
)
def test_lanes_refuse(arguments):
    with pytest.raises(ValueError, match="stream|batch_size|steps|first"):
        data.lanes(*arguments)


# --- series -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delimiter", "comma"), [(";", ","), (";", "."), ("\t", ","), ("|", "."), (",", ".")])
def test_series_in_every_dialect(tmp_path, delimiter, comma):
    rows, slow, fast = waves(delimiter=delimiter, comma=comma)
    path = series_file(tmp_path, rows, delimiter.join(["time", '"x"', "y"]))
    for column, expected in ((None, fast), ("y", fast), ("x", slow), ("2", slow), ("1", np.arange(120.0))):
        np.testing.assert_allclose(data.read_series(path, column, standardise=False), expected, atol=5e-5)


def test_series_without_header_with_blank_lines_and_exponents(tmp_path):
    rows = [f"{i}e-2" for i in range(110)]
    assert data.read_series(series_file(tmp_path, ["", *rows, "  ", ""], "+.5"), standardise=False).tolist() == [
        0.5,
        *(float(row) for row in rows),
    ]


def test_series_is_standardised_over_its_whole_length(tmp_path):
    rows, _, fast = waves()
    series = data.read_series(series_file(tmp_path, rows))
    np.testing.assert_allclose(series, (fast - fast.mean()) / fast.std(), atol=1e-5)
    huge = series_file(tmp_path, [f"{(-1) ** i * 1e308}" for i in range(100)], "y")
    np.testing.assert_allclose(np.abs(data.read_series(huge)), 1)


def test_series_unknown_column(tmp_path):
    path = series_file(tmp_path, waves()[0])
    for column in ("z", "4", "0", "-1"):
        with pytest.raises(ValueError, match=f"no column '{column}'; its columns are time, x, y"):
            data.read_series(path, column)


@pytest.mark.parametrize("cell", ["", "n/a", "nan", "inf", "1_000", "1,2,3", "1e999", "12:30"])
def test_series_bad_cell_is_named_with_its_line(tmp_path, cell):
    rows = waves()[0]
    rows[70] = f"70;{cell};1"
    with pytest.raises(ValueError, match=r"series.csv', line 72, column 2: ") as refusal:
        data.read_series(series_file(tmp_path, rows), "x")
    assert repr(cell) in str(refusal.value)


def test_series_row_too_short(tmp_path):
    rows = waves()[0]
    rows[3] = "3;1"
    with pytest.raises(ValueError, match="line 5, column 3: '' is not a number"):
        data.read_series(series_file(tmp_path, rows))


def test_decimal_comma_is_not_guessed_where_the_comma_separates(tmp_path):
    path = series_file(tmp_path, ['0,"1,5"'] * 100, "t,x")
    with pytest.raises(ValueError, match="line 2, column 2: '1,5' is not a number"):
        data.read_series(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("x\n1\n2\n", "only 2 numbers"),
        ("x\n" + "5\n" * 200, "constant"),
        ("x\n" + "0\n" * 200, "constant"),
    ],
)
def test_series_refuses(tmp_path, content, message):
    path = tmp_path / "series.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        data.read_series(path)
