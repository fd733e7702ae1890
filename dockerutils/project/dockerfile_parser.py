"""The instructions of a Dockerfile: lines, comments, parser directives, continuations, here-documents and flags.

Specification: https://docs.docker.com/reference/dockerfile/#format. Where that is silent, the behaviour is that of
BuildKit's parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from dockerutils.project import dockerfile_words

# What counts as white space at the ends of a line, and what separates words. No other character ends a line than \n.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_SEPARATOR = re.compile(r"[\t\v\f\r ]+")

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*\Z")
_DIRECTIVES = ("syntax", "escape", "check")
_ESCAPES = ("\\", "`")


class Instruction(NamedTuple):
    """An instruction: its first line, counted from 1, its keyword in upper case, its flags, and its arguments."""

    line: int
    keyword: str
    flags: tuple[str, ...]
    rest: str

    def flag(self, name: str) -> list[str]:
        """Return the values of `--name=value`, in order."""
        return [flag.removeprefix(f"--{name}=") for flag in self.flags if flag.startswith(f"--{name}=")]

    @property
    def words(self) -> list[str]:
        """The arguments: the strings of a JSON array, or what white space separates."""
        array = self.array
        return _SEPARATOR.split(self.rest) if array is None and self.rest else array or []

    @property
    def array(self) -> list[str] | None:
        """The arguments if they are a JSON array of strings, else None."""
        if not self.rest.startswith("["):
            return None
        import json  # late: few Dockerfiles need it

        try:
            array = json.loads(self.rest)
        except (ValueError, RecursionError):
            return None
        return array if isinstance(array, list) and all(isinstance(each, str) for each in array) else None


class Parsed(NamedTuple):
    """The instructions, the escape character, and the faults that docker refuses the file for, with their lines."""

    instructions: list[Instruction]
    escape: str
    faults: list[tuple[int, str]]


def parse(text: str) -> Parsed:
    """Parse the text of a Dockerfile."""
    lines = [line.rstrip("\r\n") for line in text.removeprefix("\ufeff").split("\n")]
    parsed = Parsed([], *_directives(lines))
    at = 0
    while at < len(lines):
        start = at
        line, at = _logical_line(lines, start, parsed.escape)
        if line is None:
            continue
        instruction = _instruction(line, start + 1, parsed.escape)
        parsed.instructions.append(instruction)
        if "<<" in line and _takes_heredocs(instruction, parsed.escape):
            at = _skip_heredocs(line, start, lines, at, parsed.faults)
    return parsed


def split_words(text: str, escape: str) -> list[str]:
    """Split arguments at white space outside quotes, and keep the quotes."""
    return [match[0] for match in _word(escape).finditer(text)]


def _directives(lines: Sequence[str]) -> tuple[str, list[tuple[int, str]]]:
    """Return the escape character that the directives at the top choose, and the faults of these."""
    chosen: dict[str, str] = {}
    faults = []
    for number, line in enumerate(lines, start=1):
        match = _DIRECTIVE.match(line.lstrip(_SPACE))
        name = match[1].lower() if match else ""
        if not match or name not in _DIRECTIVES:
            break
        if name in chosen:
            faults.append((number, f"duplicate {name} directive; keep one"))
        elif name == "escape" and match[2] not in _ESCAPES:
            faults.append((number, f"{match[2]} cannot be the escape character; use \\ or `"))
        else:
            chosen[name] = match[2]
    return chosen.get("escape", "\\"), faults


def _logical_line(lines: Sequence[str], at: int, escape: str) -> tuple[str | None, int]:
    """Return the line at `at`, joined with those that continue it, and where the next one starts.

    It is None if it is blank or a comment. Comments and blank lines within a continued line are ignored.
    """
    first = lines[at].lstrip(_SPACE)
    line, is_continued = _without_continuation("" if first.startswith("#") else first, escape)
    at += 1
    if not (line or is_continued):
        return None, at
    while is_continued and at < len(lines):
        following = lines[at].lstrip(_SPACE)
        if following and not following.startswith("#"):
            part, is_continued = _without_continuation(lines[at], escape)
            line += part
        at += 1
    return line, at


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """Return a line without the escape character that continues it, and whether there was one.

    An escape character that is itself escaped continues nothing.
    """
    end = line.rstrip(" \t")
    if end.endswith(escape) and not end.endswith(escape * 2):
        return end[:-1], True
    return line, False


def _instruction(line: str, number: int, escape: str) -> Instruction:
    keyword, *rest = _SEPARATOR.split(line.strip(_SPACE), maxsplit=1)
    flags, arguments = _flags(rest[0] if rest else "", escape)
    return Instruction(number, keyword.upper(), flags, arguments.strip(_SPACE))


def _flags(text: str, escape: str) -> tuple[tuple[str, ...], str]:
    """Return the flags before the arguments, without quotes, and the arguments. A flag `--` is the last one."""
    flags: list[str] = []
    rest = text.lstrip(_SPACE)
    while rest.startswith("--"):
        match = _word(escape).match(rest)
        assert match
        flag, rest = _unquoted(match[0], escape), rest[match.end() :].lstrip(_SPACE)
        if flag == "--":
            break
        flags.append(flag)
    return tuple(flags), rest


def _word(escape: str) -> re.Pattern[str]:
    escaped = rf"{re.escape(escape)}."
    return re.compile(rf"""(?:{escaped}|"(?:{escaped}|[^"])*(?:"|\Z)|'[^']*(?:'|\Z)|\S)+""", re.DOTALL)


def _unquoted(word: str, escape: str) -> str:
    found: list[str] = []
    quote = ""
    chars = iter(word)
    for char in chars:
        if char == escape:
            found.append(next(chars, ""))
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            found.append(char)
    return "".join(found)


def _takes_heredocs(instruction: Instruction, escape: str) -> bool:
    if instruction.keyword == "ONBUILD":
        instruction = _instruction(instruction.rest, instruction.line, escape)
    return instruction.keyword in ("ADD", "COPY", "RUN") and instruction.array is None


def _skip_heredocs(line: str, start: int, lines: Sequence[str], at: int, faults: list[tuple[int, str]]) -> int:
    """Return where the instruction after the here-documents of `line` starts, and add to the faults."""
    for delimiter, strips_tabs in dockerfile_words.heredocs(line):
        ends = (
            number
            for number in range(at, len(lines))
            if (lines[number].lstrip("\t") if strips_tabs else lines[number]) == delimiter
        )
        end = next(ends, None)
        if end is None:
            faults.append((start + 1, f"the here-document does not end; add a line {delimiter}"))
            break
        at = end + 1
    return at
