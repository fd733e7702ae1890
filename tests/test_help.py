"""What -h shows of every command: each option explained and grouped, and examples that are good for the parser."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerutils.cli.parser import Parser
from dockerutils.commands import dockerutils as suite
from tests.test_architecture import COMMANDS, PACKAGE

HANDFUL = 5
SCREEN = 40  # lines
COMMON = {"--help", "--version", "--dry-run"}


def _parsers() -> Iterator[tuple[str, Parser, argparse.ArgumentParser]]:
    """Yield each page: its name, the command's parser, and that of the page, which may be an action's."""
    for command in COMMANDS:
        parser = importlib.import_module(f"dockerutils.commands.{command}").parser()
        yield parser.prog, parser, parser
    actions = suite.parser().actions
    for name, action in actions.items():
        yield f"dockerutils {name}", suite.parser(), action


PAGES = list(_parsers())
page = pytest.mark.parametrize(("name", "parser", "shown"), PAGES, ids=[name for name, _, _ in PAGES])


def _examples(shown: argparse.ArgumentParser, prog: str) -> list[list[str]]:
    """Return the arguments of the command in each example; it can be part of a line of shell."""
    assert shown.epilog
    block = shown.epilog.removeprefix("examples:\n").partition("\n\n")[0]
    lines = [re.split(r"  +", line.strip()) for line in block.splitlines()]
    assert all(len(parts) == 2 for parts in lines), "each example has a comment"
    found = []
    for line, _ in lines:
        command = re.search(rf"(?:^|[(]|source ){prog}(?![\w-])([^|)&]*)", line)
        if command:
            found.append(shlex.split(command[1]))
        else:
            assert line.startswith("build-image "), line
    return found


@page
def test_examples_are_good(name, parser, shown) -> None:
    examples = _examples(shown, parser.prog)
    action = name.split()[1:]
    assert sum(words[: len(action)] == action for words in examples) >= 2
    assert len(shown.epilog.partition("\n\n")[0].splitlines()) > 2
    for words in examples:
        parser.parse(words)


@page
def test_everything_is_explained(name, parser, shown) -> None:
    assert shown.description
    assert all(action.help for action in shown._actions if not isinstance(action, argparse._SubParsersAction))


@page
def test_a_page_fits_a_screen(name, parser, shown, monkeypatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    pages = (
        {"-h": shown.format_short_help(), "--help": shown.format_help()}
        if shown is parser
        else {"-h": shown.format_help()}
    )
    assert {kind: line for kind, text in pages.items() for line in text.splitlines() if len(line) > 80} == {}
    assert len(pages["-h"].splitlines()) <= SCREEN
    assert pages["-h"].startswith(f"usage: {name} ")


@page
def test_options_are_grouped(name, parser, shown) -> None:
    groups = [
        {flag for action in group._group_actions for flag in action.option_strings if flag.startswith("--")} - COMMON
        for group in shown._action_groups
    ]
    assert max(map(len, groups)) <= HANDFUL
    if isinstance(shown, Parser):
        common = shown._option_string_actions
        assert {"-h", "--help", "--version"} <= common.keys()
        text = shown.format_help()
        assert text.index("common options:") > max(text.find("\noptions:"), text.find("\narguments:"))
        assert re.search(r"common options:\n  -h, --help +show this page and exit\n  --version", text)


def test_variables_of_the_environment_are_ones_that_are_read() -> None:
    sources = "\n".join(
        path.read_text() for path in Path(PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc"
    )
    for name, _, shown in PAGES:
        for variable in re.findall(r"[A-Z]+(?:_[A-Z]+)+", (shown.epilog or "").partition("environment:")[2]):
            # boto3 reads the profile.
            assert variable == "AWS_PROFILE" or len(re.findall(rf"\b{variable}\b", sources)) > 1, (name, variable)
