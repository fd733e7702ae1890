"""Progress on stderr: lines that are redrawn in place on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable

from dockerutils.core import console

# Seconds between two updates of a line.
_ON_A_TERMINAL, _ELSEWHERE = 0.1, 10.0
_BAR = 24


class Lines:
    """A progress line for each of several tasks that run in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_terminal = sys.stderr.isatty()
        self._live: dict[str, str] = {}
        self._shown: dict[str, float] = {}
        self._height = 0

    def update(self, name: str, text: str) -> None:
        """Show the progress of a task; most updates are skipped."""
        with self._lock:
            now = time.monotonic()
            if now < self._shown.get(name, 0.0) + (_ON_A_TERMINAL if self._is_terminal else _ELSEWHERE):
                return
            self._shown[name] = now
            if self._is_terminal:
                self._live[name] = text
            self._draw("" if self._is_terminal else text)

    def end(self, name: str, text: str = "") -> None:
        """Remove the line of a task, and print its result, if any, above the lines."""
        with self._lock:
            self._live.pop(name, None)
            self._draw(text)

    def above(self, show: Callable[[], None]) -> None:
        """Call a function that writes to stderr, and keep its output above the lines."""
        with self._lock:
            self._draw(show=show)

    def _draw(self, text: str = "", show: Callable[[], None] | None = None) -> None:
        """Write `text`, if any, above the lines; for the control sequences see ECMA-48, CPL and ED."""
        if self._height:
            sys.stderr.write(f"\x1b[{self._height}F\x1b[J")
        if show:
            show()
        live = _fitting(self._live.values())
        sys.stderr.write("".join(f"{line}\n" for line in [*([console.one_line(text)] if text else []), *live]))
        sys.stderr.flush()
        self._height = len(live)


class Meter:
    """The progress of a transfer of bytes, from the first one on."""

    def __init__(self) -> None:
        self._start = 0.0

    def show(self, sent: int, total: int | None) -> str:
        """Return a bar, the bytes sent and their total, the rate, and the time left; `total` is None if unknown."""
        if not sent:
            return f"sending {amount(total)}" if total else "sending"
        if not self._start:
            self._start = time.monotonic()
        rate = sent / max(time.monotonic() - self._start, 1e-3)
        if not total:
            return f"{amount(sent)} at {amount(rate)}/s"
        total = max(sent, total)  # it can be an estimate
        left = round((total - sent) / rate) if rate else 0
        state = f"{amount(sent)} of {amount(total)} at {amount(rate)}/s"
        return f"{bar(sent, total)} {state}, {left // 60}:{left % 60:02} left"


def bar(done: float, total: float) -> str:
    """Return a bar of fixed width, as full as `done` is of `total`."""
    full = round(_BAR * done / total)
    return f"[{'#' * full}{'.' * (_BAR - full)}]"


def amount(size: float) -> str:
    """Return a number of bytes in a unit that keeps it short."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - the factor between units
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _fitting(lines: Iterable[str]) -> list[str]:
    """Cut lines to the width and the height of the terminal: what wraps or scrolls away cannot be redrawn."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return list(lines)
    # Some terminals do not say how large they are.
    columns, height = size.columns or 80, size.lines or 24
    return [line[: columns - 1] for line in lines][: max(height - 1, 1)]
