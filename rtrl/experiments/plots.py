"""What pictures of studies need: matplotlib (the extra `plot`)."""

__all__ = ["need"]


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
