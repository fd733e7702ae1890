"""Read INI files: keep the file and line of every value, and continue after a mistake.

It reads what the standard library's `configparser` reads with `interpolation=None` and case-sensitive keys
(https://docs.python.org/3/library/configparser.html#supported-ini-file-structure): the same sections, keys and
values. That module is not used because it does not keep the line of a value, and stops at the first mistake, which can
be in a section that the command does not need.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from dockerutils.core.errors import UserError, remedy_for_reading

DEFAULT = "DEFAULT"


class Place(NamedTuple):
    """A file, as the user would name it, and a line, counted from 1."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Value(NamedTuple):
    """The text of a key, its lines joined by newlines, with its section, key and place."""

    text: str
    section: str
    key: str
    place: Place

    def error(self, message: str) -> UserError:
        """Return the error that says what is wrong with this value, and where it is."""
        return UserError(self.describe(message))

    def describe(self, message: str) -> str:
        """Put the place before `message`."""
        return f"{self.place}: [{self.section}] {self.key}: {message}"


class Section:
    """The values of one section, and its faults, which matter only to a command that reads it."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.values: dict[str, Value] = {}
        self.faults: list[str] = []


class File(NamedTuple):
    """A file as read: `[DEFAULT]`, the other sections in order, and the faults outside of sections."""

    path: str
    default: Section
    sections: dict[str, Section]
    faults: list[str]


def read(path: str, shown_as: str) -> File:
    """Read the INI file at `path`, in UTF-8 with or without BOM; UserError if it cannot be read.

    Messages and places name it `shown_as`.
    """
    try:
        # To open a FIFO would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{shown_as} is not a file; replace it with a configuration file")
            content = stream.read()
    except IsADirectoryError:
        raise UserError(f"{shown_as} is a directory; replace it with a configuration file") from None
    except OSError as error:
        raise UserError(f"{shown_as} cannot be read: {error.strerror}; {remedy_for_reading(error)}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{shown_as}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None
    return parse(text, shown_as)


def parse(content: str, path: str) -> File:
    """Parse the text of an INI file; places and faults name it `path`."""
    file = File(path, Section(DEFAULT, Place(path, 0)), {}, [])
    section: Section | None = None
    lines: dict[tuple[str, str], list[str]] = {}  # the lines of each value, by section and key
    current: list[str] | None = None  # the lines that a continuation adds to
    indent = 0
    for number, raw in enumerate(_lines(content), start=1):
        line = raw.strip()
        if not line:
            if current is not None:
                current.append("")
            continue
        if line[0] in "#;":
            continue
        indented = len(raw) - len(raw.lstrip())
        if current is not None and indented > indent:
            current.append(line)
            continue
        indent = indented
        place = Place(path, number)
        if header := _header(line):
            section, current = _open(file, header, place), None
        elif section is None:
            file.faults.append(f"{place}: this line is before the first section; write a [section] line above it")
        elif option := _option(line):
            name, (key, text) = section.name, option
            if (name, key) in lines:
                first = section.values[key].place.line if key in section.values else section.place.line
                section.faults.append(
                    f"{place}: [{name}] {key}: duplicate key, also at line {first}; remove one of the two"
                )
            current = lines[name, key] = [text]
            section.values[key] = Value("", name, key, place)
        else:
            section.faults.append(f"{place}: [{section.name}] this line is not a key; write it as key = value")
    _join(file, lines)
    return file


def _lines(text: str) -> Iterator[str]:
    """Split at the line ends of Python's universal newlines only."""
    return iter(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _header(line: str) -> str:
    """Return the name in a header, '' if the line is not a header; text after the last bracket is ignored."""
    return line[1 : line.rfind("]")] if line[0] == "[" and "]" in line[2:] else ""


def _option(line: str) -> tuple[str, str] | None:
    """Return the key and the value on either side of the first `=` or `:`, None if there is no key."""
    key = line.split("=", 1)[0].split(":", 1)[0]
    return (key.rstrip(), line[len(key) + 1 :].strip()) if key and key != line else None


def _open(file: File, name: str, place: Place) -> Section:
    """Return the section that a header begins: a new one, `[DEFAULT]`, or the first of that name, with a fault."""
    if name == DEFAULT:
        return file.default
    if name in file.sections:
        first = file.sections[name]
        first.faults.append(f"{place}: [{name}] duplicate section, also at line {first.place.line}; merge the two")
        return first
    return file.sections.setdefault(name, Section(name, place))


def _join(file: File, lines: dict[tuple[str, str], list[str]]) -> None:
    for section in (file.default, *file.sections.values()):
        for key, value in section.values.items():
            text = "\n".join(lines[section.name, key]).rstrip()
            section.values[key] = value._replace(text=text)
