"""The configuration of a project, `docker/dockerutils.cfg`: its keys in one table, and its values, typed and filled in.

What the values of a key may be is said in `KEYS`; the table of docs/configuration.md is checked against it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.errors import UserError
from dockerutils.docker import options
from dockerutils.project import ini
from dockerutils.project.ini import Value

FILES = ("docker/dockerutils.cfg", "docker/run.cfg")  # the second is the earlier name

GPU = "--runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=all"

Fields = Mapping[str, Callable[[], str]]


class Key(NamedTuple):
    """A key of an image's section: who reads it, what its value is, what holds when it is absent, and its meaning."""

    name: str
    read_by: str  # "all", "run", "build" or "publish"
    type: str  # "text", "word" (filled in), "boolean", "options" (of docker), "command" or "tags"
    default: str
    meaning: str


KEYS = (
    Key("name", "all", "text", "", "the image's name, or the directory that a synthetic image runs"),
    Key("tag", "all", "text", "", "the image's tag; else that of the directory it names; else your login name"),
    Key("prefix", "all", "boolean", "True", "put `<project>-` before the name"),
    Key("environment", "run", "options", "", "environment variables: `-e VAR=value …`"),
    Key("env", "run", "text", "", "a section whose keys become environment variables"),
    Key("interactive", "run", "options", "", "`-it` (default on a terminal), `-i` (default elsewhere) or `-d`"),
    Key("gpu", "run", "options", "", f"options that give GPUs to the container; `-g` adds `{GPU}` when absent"),
    Key("network", "run", "word", "", "the name of the network to join"),
    Key("volumes", "run", "options", "", "mounts: `-v …` and `--mount …`"),
    Key("ports", "run", "options", "", "published ports: `-p …`"),
    Key("args", "run", "options", "", "any other options of docker run"),
    Key("init", "run", "options", "--init", "the init process; empty for none"),
    Key("keep_container", "run", "boolean", "False", "keep the container and run it detached, as `-k` does"),
    Key("cmd", "run", "command", "", "the command of the container, taken verbatim"),
    Key("build_args", "build", "options", "", "options of docker build"),
    Key("pull_FROM_on_force", "build", "boolean", "False", "pull the FROM images when building with `-f`"),
    Key("pre_build_script", "build", "command", "", "command run at the root before the build; a failure stops it"),
    Key("post_build_script", "build", "command", "", "command run at the root after a successful build"),
    Key("image_repo", "publish", "text", "docker_hub", "`docker_hub`, `aws`, or a registry `host[:port]`"),
    Key("publication_tag", "publish", "tags", "", "full name and tag to push; several are separated by white space"),
)
_KEYS = {key.name: key for key in KEYS}
NUL = "holds a NUL character, which no command line can; remove it"
DOCKED = "_docked"  # <key>_docked replaces <key> while the shell is docked

PUBLICATION_FIELDS = ("account", "region", "image", "tag")  # known when an image is published

_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "off", "0"), False
)


def is_false(value: Value | None) -> bool:
    """Tell whether a value says no; one that says neither does not."""
    return value is not None and _BOOLEANS.get(value.text.lower()) is False


class Config:
    """The sections of the configuration file, with `[DEFAULT]` behind each of them."""

    def __init__(self, file: ini.File) -> None:
        self.file = file

    @property
    def path(self) -> str:
        """The file, as named from the root."""
        return self.file.path

    def __contains__(self, section: str) -> bool:
        return section in self.file.sections

    def __iter__(self) -> Iterator[str]:
        return iter(self.file.sections)

    def section(self, name: str) -> dict[str, Value]:
        """Return the values of a section, `[DEFAULT]`'s among them; UserError tells the first fault in them."""
        for fault in self.faults(name):
            raise UserError(fault)
        return self.peek(name)

    def own(self, name: str) -> dict[str, Value]:
        """Return the values that stand in a section itself; UserError tells the first fault in them."""
        self.section(name)
        return self.file.sections[name].values

    def peek(self, name: str) -> dict[str, Value]:
        """Return what could be read of a section, whatever its faults; nothing but the defaults when it is absent."""
        own = self.file.sections.get(name)
        return {**self.file.default.values, **(own.values if own else {})}

    def faults(self, name: str) -> list[str]:
        """Return the faults that concern a section: of the file as a whole, of `[DEFAULT]` and its own."""
        own = self.file.sections.get(name)
        return [*self.file.faults, *self.file.default.faults, *(own.faults if own else [])]

    def unknown_keys(self, name: str) -> Iterator[str]:
        """Yield a warning for each key of an image's section that no command reads."""
        for key, value in self.peek(name).items():
            if key not in _KEYS and key.removesuffix(DOCKED) not in _KEYS:
                yield value.describe(f"unknown key; {_suggest(key)}")


