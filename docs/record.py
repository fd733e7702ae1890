#!/usr/bin/env python3
"""Record docs/session.cast in a real terminal, and draw docs/session.svg of it: an animated picture, light and dark.

    docs/record.py DOCK      record a new session, with a registered dock, and draw it
    docs/record.py           draw the stored session again

The suite is to be first on PATH, a Docker Engine to answer, and pexpect to be installed: `bin/test` leaves all but the
engine in .venv. As in the README, BASE names another base image. Without a dock at hand, `RECORD=docs bin/test
tests/test_recording.py` does the same with the engines and hosts of the tests.

The recording is an asciicast (https://docs.asciinema.org/manual/asciicast/v2/): all that the terminal was sent, and
when. The picture shows exactly that, at the same speed. It moves by CSS, without a script. Where animations are off, it
shows how the session ended.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLE = os.path.join(HERE, os.pardir, "examples", "meteorites")
CAST, PICTURE = "session.cast", "session.svg"
TITLE = "A terminal: an image is sent to another host; after a change and a build, only the new layers, in a second"
PREPARATION = "build-image all -- --quiet"
COMMANDS = (
    "transfer-image meteorites {dock}",
    "sed -i 's/mean mass/average mass/' meteorites.py",
    "build-image meteorites -- --quiet",
    "transfer-image meteorites {dock}",
)
# Seconds between two typed characters, before the first one, and at the end before the picture starts again.
PACE, PAUSE, HOLD = 0.04, 0.8, 5.0

# A name for the terminal's window, which no program of the session gives it: here the shell waits for a command.
_READY = "\x1b]1;ready\x07"
_CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07|[\r\n]")
_TICK = 0.05  # seconds; what changes in less is drawn at once
COLUMNS, _LINES = 100, 40
_WIDTH, _HEIGHT, _MARGIN, _BAR = 8.43, 19, 16, 34  # of a character and a line, in pixels of a font of 14
_STYLES = {"1": "bold", "31": "red", "33": "yellow"}
_PROMPT = "$ "
_CSS = """\
svg { --back: #fdfdfc; --edge: #c9ced6; --text: #24292f; --typed: #000000; --prompt: #3d7a1f; --bold: #0b5cad;
  --red: #b3261e; --yellow: #8a5a00; }
@media (prefers-color-scheme: dark) { svg { --back: #20242c; --edge: #59616f; --text: #d8dee9; --typed: #ffffff;
  --prompt: #8fbc6f; --bold: #88c0d0; --red: #e06c75; --yellow: #e5c07b; } }
.frame { fill: var(--back); stroke: var(--edge); }
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--text);
  white-space: pre; }
.typed { fill: var(--typed); font-weight: bold; } .prompt { fill: var(--prompt); } .bold { fill: var(--bold); }
.red { fill: var(--red); } .yellow { fill: var(--yellow); } .passing { opacity: 0; }"""


class Event(NamedTuple):
    """What the terminal was sent at a time, in seconds since the start."""

    time: float
    text: str


class Span(NamedTuple):
    """Characters of a line that look the same."""

    text: str
    style: str


class Line(NamedTuple):
    """A line of the screen that looked the same from `start` to `end`, in seconds; `end` is None if it stayed."""

    number: int
    spans: tuple[Span, ...]
    start: float
    end: float | None


class Terminal:
    """A session in a real terminal, and what that was sent."""

    def __init__(self, directory: str) -> None:
        import pexpect  # late: drawing does without

        environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        environ |= {"PS1": rf"\[{_READY}\]{_PROMPT}", "TERM": "xterm"}
        self.events: list[Event] = []
        self._shell = pexpect.spawn(
            "bash", ["--norc", "--noediting"], cwd=directory, env=environ, encoding="utf-8", timeout=600,
            dimensions=(_LINES, COLUMNS),
        )  # fmt: skip
        self._began = time.monotonic()
        self._unread = ""
        self.wait()

    def type(self, command: str, pace: float) -> None:
        """Type a command as a person does, one character every `pace` seconds."""
        for character in f"{command}\n":
            self._shell.send(character)
            self._read(character if character != "\n" else "\r\n")
            time.sleep(pace)

    def wait(self) -> None:
        """Wait until the shell is ready for a command."""
        self._read(_READY + _PROMPT)

    def close(self) -> None:
        """End the shell."""
        self._shell.close(force=True)

    def _read(self, end: str) -> None:
        """Read until `end`; what has come after it is for the next call: a fast command ends before we look."""
        while end not in self._unread:
            new = self._shell.read_nonblocking(4096, timeout=600)
            self.events.append(Event(round(time.monotonic() - self._began, 3), new))
            self._unread += new
        self._unread = self._unread.partition(end)[2]


def record(dock: str, pace: float = PACE, pause: float = PAUSE) -> list[Event]:
    """Type the commands into a shell in a copy of the example, and return what its terminal was sent."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = os.path.join(scratch, "meteorites")
        shutil.copytree(EXAMPLE, directory)
        subprocess.run(PREPARATION.split(), cwd=directory, stdout=sys.stderr, check=True)
        terminal = Terminal(directory)
        try:
            for command in COMMANDS:
                time.sleep(pause)
                terminal.type(command.format(dock=dock), pace)
                terminal.wait()
        finally:
            terminal.close()
    return terminal.events


def dump(events: Sequence[Event]) -> str:
    """Return events as an asciicast."""
    header = {"version": 2, "width": COLUMNS, "height": _LINES, "title": TITLE}
    return "".join(f"{json.dumps(line)}\n" for line in (header, *((event.time, "o", event.text) for event in events)))


def load(cast: str) -> list[Event]:
    """Return the events of an asciicast."""
    return [Event(when, text) for when, _, text in map(json.loads, cast.splitlines()[1:])]


class Screen:
    """The lines of a terminal, as ECMA-48 describes its control sequences: those that dockerutils and bash send."""

    def __init__(self) -> None:
        self.lines: list[list[tuple[str, str]]] = [[]]
        self._row = self._column = 0
        self._style = ""

    def write(self, text: str) -> None:
        """Show text; ValueError for a control sequence that is not known here."""
        at = 0
        for control in _CONTROL.finditer(text):
            self._print(text[at : control.start()])
            self._obey(control)
            at = control.end()
        self._print(text[at:])

    def spans(self) -> Iterator[tuple[Span, ...]]:
        """Yield the lines; those that begin with a prompt show what was typed in a style of its own."""
        for cells in self.lines:
            text = "".join(character for character, _ in cells)
            if text.startswith(_PROMPT):
                yield tuple(
                    filter(lambda span: span.text, (Span(_PROMPT, "prompt"), Span(text[len(_PROMPT) :], "typed")))
                )
            else:
                runs = groupby(cells, key=lambda cell: cell[1])
                yield tuple(Span("".join(character for character, _ in run), style) for style, run in runs)

    def _print(self, text: str) -> None:
        for character in text:
            if self._column == COLUMNS:
                self._break()
            line = self.lines[self._row]
            line[self._column : self._column + 1] = [(character, self._style)]
            self._column += 1

    def _break(self) -> None:
        self._row, self._column = self._row + 1, 0
        if self._row == len(self.lines):
            self.lines.append([])

    def _obey(self, control: re.Match[str]) -> None:
        number, letter = control[1] or "", control[2] or control[0]
        if letter == "\n":
            self._break()
        elif letter == "\r":
            self._column = 0
        elif letter == "m":
            self._style = _STYLES.get(number, "")
        elif letter == "F":
            self._row, self._column = self._row - int(number or 1), 0
        elif letter in {"J", "K"} and number in {"", "0"}:
            del self.lines[self._row][self._column :]
            if letter == "J":
                del self.lines[self._row + 1 :]
        elif control[2] and not number.startswith("?"):  # such as bracketed paste; a window's name has no letter
            raise ValueError(f"{control[0]!r} is not known here")


def lines(events: Sequence[Event]) -> list[Line]:
    """Return all that the lines of the screen showed, each from when to when."""
    screen = Screen()
    shown: dict[int, Line] = {}
    found: list[Line] = []
    for when, group in groupby(events, key=lambda event: round(event.time / _TICK) * _TICK):
        for event in group:
            screen.write(event.text)
        now = dict(enumerate(screen.spans()))
        for number, line in list(shown.items()):
            if now.get(number) != line.spans:
                found.append(shown.pop(number)._replace(end=when))
        for number, spans in now.items():
            if spans and number not in shown:
                shown[number] = Line(number, spans, when, None)
    return [*found, *shown.values()]


def drawn(events: Sequence[Event]) -> str:
    """Return the picture of a session."""
    shown = sorted(lines(events), key=lambda line: (line.start, line.number))
    length = events[-1].time + HOLD
    width = round(COLUMNS * _WIDTH + 2 * _MARGIN)
    height = (1 + max(line.number for line in shown)) * _HEIGHT + _BAR + _MARGIN
    times = sorted({(line.start, line.end) for line in shown}, key=str)
    names = {each: f"t{number}" for number, each in enumerate(times)}
    lights = zip((20, 40, 60), ("#ff5f57", "#febc2e", "#28c840"), strict=True)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(TITLE)}</title>",
        f"<style>\n{_CSS}\n@media (prefers-reduced-motion: no-preference) {{",
        f".line {{ animation: {length:.2f}s step-end infinite; }}",
        *(_keyframes(name, start, end, length) for (start, end), name in names.items()),
        "}\n</style>",
        f'<rect class="frame" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        *(f'<circle cx="{x}" cy="18" r="6" fill="{colour}"/>' for x, colour in lights),
        *(_text(line, names[line.start, line.end]) for line in shown),
        "</svg>\n",
    ])  # fmt: skip


