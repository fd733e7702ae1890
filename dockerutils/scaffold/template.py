"""Fill in the files of templates/.

They are the files that `dockerutils init` writes, with @name@ for a value. Directives have lines of their own and are
comments in the formats of these files: `#@ if NAME`, `#@ for NAME in LIST` and `#@ and`, which joins the commands in it
with &&; each with `#@ end`, the first one also with `#@ else`; and `#@ include FILE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

Values = Mapping[str, str | bool | Sequence[str]]

_DIRECTORY = os.path.join(os.path.dirname(__file__), "templates")
_DIRECTIVE = re.compile(r"#@ (if|for|and|else|end|include) ?(.*)")


def fill_in(name: str, values: Values) -> str:
    """Return the text of a template with its values.

    An empty or false value makes an `if` fail. KeyError if a value is missing.
    """
    return "".join(f"{line}\n" for line in _filled(_lines(name), values))


def _lines(name: str) -> list[str]:
    with open(os.path.join(_DIRECTORY, name), encoding="utf-8") as stream:
        return stream.read().splitlines()


def _filled(template: Sequence[str], values: Values) -> Iterator[str]:
    lines = iter(template)
    for line in lines:
        text = re.sub(r"@(\w+)@", lambda name: str(values[name[1]]), line).rstrip()  # the last value can be empty
        directive, argument = found.groups() if (found := _DIRECTIVE.fullmatch(text)) else ("", "")
        if not directive:
            yield text
        elif directive == "include":
            yield from _filled(_lines(argument), values)
        else:
            yield from _block(directive, argument, *_body(lines), values)


def _block(
    directive: str, argument: str, body: Sequence[str], alternative: Sequence[str], values: Values
) -> Iterator[str]:
    if directive == "if":
        yield from _filled(body if values[argument] else alternative, values)
    elif directive == "for":
        name, _, items = argument.split()
        for item in values[items]:  # type: ignore[union-attr]  # it is a list
            yield from _filled(body, {**values, name: item})
    else:
        commands = "\n".join(_filled(body, values))
        yield re.sub(r"(?<!\\)\n", r" && \\\n", commands)


def _body(lines: Iterator[str]) -> tuple[list[str], list[str]]:
    """Return the lines of a block, up to its `end`: those before its `else`, and those behind it."""
    body: list[str] = []
    alternative: list[str] = []
    current, depth = body, 0
    for line in lines:
        directive = found[1] if (found := _DIRECTIVE.fullmatch(line)) else ""
        depth += (directive in {"if", "for", "and"}) - (directive == "end")
        if depth < 0:
            break
        if directive == "else" and not depth:
            current = alternative
        else:
            current.append(line)
    return body, alternative
