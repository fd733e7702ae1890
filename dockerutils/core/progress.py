"""How far long work is, on stderr: drawn anew in its place on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from dockerutils.core import console

# Seconds between two pictures of a line.
_ON_A_TERMINAL, _ELSEWHERE = 0.1, 10.0
_BAR = 24


class Lines:
    """A line for each of several things that go on at once, in threads of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_terminal = sys.stderr.isatty()
        self._live: dict[str, str] = {}
        self._shown: dict[str, float] = {}
        self._height = 0

    def update(self, name: str, text: str) -> None:
        """Show how far a thing is; most pictures are left out."""
        with self._lock:
            now = time.monotonic()
            if now < self._shown.get(name, 0.0) + (_ON_A_TERMINAL if self._is_terminal else _ELSEWHERE):
                return
            self._shown[name] = now
            if self._is_terminal:
                self._live[name] = text
            self._draw("" if self._is_terminal else text)

    def end(self, name: str, text: str = "") -> None:
        """Take a thing's line away, and show to stay what became of it."""
        with self._lock:
            self._live.pop(name, None)
            self._draw(text)

    def above(self, show: Callable[[], None]) -> None:
        """Call what writes something else to stderr, and have that stand above the lines."""
        with self._lock:
            self._draw(show=show)

    def _draw(self, text: str = "", show: Callable[[], None] | None = None) -> None:
        """Write `text`, if there is any, above the lines; control sequences: ECMA-48, CPL and ED."""
        if self._height:
            sys.stderr.write(f"\x1b[{self._height}F\x1b[J")
        if show:
            show()
        lines = [*([console.one_line(text)] if text else []), *map(_fitting, self._live.values())]
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self._height = len(self._live)


class Meter:
    """What there is to say of bytes on their way, from the first one on."""

    def __init__(self) -> None:
        self._start = 0.0

    def show(self, gone: int, total: int | None) -> str:
        """Return a bar, the bytes that have gone of all that will, their rate, and the time that is left."""
        if not gone:
            return f"sending {amount(total)}" if total else "sending"
        if not self._start:
            self._start = time.monotonic()
        rate = gone / max(time.monotonic() - self._start, 1e-3)
        said = f"{amount(gone)} at {amount(rate)}/s"
        if not total:
            return said
        total = max(gone, total)  # it may be about right only
        full = round(_BAR * gone / total)
        left = round((total - gone) / rate) if rate else 0
        bar = f"[{'#' * full}{'.' * (_BAR - full)}]"
        return f"{bar} {amount(gone)} of {amount(total)} at {amount(rate)}/s, {left // 60}:{left % 60:02} left"


def amount(size: float) -> str:
    """Return a number of bytes in the unit that keeps it short."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - as the units have it
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _fitting(line: str) -> str:
    """Cut a line that the terminal would fold: it could not be taken back."""
    try:
        return line[: os.get_terminal_size(sys.stderr.fileno()).columns - 1]
    except OSError:
        return line
