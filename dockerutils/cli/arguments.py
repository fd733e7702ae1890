"""Read a command line as docker's users write it: our options, docker's options, and behind them a command.

`run-image dev -e A=1 python -c 'print(1)' -p`: the first word that is neither an option nor an argument of ours begins
the command, and everything behind it belongs to the command. `--` begins it too.
"""

from __future__ import annotations

import itertools
from argparse import Action
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dockerutils.core.errors import UserError
from dockerutils.core.suggestions import nearest
from dockerutils.docker.options import Table

_DIGITS = 10  # a number with so many digits, or more, is a mistake
DOCKER = "docker"  # `dest` of an option that the parser describes, but that goes to docker as it was written


class Line(NamedTuple):
    """The words of a command line.

    `own` are the options and arguments of the parser, options first. `docker` are the options for docker, and `unknown`
    those of them that neither the parser nor the table has. `rest` is the command; None without one and without `--`.
    """

    own: list[str]
    docker: list[str]
    unknown: list[str]
    rest: list[str] | None


def read(argv: Sequence[str], actions: Mapping[str, Action], table: Table | None, places: int | None) -> Line:
    """Split a command line.

    `actions` are the options of the parser, by spelling; `table` has the options of docker that the command passes on.
    Behind `places` arguments a command begins; None if the command line has none.
    """
    reader = _Reader(iter(argv), actions, table)
    arguments: list[str] = []
    rest: list[str] | None = None
    for word in reader.words:
        if word == "--" and (table or places is not None):
            rest = [*reader.words]
        elif word == "--":
            arguments += [word, *reader.words]
        elif word.startswith("--"):
            reader.long(word)
        elif word.startswith("-") and word != "-":
            reader.short(word)
        elif len(arguments) == places:
            rest = [word, *reader.words]
        else:
            arguments.append(word)
    return Line([*reader.own, *arguments], reader.docker, reader.unknown, rest)


class _Reader:
    """Sorts options into those of the parser and those of docker; the value of an option goes with it."""

    def __init__(self, words: Iterator[str], actions: Mapping[str, Action], table: Table | None) -> None:
        self.words = words
        self.own: list[str] = []
        self.docker: list[str] = []
        self.unknown: list[str] = []
        self._actions = actions
        self._table = table or Table("", frozenset(), frozenset(), {})
        self._passes_on = table is not None

    def long(self, word: str) -> None:
        """Read `--name`, `--name=value` or `--name value`; underscores count as dashes in the names of options."""
        name, equals, value = word.partition("=")
        dashed = name.replace("_", "-")
        action = self._actions.get(dashed)
        if action and action.dest != DOCKER:
            tied = [] if equals or action.nargs is not None else self._next()
            self.own.append("=".join([dashed, *tied]) if tied else dashed + equals + value)
        elif dashed[2:] in self._table.switches | self._table.valued:
            tied = self._next() if dashed[2:] in self._table.valued and not equals else []
            self.docker += [dashed + equals + value, *tied]
        else:
            self._unknown(word)

    def short(self, word: str) -> None:
        """Read a letter, or a cluster of letters, the last of which can have a value.

        A cluster in which each letter can be a switch is a cluster of switches: `-it` is docker's, even if our `-t`
        takes a value.
        """
        letters = word[1:]
        if len(letters) > 1 and all(map(self._is_switch, letters)):
            own = {letter for letter in letters if self._is_own_switch(letter)}
            self.own += [f"-{letter}" for letter in letters if letter in own]
            switches = "".join(letter for letter in letters if letter not in own)
            self.docker += [f"-{switches}"] if switches else []
            return
        while letters:
            letters = self._letter(letters)

    def _letter(self, letters: str) -> str:
        """Read the first of these letters, with its value if it takes one, and return the letters that remain."""
        action = self._actions.get(f"-{letters[0]}")
        if action and action.dest != DOCKER:
            return self._own_letter(letters, action)
        name = next((flag[2:] for flag in action.option_strings if flag.startswith("--")), "") if action else ""
        name = name or self._table.letters.get(letters[0], "")
        if not name:
            self._unknown(f"-{letters}")
        elif name in self._table.switches and letters[1:2] != "=":
            self.docker.append(f"-{letters[0]}")
            return letters[1:]
        elif self._table.letters.get(letters[0]) == name:
            self.docker += [f"-{letters}", *(self._next() if len(letters) == 1 else [])]
        else:  # a letter of ours for this option of docker
            value = [letters[1:].removeprefix("=")] if len(letters) > 1 else self._next()
            self.docker += [f"--{name}", *value]
        return ""

    def _own_letter(self, letters: str, action: Action) -> str:
        if action.nargs is not None:
            self.own.append(f"-{letters[0]}")
            return letters[1:]
        # argparse rejects a value that begins with a dash, unless it is joined to its option.
        tied = self._next() if len(letters) == 1 else []
        self.own.append("=".join([f"-{letters}", *tied]))
        return ""

    def _is_switch(self, letter: str) -> bool:
        return self._is_own_switch(letter) or self._table.letters.get(letter) in self._table.switches

    def _is_own_switch(self, letter: str) -> bool:
        action = self._actions.get(f"-{letter}")
        return action is not None and action.dest != DOCKER and action.nargs is not None

    def _next(self) -> list[str]:
        return list(itertools.islice(self.words, 1))

    def _unknown(self, word: str) -> None:
        if self._passes_on:
            self.unknown.append(word)
            self.docker.append(word)
        else:
            self.own.append(word)  # argparse rejects it


def number(option: str, text: str | None, what: str, most: int | None = None, least: int = 1) -> int | None:
    """Return the number that an option gives, None without one; UserError unless it is from `least` to `most`.

    `what` says what is counted.
    """
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) < _DIGITS and least <= int(text) <= (most or int(text)):
        return int(text)
    limits = f"from {least} to {most}" if most else f"above {least - 1}"
    raise UserError(f"{option}: {text!r} is not a number of {what}; write a number {limits}")


def reject_unknown(unknown: Sequence[str], prog: str, flags: Sequence[str], table: Table, *, has_command: bool) -> None:
    """Raise UserError for the first of these options that docker does not have either, by its own help.

    `flags` are the options of the command `prog`. An option of a newer docker passes; its value must be joined to it.
    """
    from dockerutils.docker import client  # late: only a word that no table has needs it

    known = client.options(table.command)
    for word in unknown:
        name, equals, _ = word.partition("=")
        long = known.letters.get(name[1:], name[2:].replace("_", "-"))
        if long in known.switches or (long in known.valued and equals):
            continue
        if long in known.valued:
            raise UserError(f"{name} takes a value, and this version of {prog} does not know it; write {name}=VALUE")
        candidates = [*flags, *(f"--{each}" for each in (*table.valued, *table.switches))]
        near = nearest(name.replace("_", "-"), candidates, at_least=0.8)
        advice = "write -- before the options of a command" if has_command else f"run: {prog} -h"
        if near:
            advice = f"did you mean {near}?" + (f" Otherwise {advice}" if has_command else "")
        raise UserError(f"{name} is not an option of {prog} or docker {table.command}; {advice}")
