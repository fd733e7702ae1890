"""A reader of INI files that keeps the file and line of every value, and goes on after a fault.

It reads what the standard library's `configparser` reads with `interpolation=None` and case-sensitive keys
(https://docs.python.org/3/library/configparser.html#supported-ini-file-structure): the same sections, keys and
values. That module is not imported: it forgets where a value stood, and stops at the first fault of a file of which
the command at hand may only need another section.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dockerutils.core.errors import UserError

DEFAULT = "DEFAULT"


class Place(NamedTuple):
    """Where something stands: the file as the user would name it, and the line, counted from 1."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Value(NamedTuple):
    """A key's text, its lines joined by newlines, with the section, the key and the place that it came from."""

    text: str
    section: str
    key: str
    place: Place

    def error(self, message: str) -> UserError:
        """Return the error that says what is wrong with this value, and where it stands."""
        return UserError(self.describe(message))

    def describe(self, message: str) -> str:
        """Put the place before `message`."""
        return f"{self.place}: [{self.section}] {self.key}: {message}"


class Section:
    """The keys of one section, and the faults found in it, which matter only to a command that reads it."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.values: dict[str, Value] = {}
        self.faults: list[str] = []


class File(NamedTuple):
    """A file as read: `[DEFAULT]`'s keys, the other sections in order, and the faults that stand in no section."""

    path: str
    default: Section
    sections: dict[str, Section]
    faults: list[str]


def read(path: str, shown_as: str) -> File:
    """Read the INI file at `path`, in UTF-8 with or without BOM; UserError when it is no such file.

    Messages and places call it `shown_as`.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except IsADirectoryError:
        raise UserError(f"{shown_as} is a directory; it should be a configuration file") from None
    except OSError as error:
        raise UserError(f"{shown_as} cannot be read: {error.strerror}; mend its permissions") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{shown_as}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None
    return parse(text, shown_as)


def parse(content: str, path: str) -> File:
    """Parse the text of an INI file; `path` is what places and faults call it."""
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
            file.faults.append(f"{place}: this line stands before the first section; put a [section] line above it")
        elif option := _option(line):
            name, (key, text) = section.name, option
            if (name, key) in lines:
                first = section.values[key].place.line if key in section.values else section.place.line
                section.faults.append(
                    f"{place}: [{name}] {key}: the key stands at line {first} already; keep one of the two"
                )
            current = lines[name, key] = [text]
            section.values[key] = Value("", name, key, place)
        else:
            section.faults.append(f"{place}: [{section.name}] this line is no key; write it as key = value")
    _join(file, lines)
    return file


def _lines(text: str) -> Iterator[str]:
    """Split at the line ends that Python's universal newlines know, and at no other."""
    return iter(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _header(line: str) -> str:
    """Return the name in a header, nothing when the line is none; what follows the last bracket is ignored."""
    return line[1 : line.rfind("]")] if line[0] == "[" and "]" in line[2:] else ""


def _option(line: str) -> tuple[str, str] | None:
    """Return the key and the value on either side of the first `=` or `:`, None when the line is no option."""
    key = line.split("=", 1)[0].split(":", 1)[0]
    return (key.rstrip(), line[len(key) + 1 :].strip()) if key and key != line else None


def _open(file: File, name: str, place: Place) -> Section:
    """Return the section that a header opens: a new one, `[DEFAULT]`, or the first of that name, with a fault."""
    if name == DEFAULT:
        return file.default
    if name in file.sections:
        first = file.sections[name]
        first.faults.append(f"{place}: [{name}] stands at line {first.place.line} already; merge the two")
        return first
    return file.sections.setdefault(name, Section(name, place))


def _join(file: File, lines: dict[tuple[str, str], list[str]]) -> None:
    for section in (file.default, *file.sections.values()):
        for key, value in section.values.items():
            text = "\n".join(lines[section.name, key]).rstrip()
            section.values[key] = value._replace(text=text)
