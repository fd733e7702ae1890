"""What the READMEs say is true: their commands are run as they stand, their table is that of the code."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pexpect
import pytest

from dockerutils.config import KEYS
from tests.test_architecture import COMMANDS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
WALK_THROUGH = ROOT / "examples" / "meteorites" / "README.md"

# What a line of a session begins with: the shell's prompt, or that of the shell in a container.
PROMPT = re.compile(r"(?:astronomer@\w+:\S*)?\$ (.*)")


# How a terminal is told to move, colour, and name its window; and the returns of its carriage.
_CONTROL = r"\x1b\[[?0-9;]*[A-Za-z]|\x1b\][^\x07]*\x07|\r"


class Step(NamedTuple):
    """A command of a session, and the lines that are shown below it."""

    command: str
    shown: list[str]


def _steps(path: Path) -> Iterator[Step]:
    for block in re.findall(r"^```console\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        step: Step | None = None
        for line in block.splitlines():
            if prompt := PROMPT.fullmatch(line):
                if step:
                    yield step
                step = Step(prompt[1], [])
            elif step and line not in {"", "..."}:
                step.shown.append(line)
        if step:
            yield step


def _pattern(line: str, home: str) -> re.Pattern[str]:
    """What a line that is shown stands for: names, times, sizes and places are another reader's."""
    other = [
        (r"_\d\d-\d\d-\d\d_[\d.]+", r"_\d\d-\d\d-\d\d_[\d.]+"),  # a container's name
        (r"\d+ seconds? ago", r"\d+ seconds? ago"),
        (r"[\d.]+ MB", r"[\d.]+ MB"),
        (re.escape(home), r"/\S+"),
        (r"  +", r"  +"),  # columns are as wide as the reader's name
        (r"\.\.\.", ".*"),
    ]
    parts = re.split("(" + "|".join(pattern for pattern, _ in other) + ")", line)
    kinds = (next((there for here, there in other if re.fullmatch(here, part)), re.escape(part)) for part in parts)
    return re.compile("".join(kinds))


class Session:
    """A shell in a terminal, as the reader of a README has one."""

    _MARK, _DONE = 'echo "DONE-$? $((40+2))"', r"DONE-(\d+) 42\r\n"
    _PROMPT = r"astronomer@\w+:\S*\$ "

    def __init__(self, directory: Path) -> None:
        self._inside = False  # a container, whose shell shows a prompt before each command
        environ = {**os.environ, "PS1": "", "TERM": "dumb", "NO_COLOR": "1"}
        self._shell = pexpect.spawn(
            "bash", ["--norc", "--noediting"], cwd=str(directory), env=environ, encoding="utf-8", timeout=120, echo=False
        )  # fmt: skip

    def run(self, command: str) -> list[str]:
        """Type a command, and return what it printed; its status is kept."""
        if self._inside:
            self._shell.expect(self._PROMPT)
        self._shell.sendline(f"{command}; {self._MARK}")
        printed = ""
        if not self._inside and self._shell.expect([self._DONE, self._PROMPT]):
            # The command has become a shell in a container: go on there.
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
        """End the shell and what runs in it."""
        self._shell.close(force=True)


def _follow(session: Session, steps: Iterable[Step], home: str) -> None:
    """Run each step, and find what is shown in what it prints, in that order."""
    for step in steps:
        printed = iter(session.run(step.command))
        # Where an output is shown it says how the command ended.
        assert step.shown or session.status == 0, step.command
        for line in step.shown:
            pattern = _pattern(line, home)
            if not any(pattern.fullmatch(each) for each in printed):
                pytest.fail(f"$ {step.command}\nshows no line like this, or not in this place: {line}")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout of the project as it stands, changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "dockerutils")], check=True)
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    copy = subprocess.run(["tar", "-C", str(ROOT), "-c", "--", *files], capture_output=True, check=True)
    subprocess.run(["tar", "-C", str(tmp_path / "dockerutils"), "-x"], input=copy.stdout, check=True)
    return tmp_path / "dockerutils"


def test_the_readme_as_a_new_user_follows_it(engine, python_image, checkout, monkeypatch) -> None:
    monkeypatch.setenv("BASE", python_image)
    steps = list(_steps(README))
    assert [step.command for step in steps[:2]] == ["bin/demo", "bin/test"]
    # bin/test is what runs this test.
    steps.remove(Step("bin/test", []))
    session = Session(checkout)
    try:
        _follow(session, steps, "/home/alice/dockerutils")
    finally:
        session.close()


def test_the_walk_through_of_the_example(engine, python_image, checkout, monkeypatch) -> None:
    monkeypatch.setenv("BASE", python_image)
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    session = Session(checkout / "examples" / "meteorites")
    try:
        _follow(session, _steps(WALK_THROUGH), "/home/ada/meteorites")
    finally:
        session.close()


@pytest.mark.parametrize(
    "path", [README, WALK_THROUGH, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.name
)
def test_commands_in_the_text_are_ones_that_parse(path: Path) -> None:
    names = {command.replace("_", "-"): command for command in COMMANDS}
    for text in re.findall(r"`([a-z-]+ [^`]+)`", path.read_text()):
        name, *argv = shlex.split(text.partition(" > ")[0].replace("…", "..."))
        if name in names:
            module = importlib.import_module(f"dockerutils.commands.{names[name]}")
            module.parser().parse(argv)


def test_the_table_of_keys_is_that_of_the_code() -> None:
    rows = [
        f"| `{key.name}` | {key.read_by} | {key.type} | {f'`{key.default}`' if key.default else ''} | {key.meaning} |"
        for key in KEYS
    ]
    table = "\n".join(["| key | read by | type | default | meaning |", "| --- | --- | --- | --- | --- |", *rows])
    assert table in README.read_text()


def test_the_table_of_commands_has_every_command() -> None:
    listed = re.findall(r"^\| `([a-z-]+)[^`]*` \|", README.read_text(), re.MULTILINE)
    assert sorted(set(listed) & {command.replace("_", "-") for command in COMMANDS}) == sorted(
        command.replace("_", "-") for command in COMMANDS
    )


def test_links_lead_somewhere() -> None:
    text = README.read_text()
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.removeprefix("#") in anchors if target.startswith("#") else (ROOT / target).exists(), target