class Settings:
    """One image's section as a command reads it: typed, filled in, and `<key>_docked` before `<key>` when docked."""

    def __init__(
        self, values: Mapping[str, Value], fields: Fields, environ: Mapping[str, str], *, docked: bool
    ) -> None:
        self._values = values
        self._fields = fields
        self._environ = environ
        self._docked = docked

    def value(self, key: str) -> Value | None:
        """Return what the file says of `key`, with its place; None when it says nothing."""
        assert key in _KEYS, key
        docked = self._values.get(key + DOCKED) if self._docked else None
        return docked if docked is not None else self._values.get(key)

    def text(self, key: str) -> str:
        """Return the value of `key` as it stands, or the default."""
        value = self.value(key)
        return _KEYS[key].default if value is None else value.text

    def boolean(self, key: str) -> bool:
        """Return the value of a yes-or-no key."""
        value = self.value(key)
        if value is None:
            return _BOOLEANS[_KEYS[key].default.lower()]
        try:
            return _BOOLEANS[value.text.lower()]
        except KeyError:
            raise value.error(f"{value.text!r} is neither true nor false; write True or False") from None

    def command(self, key: str) -> list[str]:
        """Return the words of a command, split as a shell splits them, otherwise verbatim."""
        value = self.value(key)
        if value is not None and "\0" in value.text:
            raise value.error(NUL)
        return [] if value is None else split(value)

    def read(self, key: Key) -> str | list[str]:
        """Return the value of `key` as its type has it: words, or a text."""
        if key.type == "boolean":
            return str(self.boolean(key.name))
        if key.type == "options":
            return self.options(key.name)
        if key.type == "command":
            return self.command(key.name)
        if key.type == "tags":
            return self.tags(key.name, {name: partial("{{{}}}".format, name) for name in PUBLICATION_FIELDS})
        return self.word(key.name) if key.type == "word" else self.text(key.name)

    def options(self, key: str, more: Fields | None = None) -> list[str]:
        """Return the words of docker options, split as a shell splits them, then filled in, `more` fields first."""
        value = self.value(key)
        if value is None:
            return shell_words.split(_KEYS[key].default)
        words = [self.fill_in(word, value, more) for word in split(value)]
        if fault := options.fault(words, options.BUILD if _KEYS[key].read_by == "build" else options.RUN):
            raise value.error(fault)
        return words

    def word(self, key: str) -> str:
        """Return the value of `key`, filled in as one word, or the default."""
        value = self.value(key)
        return _KEYS[key].default if value is None else self.fill_in(value.text, value)

    def tags(self, key: str, fields: Fields) -> list[str]:
        """Return the names that `key` lists, each filled in, with `fields` beside the common ones.

        White space separates them. A double quote before or behind a name is dropped: files have a stray one there.
        """
        value = self.value(key)
        if value is None:
            return []
        listed = (word.removeprefix('"').removesuffix('"') for word in value.text.split())
        return [self.fill_in(word, value, fields) for word in listed if word]

    def fill_in(self, word: str, value: Value, more: Fields | None = None) -> str:
        """Fill in one word of `value`, with `more` fields than options have."""
        if "\0" in word:
            raise value.error(NUL)
        try:
            return shell_words.substitute(word, {**self._fields, **(more or {})}, self._environ)
        except ValueError as error:
            raise value.error(str(error)) from None


def read(root: str) -> Config:
    """Read the configuration of the project at `root`; one without a file has no sections."""
    for path in FILES:
        # Places name the file as it is seen from the root.
        if os.path.lexists(os.path.join(root, path)):
            file = ini.read(os.path.join(root, path), shown_as=path)
            break
    else:
        file = ini.parse("", FILES[0])
    return Config(file)


def split(value: Value) -> list[str]:
    """Split a value into words as a shell does; an error has its place."""
    try:
        return shell_words.split(value.text)
    except ValueError as error:
        raise value.error(f"{str(error).lower()}; close the quote or escape it with a backslash") from None


def _suggest(key: str) -> str:
    import difflib

    base, docked = key.removesuffix(DOCKED), DOCKED if key.endswith(DOCKED) else ""
    near = difflib.get_close_matches(base, _KEYS, n=1)
    return f"did you mean {near[0]}{docked}?" if near else "it is ignored"
