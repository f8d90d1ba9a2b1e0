"""The results of a study as JSON lines, as CSV, or as tables for people."""

import csv
import io
import json
from dataclasses import dataclass

from rtrl.comparison.grid import grid

__all__ = ["FORMATS", "Table", "duration", "line", "markdown", "render"]

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
    return "\n\n".join(block if isinstance(block, str) else _text(block) for block in tables(results)) + "\n"


def header(study, settings):
    """What stands before the rows of a run."""
    return {"study": study, "settings": settings}


def _text(table):
    return f"{table.title}\n{grid(table.cells, words=table.words)}"


def markdown(table):
    """A table for Markdown."""
    first, *others = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in table.cells]
    rule = "|" + "|".join(" --- " if i < table.words else " ---: " for i in range(len(table.cells[0]))) + "|"
    return "\n".join([f"**{table.title}**", "", first, rule, *others])


def _csv(rows):
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
