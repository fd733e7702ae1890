#!/usr/bin/env python3
"""Draw docs/session.svg: a session in examples/meteorites, recorded in a real terminal, as a picture.

    docs/record.py > docs/session.svg

The suite is to be first on PATH, a Docker Engine to answer, and pexpect to be installed: `bin/test` leaves all but the
engine in .venv. As in the README, BASE names another base image. The pictured text is what the terminal was sent; only
the directory that the session ran in is shown under another name.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

import pexpect

EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "examples", "meteorites")
SHOWN_AS = "/home/alice/meteorites"
COMMANDS = (
    "build-image all -- --quiet",
    "ls-image",
    "run-image meteorites",
    "run-image meteorites 2> /dev/null > report.txt",
    "head -n 1 report.txt",
)
# A name for the terminal's window, which no program of the session gives it: here the shell waits for a command.
_READY = "\x1b]1;ready\x07"
_CONTROL = re.compile(r"\x1b\[([\d;]*)m|\x1b\[[?\d;]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")

COLUMNS = 100
_WIDTH, _HEIGHT, _MARGIN, _BAR = 8.43, 19, 16, 34  # of a character and a line, in pixels of a font of 14
_STYLES = {"1": "bold", "31": "red", "33": "yellow"}
_CSS = """\
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d8dee9; }
.prompt { fill: #8fbc6f; } .typed { fill: #ffffff; font-weight: bold; }
.bold { fill: #88c0d0; } .red { fill: #e06c75; } .yellow { fill: #e5c07b; }"""


class Span(NamedTuple):
    """Characters of a line that look the same."""

    text: str
    style: str


def record(directory: str) -> str:
    """Type the commands into a shell at `directory`, and return all that its terminal was sent."""
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environ |= {"PS1": rf"\[{_READY}\]$ ", "TERM": "xterm", "LOGNAME": "alice", "USER": "alice"}
    shell = pexpect.spawn(
        "bash", ["--norc", "--noediting"], cwd=directory, env=environ, encoding="utf-8", timeout=600,
        dimensions=(60, COLUMNS),
    )  # fmt: skip
    shown = ""
    try:
        shell.expect_exact(_READY)
        for command in COMMANDS:
            shell.sendline(command)
            shell.expect_exact(_READY)
            shown += str(shell.before)
    finally:
        shell.close(force=True)
    return shown


def spans(line: str) -> Iterator[Span]:
    """Split a line of the terminal into what looks the same; what moves or names is left out."""
    if line.startswith("$ "):
        yield from (Span("$ ", "prompt"), Span(line[2:], "typed"))
        return
    style, at = "", 0
    for control in _CONTROL.finditer(line):
        if line[at : control.start()]:
            yield Span(line[at : control.start()], style)
        at = control.end()
        style = style if control[1] is None else _STYLES.get(control[1], "")
    if line[at:]:
        yield Span(line[at:], style)


def wrapped(line: list[Span]) -> Iterator[list[Span]]:
    """Break a line where the terminal's right edge does."""
    row: list[Span] = []
    room = COLUMNS
    for text, style in line:
        rest = text
        while len(rest) > room:
            yield [*row, Span(rest[:room], style)]
            rest, row, room = rest[room:], [], COLUMNS
        row.append(Span(rest, style))
        room -= len(rest)
    yield row


def drawn(shown: str) -> str:
    """Return the picture of what a terminal was sent."""
    rows = [row for line in shown.rstrip().split("\n") for row in wrapped(list(spans(line.rstrip("\r"))))]
    width, height = round(COLUMNS * _WIDTH + 2 * _MARGIN), len(rows) * _HEIGHT + _BAR + 2 * _MARGIN
    lights = zip((20, 40, 60), ("#ff5f57", "#febc2e", "#28c840"), strict=True)
    picture = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        "<title>A terminal: build-image builds two images, ls-image lists them, run-image runs one</title>",
        f"<style>\n{_CSS}\n</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#20242c" stroke="#59616f"/>',
        *(f'<circle cx="{x}" cy="18" r="6" fill="{colour}"/>' for x, colour in lights),
    ]
    for number, row in enumerate(rows):
        inside = "".join(_tspan(span) for span in row)
        if inside:
            y = _BAR + _MARGIN + number * _HEIGHT
            picture.append(f'<text x="{_MARGIN}" y="{y}" xml:space="preserve">{inside}</text>')
    return "\n".join([*picture, "</svg>\n"])


def _tspan(span: Span) -> str:
    text = escape(span.text, quote=False)
    return f'<tspan class="{span.style}">{text}</tspan>' if span.style else text


def main() -> None:
    """Record a session in a copy of the example, and print its picture."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = os.path.join(os.path.realpath(scratch), "meteorites")
        shutil.copytree(EXAMPLE, directory)
        shown = record(directory)
    sys.stdout.write(drawn(shown.replace(directory, SHOWN_AS)))


if __name__ == "__main__":
    main()
