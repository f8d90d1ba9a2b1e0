"""Aligned columns of text, for tables that people read."""

__all__ = ["aligned", "grid", "widths"]


def grid(cells, headings=1, words=2, room=None):
    """Lines of cells as text: the first `words` columns to the left, the others to the right, a rule under the headings.

    The columns are as wide as they must be, or as `room` says.
    """
    room = room or widths(cells)
    lines = [aligned(line, room, words) for line in cells]
    lines.insert(headings, "-" * (sum(room) + 2 * (len(room) - 1)))
    return "\n".join(lines)


def widths(cells):
    """Room that each column of lines of cells needs."""
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def aligned(line, room, words=2):
    """One line of cells in columns with so much room."""
    cells = [cell.ljust(width) if i < words else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, room))]
    return "  ".join(cells).rstrip()