def _keyframes(name: str, start: float, end: float | None, length: float) -> str:
    """Return the rules for lines that are shown from `start` to `end`."""
    steps = [(0.0, 0)] if start else []
    steps += [(start, 1), *([(end, 0)] if end is not None else [])]
    frames = " ".join(f"{round(100 * when / length, 3):g}% {{ opacity: {value} }}" for when, value in steps)
    return f"@keyframes {name} {{ {frames} }} .{name} {{ animation-name: {name}; }}"


def _text(line: Line, name: str) -> str:
    inside = "".join(
        f'<tspan class="{style}">{escape(text, quote=False)}</tspan>' if style else escape(text, quote=False)
        for text, style in line.spans
    )
    passing = " passing" if line.end is not None else ""
    y = _BAR + _MARGIN + line.number * _HEIGHT
    return f'<text class="line {name}{passing}" x="{_MARGIN}" y="{y}" xml:space="preserve">{inside}</text>'


def main(directory: str = HERE) -> None:
    """Record a session if a dock is named, and draw what is stored."""
    cast = os.path.join(directory, CAST)
    if len(sys.argv) > 1:
        with open(cast, "w", encoding="utf-8") as stream:
            stream.write(dump(record(sys.argv[1])))
    with open(cast, encoding="utf-8") as stream:
        picture = drawn(load(stream.read()))
    with open(os.path.join(directory, PICTURE), "w", encoding="utf-8") as stream:
        stream.write(picture)


if __name__ == "__main__":
    main()
