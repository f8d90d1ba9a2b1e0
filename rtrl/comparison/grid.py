"""Aligned columns of text, for tables that people read."""

__all__ = ["grid"]


def grid(cells, headings=1, words=2):
    """Lines of cells as text: the first `words` columns to the left, the others to the right, a rule under the headings."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if i < words else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths)))
        for line in cells
    ]
    lines.insert(headings, "-" * len(lines[0]))
    return "\n".join(line.rstrip() for line in lines)
