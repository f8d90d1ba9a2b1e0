"""One line on stderr that tells how far long work has come."""

import shutil
import time

__all__ = ["Progress"]

_REDRAW = 0.2  # seconds, on a terminal
_NEW_LINE = 10.0  # seconds, elsewhere: a log should not fill up


class Progress:
    """Shows the newest message: redrawn in place on a terminal, a new line now and then elsewhere.

    Parameters
    ----------
    stream : text file or None
        Where to write; None: nowhere.
    """

    def __init__(self, stream=None):
        self._stream = stream
        self._terminal = stream is not None and stream.isatty()
        self._next = time.perf_counter() + (0 if self._terminal else _NEW_LINE)

    def show(self, message):
        """Show a message, unless the last one is too recent."""
        now = time.perf_counter()
        if self._stream is None or now < self._next:
            return
        self._next = now + (_REDRAW if self._terminal else _NEW_LINE)
        # Erase the whole line first: the last message may have been longer.  One that does not fit would leave lines behind.
        room = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[2K{message[:room]}" if self._terminal else f"{message}\n")
        self._stream.flush()

    def say(self, message):
        """A line that stays, however recent the last one is."""
        if self._stream is not None:
            self.clear()
            self._stream.write(f"{message}\n")
            self._stream.flush()

    def clear(self):
        """Leave a terminal's line empty."""
        if self._terminal:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
