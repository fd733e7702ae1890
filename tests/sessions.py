"""Sessions in a README: type their commands into a terminal and compare the output."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pexpect
import pytest

# The prompts of a session: that of the shell, or of a shell in a container.
_PROMPT = re.compile(r"(?:\[dock:\S+\] |(?:\(\w+\) )?\w+@\w+:\S*)?\$ (.*)")

# Escape sequences for cursor, color and title, and carriage returns.
_CONTROL = r"\x1b\[[?0-9;]*[A-Za-z]|\x1b\][^\x07]*\x07|\r"


class Step(NamedTuple):
    """A command of a session and the lines shown below it."""

    command: str
    shown: list[str]


def steps(path: Path) -> Iterator[Step]:
    """Yield the commands of the `console` blocks of a page, in order."""
    for block in re.findall(r"^```console\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        step: Step | None = None
        for line in block.splitlines():
            if prompt := _PROMPT.fullmatch(line):
                if step:
                    yield step
                step = Step(prompt[1], [])
            elif step and line not in {"", "..."}:
                step.shown.append(line)
        if step:
            yield step


def _pattern(line: str, home: str) -> re.Pattern[str]:
    """Return the pattern for a shown line: names, times, sizes and paths differ between readers."""
    other = [
        (r"_\d\d-\d\d-\d\d_[\d.]+", r"_\d\d-\d\d-\d\d_[\d.]+"),  # a container's name
        (r"\b\d\d\.\d\d\.\d\d\b", r"\d\d\.\d\d\.\d\d"),  # a date version
        (r"\d+ (?:second|minute)s? ago", r"\d+ (?:second|minute)s? ago"),
        (r"[\d.]+ ?MB", r"[\d.]+ ?MB"),
        (re.escape(home), r"/\S+"),
        (r"  +", r"  +"),  # the width of columns depends on the user name
        (r"\.\.\.", ".*"),
    ]
    parts = re.split("(" + "|".join(pattern for pattern, _ in other) + ")", line)
    kinds = (next((there for here, there in other if re.fullmatch(here, part)), re.escape(part)) for part in parts)
    return re.compile("".join(kinds))


class Session:
    """A shell in a terminal, like that of a reader."""

    _MARK, _DONE = 'echo "DONE-$? $((40+2))"', r"DONE-(\d+) 42\r\n"
    _PROMPT = r"\w+@[0-9a-f]{12}:\S*\$ "

    def __init__(self, directory: Path) -> None:
        self._inside = False  # in a container, whose shell prints a prompt before each command
        environ = {**os.environ, "PS1": "", "TERM": "dumb", "NO_COLOR": "1"}
        self._shell = pexpect.spawn(
            "bash", ["--norc", "--noediting"], cwd=str(directory), env=environ, encoding="utf-8", timeout=600, echo=False
        )  # fmt: skip

    def run(self, command: str) -> list[str]:
        """Type a command, store its status and return its output."""
        if self._inside:
            self._shell.expect(self._PROMPT)
        self._shell.sendline(f"{command}; {self._MARK}")
        printed = ""
        if not self._inside and self._shell.expect([self._DONE, self._PROMPT]):
            # The command opened a shell in a container: continue there.
            printed = str(self._shell.before)
            self._shell.sendline(self._MARK)
            self._inside = True
        if self._inside:
            self._shell.expect(self._DONE)
        self._inside = self._inside and command != "exit"
        printed += str(self._shell.before)
        assert isinstance(self._shell.match, re.Match)
        self.status = int(self._shell.match[1])
        return [line.rstrip() for line in re.sub(_CONTROL, "", printed).splitlines()]

    def close(self) -> None:
        """Close the shell and everything in it."""
        self._shell.close(force=True)


def follow(session: Session, steps: Iterable[Step], home: str) -> None:
    """Run each step, of which there is at least one, and find what is shown in what it prints, in that order.

    `home` is the directory that the README's sessions were recorded in.
    """
    recorded = list(steps)
    assert recorded
    for step in recorded:
        output = session.run(step.command)
        printed = iter(output)
        # Where output is shown, it shows whether the command failed.
        assert step.shown or session.status == 0, "\n".join([f"$ {step.command}", *output])
        for line in step.shown:
            pattern = _pattern(line, home)
            if not any(pattern.fullmatch(each) for each in printed):
                whole = "\n".join(output)
                pytest.fail(f"$ {step.command}\nshows no line like this, or not in this place: {line}\n{whole}")
