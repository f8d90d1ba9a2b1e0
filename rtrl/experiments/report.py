"""The result of a study as JSON lines, as CSV, or as the study's own tables."""

import csv
import io
import json

__all__ = ["FORMATS", "line", "render"]

FORMATS = ("table", "json", "csv")


def line(record):
    """One dict as one line of JSON, with a line end."""
    return json.dumps(record, allow_nan=False) + "\n"


def render(settings, rows, form, tables):
    """All rows as text in one of `FORMATS`, with a line end.

    Parameters
    ----------
    settings : dict
        What was asked for.
    rows : list of dict
        The result.
    form : str
        Which format.
    tables : callable
        Text from settings and rows, for "table".
    """
    if form == "json":
        return "".join(map(line, ({"settings": settings}, *rows)))
    return _csv(rows) if form == "csv" else tables(settings, rows)


def _csv(rows):
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
