"""Completion in bash, zsh and fish: the options and arguments of all parsers, in the syntax of each shell.

At a press of TAB the shell asks names.py for the names of images and docks. The part of a script that does not depend
on the commands is in `completions/`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dockerutils.cli.parser import Parser

SHELLS = ("bash", "zsh", "fish")

# The possible values of an option or argument, by its name in the usage: @kinds of names, and literal words. Others
# are not completed.
_VALUES = {
    "IMAGE": ("@images",),
    "IMAGE|all|clean": ("@images", "all", "clean"),
    "MONIKER|ADDRESS": ("@docks",),
    "DEST": ("@docks",),
    "MANAGER": ("@docks",),
    "WORKER": ("@docks",),
    "DOCK": ("@docks",),
    "FILE": ("@files",),
    "NAME[=VALUE]": ("@variables",),
    "SOURCE:PATH": ("@files",),
}

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_ASK = "import sys; sys.path.insert(0, sys.argv.pop(1)); from dockerutils.cli import names; names.main(sys.argv[1:])"


class Option(NamedTuple):
    """An option: its spellings, its help, the name of its value (None for a switch) and the possible values."""

    flags: list[str]
    help: str
    metavar: str | None
    values: tuple[str, ...]
    repeats: bool


class Argument(NamedTuple):
    """A positional argument; only the last one can repeat."""

    metavar: str
    values: tuple[str, ...]
    repeats: bool


class Spec(NamedTuple):
    """The options and arguments of a command, or of an action, with the name `COMMAND ACTION`.

    `hidden` are options with a value that are not offered. `command` is the metavar of a command behind the arguments,
    whose words are files.
    """

    name: str
    options: list[Option]
    arguments: list[Argument]
    hidden: list[str]
    command: str

    @property
    def valued(self) -> list[str]:
        """The spellings of all options with a value."""
        return [*(flag for option in self.options if option.metavar for flag in option.flags), *self.hidden]


def script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return the script for one of SHELLS; `parsers` are those of the commands, by name."""
    specs = [spec for name, parser in parsers.items() for spec in _specs(name, parser)]
    table, quote = {"bash": (_bash, shlex.quote), "zsh": (_zsh, shlex.quote), "fish": (_fish, _quote_for_fish)}[shell]
    # Without site and Python's environment variables: this starts in a third of the time.
    asking = [sys.executable, "-I", "-S", "-c", _ASK, os.path.dirname(_PACKAGE)]
    with open(os.path.join(_PACKAGE, "cli", "completions", f"completion.{shell}"), encoding="utf-8") as stream:
        text = stream.read()
    text = text.replace("# TABLE\n", "".join(f"{line}\n" for line in table(specs)))
    return text.replace("COMMANDS", " ".join(parsers)).replace("ASK_FOR_NAMES", " ".join(map(quote, asking)))


def _specs(name: str, parser: argparse.ArgumentParser) -> Iterator[Spec]:
    """Yield the specification of a parser, then those of its actions."""
    actions = parser._actions  # noqa: SLF001 - argparse has no public access
    options = [_option(action) for action in actions if action.option_strings]
    arguments = [action for action in actions if not action.option_strings]
    command = next((str(action.metavar) for action in arguments if action.nargs == argparse.REMAINDER), "")
    docker = parser.docker if isinstance(parser, Parser) else None
    spellings = {flag for option in options for flag in option.flags}
    letters = {f"-{letter}": name for letter, name in docker.letters.items()} if docker else {}
    hidden = [f"--{name}" for name in sorted(docker.valued)] if docker else []
    hidden += [letter for letter, name in letters.items() if docker and name in docker.valued]
    yield Spec(
        name,
        options,
        [_argument(action) for action in arguments if action.nargs != argparse.REMAINDER],
        [flag for flag in hidden if flag not in spellings],
        command,
    )
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each, its_parser in action.choices.items():
                yield from _specs(f"{name} {each}", its_parser)


def _option(action: argparse.Action) -> Option:
    metavar = None if action.nargs == 0 else str(action.metavar)
    values = _values(action) if metavar else ()
    return Option([*action.option_strings], action.help or "", metavar, values, isinstance(action.default, list))


def _argument(action: argparse.Action) -> Argument:
    return Argument(str(action.metavar), _values(action), action.nargs in {"*", "+"})


def _values(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices)) if action.choices else _VALUES.get(str(action.metavar), ())


