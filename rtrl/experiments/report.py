"""The results of a study as JSON lines, as CSV, or as tables for people."""

import csv
import io
import json
from dataclasses import dataclass

from rtrl.comparison.grid import grid
from rtrl.experiments.records import WRONG, said

__all__ = ["FORMATS", "Table", "duration", "line", "made", "render"]

FORMATS = ("table", "json", "csv")


@dataclass
class Table:
    """A table for people.

    Attributes
    ----------
    title : str
        One line.
    cells : list of list of str
        Lines, the headings first.
    words : int
        Columns of words, which come first; the others are numbers.
    """

    title: str
    cells: list
    words: int = 1


def line(record):
    """One dict as one line of JSON, with a line end."""
    return json.dumps(record, allow_nan=False) + "\n"


def duration(seconds):
    """A time in two figures."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def made(function, results):
    """What a function makes of results that may come from elsewhere.

    Raises
    ------
    ValueError
        If they are not what they seem; the message names the folder of the first that is not.
    """
    try:
        return function(results)
    except WRONG as error:
        for each in results:
            try:
                function([each])
            except WRONG as reason:
                raise ValueError(f"{each.folder} does not hold results of {each.study}: {said(reason)}") from reason
        if not results:
            raise
        raise ValueError(f"the results of {results[0].study} do not fit together: {said(error)}") from error


def render(results, form, tables):
    """All results as text in one of `FORMATS`, with a line end.

    Parameters
    ----------
    results : list of rtrl.experiments.store.Result
        Of one study.
    form : str
        Which format.
    tables : callable
        Blocks of text and instances of `Table` from results, for "table".
    """
    if form == "json":
        return "".join(line(header(each.study, each.settings)) + "".join(map(line, each.rows)) for each in results)
    if form == "csv":
        return _csv([{**each.settings, **row} for each in results for row in each.rows])
    return "\n\n".join(block if isinstance(block, str) else _text(block) for block in made(tables, results)) + "\n"


def header(study, settings):
    """What stands before the rows of a run."""
    return {"study": study, "settings": settings}


def _text(table):
    return f"{table.title}\n{grid(table.cells, words=table.words)}"


def _csv(rows):
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
