"""Reading of texts and series, and lanes."""

import gzip

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


# --- files as people have them ----------------------------------------------------------------------------------------

VALUES = 20 + 5 * np.sin(np.arange(120) / 5)
COMMAS = [f"{value:.2f}".replace(".", ",") for value in VALUES]
DAYS = [f"2020-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(120)]


def written(tmp_path, lines, encode=lambda text: text.encode(), end="\n"):
    path = tmp_path / "t.csv"
    path.write_bytes(encode(end.join(lines) + end))
    return path


READ = {
    "one column with decimal commas": (["temp", *COMMAS], None),
    "one column, the first number whole": (["20", *COMMAS[1:]], None),
    "a comment, then a header": (["# station 12", "", "day;temp", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], "temp"),
    "comments in between": (["day;temp", "# a pause", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None),
    "Excel's sep line": (["sep=;", "day;temp", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None),
    "Excel's sep line, comma": (["sep=,", *(f"{value:.2f},7" for value in VALUES)], "1"),
    "delimiters at the ends": (["day;temp;", *(f"{i};{cell};" for i, cell in enumerate(COMMAS))], None),
    "an empty last cell here and there": (["day;temp", *(f"{i};{cell}{';' * (i % 2)}" for i, cell in enumerate(COMMAS))], None),
    "dates without a header": ([f"{day};{cell}" for day, cell in zip(DAYS, COMMAS)], None),
    "dates with a header": (["day,temp", *(f"{day},{value:.2f}" for day, value in zip(DAYS, VALUES))], None),
    "a header of years": (["2019,2020", *(f"{i},{value:.2f}" for i, value in enumerate(VALUES))], "2020"),
    "dates and a header of years": (["day,2020", *(f"{day},{value:.2f}" for day, value in zip(DAYS, VALUES))], "2020"),
    "an index without a name": ([",x", *(f"{i},{value:.2f}" for i, value in enumerate(VALUES))], None),
    "columns with numbers as names": ([",0,1", *(f"{i},7,{value:.2f}" for i, value in enumerate(VALUES))], "1"),
    "two of a name, another wanted": (["x,x,y", *(f"{i},{i},{value:.2f}" for i, value in enumerate(VALUES))], "y"),
    "two of a name, by number": (["x,x,y", *(f"{i},{value:.2f},3" for i, value in enumerate(VALUES))], "2"),
    "a name with a comma": (['day,"temp, outside"', *(f"{i},{value:.2f}" for i, value in enumerate(VALUES))], "temp, outside"),
    "a name with another delimiter": (["day,temp (a;b)", *(f"{i},{value:.2f}" for i, value in enumerate(VALUES))], None),
    "a name of two lines": (['day;"temp', '(degC)"', *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None),
    "a column called #": (["#;temp", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], "temp"),
    "dates, and a first number that is a number of a column": ([f"{day};2;{cell}" for day, cell in zip(DAYS, COMMAS)], "3"),
    "an index, whole numbers below a name": ([",x", *(f"{i},{value:.2f}" for i, value in enumerate(VALUES))], "x"),
    "three decimals, all below 1000": (["day;x", *(f"{i};{cell}0" for i, cell in enumerate(COMMAS))], None),
    "a text that stays the same": ([f"Berlin;{day};{cell}" for day, cell in zip(DAYS, COMMAS)], None),
    "rows of nothing at the end": (["day;temp", *(f"{i};{cell}" for i, cell in enumerate(COMMAS)), ";", ";"], None),
    "blanks around": (["day ; temp", *(f" {i} ; {cell} " for i, cell in enumerate(COMMAS))], "temp"),
}


@pytest.mark.parametrize(("lines", "column"), READ.values(), ids=READ)
def test_what_can_be_read_in_one_way_is_read(tmp_path, lines, column):
    got = data.read_series(written(tmp_path, lines), column, standardise=False)
    np.testing.assert_allclose(got, VALUES, atol=0.00501)


REFUSED = {
    "two whole numbers": ([f"20,{i:02}" for i in range(120)], None, "line 1: '20,00' may be two numbers or one"),
    "rows longer than the header": (["day,temp", *(f"{i},{cell}" for i, cell in enumerate(COMMAS))], "temp", "line 2: 3 cells"),
    "rows longer later": (["1;2"] * 110 + ["1;2;3"], None, "line 111: 3 cells, but the first row has 2"),
    "two columns of the wanted name": (["x,x"] + ["1,2"] * 120, "x", "2 columns 'x'"),
    "a number that is a name elsewhere": (["2,1,5"] + ["3,4,6"] * 120, "1", "may be a header or numbers"),
    "a number that is its own name": (["5,2"] + ["3,4"] * 120, "2", "line 1, may be a header"),
    "a first sample that is missing": (["1;", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None, "line 1, may be"),
    "a first sample that is n/a": (["1;n/a", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None, "line 1, column 2: 'n/a'"),
    "a first sample that is broken": (["1;12:30", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None, "line 1, may be"),
    "a first sample below the header": (
        ["day;x", "1;", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))],
        None,
        "line 2, column 2",
    ),
    "a header with a year, unnamed": (["day,2020", *(f"{day},{i}" for i, day in enumerate(DAYS))], None, "line 1, may be"),
    "columns with numbers as names, unnamed": ([",0,1", *(f"{i},7,{i}" for i in range(120))], None, "line 1, may be"),
    "labels": (["sun;5", *(f"mon;{cell}" for cell in COMMAS)], None, "line 1, may be a header"),
    "thousands": (["x", *(f"{1 + i % 9},{i:03}" for i in range(120))], None, "line 2: '1,000' may have"),
    "two decimal marks": (["x;y", *(f"1;{cell}" for cell in COMMAS), "1;2.5"], None, "line 122: '2.5' in a column"),
    "both marks in a number": (["x;y", *("1;1.234,5" for _ in COMMAS)], None, "line 2, column 2: '1.234,5' is not a number"),
    "units": (["day;temp", "d;degC", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None, "line 2.*units"),
    "blanks between columns": ([f"{i}  {value:.2f}" for i, value in enumerate(VALUES)], None, "separated by blanks"),
    "a NUL": (["x", *COMMAS[:50], "2\x000", *COMMAS], None, "line 52|NUL"),
    "other digits": (["x"] + ["\u0661\u0662"] * 120, None, "line 2, column 1"),
    "an empty cell of one column": (["x", *COMMAS[:50], '""', *COMMAS], None, "line 52, column 1: ''"),
    "a row of empty cells": (["x;y", *(f"{cell};1" for cell in COMMAS), ";", "1;1"], "x", "line 122, column 1: ''"),
    "an error of Excel's": (["x", *COMMAS[:50], "#N/A", *COMMAS], None, "line 52, column 1: '#N/A'"),
    "another one, first": (["#DIV/0!;7", *(f"{cell};7" for cell in COMMAS)], "1", "line 1, column 1: '#DIV/0!'"),
    "a cell that was too wide for its column": (["x;y", *(f"{cell};1" for cell in COMMAS), "####;1"], "x", "line 122, column 1"),
    "a first number with a unit": (["20.0 C", *(f"{value:.2f}" for value in VALUES)], None, "line 1, may be"),
    "a first number that is a time": (["12:30", *COMMAS], None, "line 1, may be"),
    "a first sample without letters": (["---", *COMMAS], None, "line 1, column 1: '---'"),
    "dates, and a first sample in words": (
        ["2020-01-01;bad", *(f"{day};{cell}" for day, cell in zip(DAYS, COMMAS))],
        None,
        "line 1, may be",
    ),
    "dates, and decimal commas between commas": ([f"{day},{cell}" for day, cell in zip(DAYS, COMMAS)], None, "line 1: '20,00'"),
    "decimal commas below a header that ends in a comma": (
        ["day,temp,", *(f"{i},{cell}" for i, cell in enumerate(COMMAS))],
        "temp",
        "line 2: '20,00' may be two numbers or one",
    ),
    "decimal commas that some numbers do without": (["20,04", "20", *COMMAS], "1", "line 2, has no ','"),
    "thousands between tabs": (["x\ty", *(f"1\t{1 + i % 9},{i:03}" for i in range(120))], None, "line 2: '1,000' may have"),
    "thousands, and numbers below": (["x;y", *(f"1;{cell}" for cell in ["987", "1,234"] * 60)], None, "line 3: '1,234' may have"),
    "points between thousands": (
        ["x;y", *(f"{cell};{1 + i % 9}.{i:03}" for i, cell in enumerate(COMMAS))],
        None,
        "line 2: '1.000'",
    ),
    "columns that count": (["0,1", *(f"{value:.2f},{value:.2f}" for value in VALUES)], None, "line 1, may be"),
    "years by number": (["2019,2020", *(f"{i},{value:.2f}" for i, value in enumerate(VALUES))], "2", "line 1, may be"),
    "a title": (["Station 12, roof", "day;temp", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], None, "line 2, has no ','"),
    "a sep line without a delimiter": (["sep=5", *COMMAS], None, "line 1: '5' cannot delimit"),
    "hexadecimal": (["x"] + ["0x1F"] * 120, None, "line 2, column 1: '0x1F' is not a number"),
}


@pytest.mark.parametrize(("lines", "column", "words"), REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_in_two_ways_or_none_is_refused_with_its_line(tmp_path, lines, column, words):
    with pytest.raises(ValueError, match=words):
        data.read_series(written(tmp_path, lines), column, standardise=False)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: gzip.compress(text.encode()),
    ],
    ids=["utf-8", "with a mark", "utf-16", "gzip"],
)
def test_encodings_compression_and_line_ends(tmp_path, encode, end):
    path = written(tmp_path, ["time;gr\u00f6\u00dfe", *(f"{i};{cell}" for i, cell in enumerate(COMMAS))], encode, end)
    np.testing.assert_allclose(data.read_series(path, "gr\u00f6\u00dfe", standardise=False), VALUES, atol=0.00501)


def test_a_column_is_found_by_number_where_dates_say_that_the_first_row_is_one_of_numbers(tmp_path):
    path = written(tmp_path, [f"{2020 + i}-01-01;{2 + i};{3 + i}" for i in range(120)])
    np.testing.assert_array_equal(data.read_series(path, "2", standardise=False), np.arange(2, 122))  # not a header with "2"
    np.testing.assert_array_equal(data.read_series(path, "3", standardise=False), np.arange(3, 123))
    path = written(tmp_path, [f"{2020 + i}-01-01;{7 + i};{2 + i}" for i in range(120)])
    np.testing.assert_array_equal(data.read_series(path, "2", standardise=False), np.arange(7, 127))


def test_a_sep_line_settles_what_the_comma_is(tmp_path):
    path = written(tmp_path, ["sep=,", *(f"{i},{2 * i}" for i in range(120))])
    np.testing.assert_array_equal(data.read_series(path, standardise=False), 2 * np.arange(120))


def test_whole_numbers_below_a_name_that_has_another_delimiter(tmp_path):
    path = written(tmp_path, ["day,temp (a;b)", *(f"{i},{20 + i}" for i in range(120))])
    np.testing.assert_array_equal(data.read_series(path, "1", standardise=False), np.arange(120))


def test_damaged_files_are_named(tmp_path):
    whole = gzip.compress("\n".join(COMMAS).encode())
    broken = whole[:12] + bytes(each ^ 0xFF for each in whole[12:40]) + whole[40:]
    damaged = "compressed by gzip, and damaged"
    for content, words in (
        (whole[:-20], damaged),
        (broken, damaged),
        (whole + b"more", damaged),
        ("\u00df;1\n".encode("latin-1") * 120, "UTF-8"),
    ):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(ValueError, match=f"t.csv' is .*{words}"):
            data.read_series(tmp_path / "t.csv")


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, ["temp", *COMMAS])
    assert len(data.read_series("~/t.csv")) == 120
    assert data.read_text("~/t.csv").startswith("temp\n")
