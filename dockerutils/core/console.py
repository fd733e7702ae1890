"""Output for people: commands, notes, warnings and errors go to stderr; tables are for stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_RULE = "=" * 80
_COLORS = {"bold": "1", "red": "31", "yellow": "33"}


_shown = True
_reads = False


def show_commands(shown: bool, *, reads: bool = False) -> None:  # noqa: FBT001
    """Set whether `echo` prints, and whether it also prints what only reads."""
    global _shown, _reads
    _shown, _reads = shown, reads


def echo(line: str, *, reads: bool = False) -> None:
    """Print the command line that is about to run to stderr, on a line of its own that is easy to find and copy.

    A line that only `reads` is printed if `show_commands` has allowed it.
    """
    if not _shown or (reads and not _reads):
        return
    print(f"\n{_RULE}\n{_paint('bold', line)}\n", file=sys.stderr, flush=True)


def note(command: str, message: str) -> None:
    """Print to stderr what `command` has done."""
    print(f"{command}: {one_line(message)}", file=sys.stderr, flush=True)


def agreed(question: str) -> bool:
    """Ask on the terminal; return True only for yes."""
    print(f"{one_line(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def warn(command: str, message: str) -> None:
    """Print a warning of `command` to stderr."""
    print(f"{command}: {_paint('yellow', 'warning:')} {one_line(message)}", file=sys.stderr, flush=True)


def fail(command: str, message: str) -> None:
    """Print the error that ends `command` to stderr, in one line."""
    print(f"{_paint('red', command)}: {one_line(message)}", file=sys.stderr, flush=True)


def relay(text: str) -> None:
    """Print to stderr what a child has written: control characters are escaped, except line ends, returns and tabs."""
    print(_escaped(text, kept="\n\r\t"), end="", file=sys.stderr, flush=True)


def one_line(message: str) -> str:
    """Escape line ends and other control characters, which a message can quote from a file."""
    return _escaped(message)


def _escaped(text: str, kept: str = "") -> str:
    return "".join(
        each if each.isprintable() or each in kept else each.encode("unicode_escape").decode() for each in text
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format `rows` under `header`, in columns as wide as their widest cell."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def age(seconds: float) -> str:
    """Return a duration in its largest unit, such as 2 days."""
    whole = max(0, int(seconds))
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, length = next(((unit, length) for unit, length in units if whole >= length), units[-1])
    return count(whole // length, unit)


def count(number: int, noun: str) -> str:
    """Return a number of things in words, such as 1 file or 2 files."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _paint(color: str, text: str) -> str:
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m"
