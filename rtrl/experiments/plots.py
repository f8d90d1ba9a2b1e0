"""What pictures of studies need: matplotlib (the extra `plot`)."""

__all__ = ["blank", "need", "save", "style"]


def need():
    """The parts of matplotlib that draw into files.

    Raises
    ------
    RuntimeError
        If it is not installed; the message says what to do.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"a plot needs matplotlib ({error}): pip install 'rtrl[plot]', or leave out --plot") from None
    return Figure, FigureCanvasAgg


def blank(width, height, rows=1, columns=1, **grid):
    """An empty figure in inches, and its axes [rows, columns]."""
    Figure, Canvas = need()
    figure = Figure(figsize=(width, height), layout="constrained")
    Canvas(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def style(i):
    """Colour, marker and line of curve i: the first two differ together, for eyes that see no colours; the line after ten."""
    return {"color": f"C{i % 10}", "marker": "os^vDXP<>*"[(i + i // 10) % 10], "linestyle": ("-", "--", ":")[i // 10 % 3]}


def save(figure, path):
    """Write a figure as PNG."""
    figure.savefig(path, format="png", dpi=110)
