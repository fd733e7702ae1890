"""The words of a command line: split as a shell splits them, filled in, and shown so that they can be pasted into one.

The values of environment variables are executed, never shown: a `Word` made from `http://$U:$P@h` is the
expanded text to the system and `"http://$U:$P@h"` to the reader.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_REFERENCE = re.compile(
    r"""
    \{\{.*?\}\}                                              # a Go template: literal
  | \$(?: (?P<dollar>\$) | (?P<bare>[A-Za-z_]\w*) | \{(?P<braced>[A-Za-z_]\w*)\} )
  | \{(?P<field>[A-Za-z_]\w*)\}
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPED = re.compile(r'([\\"$`])')


class Word(str):
    """A word that holds references to environment variables.

    As a string it is the expanded value. `template` is the same word as `sh` reads it between double quotes:
    references as they were written, everything else escaped.
    """

    __slots__ = ("template",)

    template: str

    def __new__(cls, value: str, template: str) -> Self:
        """Make a word of its value and its template."""
        word = super().__new__(cls, value)
        word.template = template
        return word

    def partition_assignment(self) -> tuple[str, Word] | None:
        """Split `NAME=value` into the name and the value's word; None when the name itself holds a reference."""
        name, equals, value = self.partition("=")
        shown_name, _, template = self.template.partition("=")
        return (name, Word(value, template)) if equals and name == shown_name else None


def split(text: str) -> list[str]:
    """Split `text` into words as a POSIX shell does, expanding nothing; ValueError when a quote is not closed."""
    return shlex.split(text)


def substitute(text: str, fields: Mapping[str, Callable[[], str]], environ: Mapping[str, str]) -> str:
    """Fill in one word: `$NAME` and `${NAME}` from `environ`, `{name}` from `fields`; `$$` is a dollar sign.

    Braces around anything but a bare name are literal. ValueError names a variable that is not set or a field that
    does not exist. The result is a `Word` when it holds a reference to the environment, else a plain string.
    """
    if "$" not in text and "{" not in text:
        return text
    value: list[str] = []
    template: list[str] = []
    end = 0

    def add(literal: str) -> None:
        value.append(literal)
        template.append(_ESCAPED.sub(r"\\\1", literal))

    references = 0
    for match in _REFERENCE.finditer(text):
        add(text[end : match.start()])
        end = match.end()
        if variable := match["bare"] or match["braced"]:
            if variable not in environ:
                raise ValueError(f"${variable} is not set; export it, or write $$ for a dollar sign")
            value.append(environ[variable])
            # The braces keep the name apart from what follows it, as they did where the user wrote them.
            template.append(match[0])
            references += 1
        elif field := match["field"]:
            if field not in fields:
                known = ", ".join(f"{{{name}}}" for name in fields)
                raise ValueError(f"{{{field}}} is unknown; known here: {known}")
            add(fields[field]())
        else:
            add("$" if match["dollar"] else match[0])
    add(text[end:])
    return Word("".join(value), "".join(template)) if references else "".join(value)


def quote(word: str) -> str:
    """Quote `word` for `sh`: references stay references, between double quotes; all else is literal."""
    return f'"{word.template}"' if isinstance(word, Word) else shlex.quote(word)


def render(argv: Sequence[str], env: Mapping[str, str] | None = None, directory: str | None = None) -> str:
    """Return the line which, pasted into `sh`, runs `argv` with `env` added to the environment, in `directory`."""
    assignments = [f"{name}={quote(value)}" for name, value in _in_reading_order(env or {})]
    line = " ".join([*assignments, *map(quote, argv)])
    return f"(cd {quote(directory)} && {line})" if directory else line


def _in_reading_order(env: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Put the assignments that others refer to last: `sh` lets an assignment see the ones to the left of it."""

    def is_read_by_others(name: str) -> bool:
        pattern = re.compile(rf"\$\{{?{name}\b")
        return any(
            other != name and isinstance(value, Word) and pattern.search(value.template) for other, value in env.items()
        )

    return sorted(env.items(), key=lambda item: is_read_by_others(item[0]))