def _bash(specs: list[Spec]) -> Iterator[str]:
    """Yield the arms of a case statement, which set the variables of completion.bash."""
    for spec in specs:
        takes = [
            word
            for option in spec.options
            if option.metavar
            for flag in option.flags
            for word in (flag, shlex.quote(" ".join(option.values)))
        ]
        takes += [word for flag in spec.hidden for word in (flag, "''")]
        once = [shlex.quote(" ".join(each.values)) for each in spec.arguments if not each.repeats]
        more = [" ".join(each.values) for each in spec.arguments if each.repeats]
        yield f"        {shlex.quote(spec.name)})"
        yield f"            options=({' '.join(flag for option in spec.options for flag in option.flags)})"
        yield f"            takes=({' '.join(takes)})"
        yield f"            arguments=({' '.join(once)})"
        yield f"            more={shlex.quote(''.join(more))}"
        yield f"            command={len(spec.arguments) if spec.command else ''}"
        yield "            ;;"


def _zsh(specs: list[Spec]) -> Iterator[str]:
    """Yield the arms of a case statement, which set the specifications of zsh's _arguments (zshcompsys)."""
    for spec in specs:
        yield f"        ({shlex.quote(spec.name)})"
        yield "            specs=("
        for option in spec.options:
            alone = "*" if option.repeats else f"({' '.join(option.flags)})"
            value = _zsh_value(option.metavar, option.values) if option.metavar else ""
            for flag in option.flags:
                joined = "" if not option.metavar else "=" if flag.startswith("--") else "+"
                yield f"                {shlex.quote(f'{alone}{flag}{joined}[{_zsh_text(option.help)}]{value}')}"
        for flag in spec.hidden:  # the exclamation mark hides them
            joined = "=" if flag.startswith("--") else "+"
            yield f"                {shlex.quote(f'!{flag}{joined}:value: ')}"
        for number, argument in enumerate(spec.arguments, 1):
            place = "*" if argument.repeats else f"{number}"
            yield f"                {shlex.quote(place + _zsh_value(argument.metavar, argument.values))}"
        if spec.command:  # behind its first word, no option is offered
            value = _zsh_value(spec.command, ("@files",))
            yield f"                {shlex.quote(f'(-){len(spec.arguments) + 1}{value}')}"
            yield f"                {shlex.quote(f'*{value}')}"
        yield "            )"
        yield "            ;;"


def _zsh_value(metavar: str, values: tuple[str, ...]) -> str:
    return f":{_zsh_text(metavar)}: _dockerutils_offer {' '.join(values)}"


def _zsh_text(text: str) -> str:
    return "".join(f"\\{each}" if each in "\\[]:" else each for each in text)


def _fish(specs: list[Spec]) -> Iterator[str]:
    """Yield one `complete` command for each option and argument, behind the options with a value."""
    for spec in specs:
        command, _, action = spec.name.partition(" ")
        takes = f"__dockerutils_takes_{spec.name.replace('-', '_').replace(' ', '_')}"
        yield f"set -g {takes} {' '.join(spec.valued)}".rstrip()
        place = len(spec.arguments) + 1
        here = f'"{action}" {place} {takes}' if spec.command else f'"{action}"'
        for option in spec.options:
            words = [f"-{'l' if flag.startswith('--') else 's'} {flag.lstrip('-')}" for flag in option.flags]
            if option.metavar:
                words.append(_fish_value(option.values))
            words.append(f"-d {_quote_for_fish(option.help)}")
            yield f"complete -c {command} -n '__dockerutils_in {here}' {' '.join(words)}"
        arguments = [*spec.arguments, *([Argument(spec.command, ("@files",), repeats=True)] if spec.command else [])]
        for number, argument in enumerate(arguments, 1):
            if argument.values:
                place_of_it = f"{number}-" if argument.repeats else f"{number}"
                condition = f'__dockerutils_at "{action}" {place_of_it} {takes}'
                yield f"complete -c {command} -n '{condition}' {_fish_value(argument.values).replace('-x', '-f', 1)}"


def _fish_value(values: tuple[str, ...]) -> str:
    if values == ("@files",):
        return "-r -F"
    offered = [f"(__dockerutils_names {each[1:]})" if each.startswith("@") else each for each in values]
    return f"-x -a {_quote_for_fish(' '.join(offered))}"


def _quote_for_fish(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"
