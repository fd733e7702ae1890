"""Fill in the files of templates/.

They are the files that `dockerutils init` writes, with @name@ for a value. Directives have lines of their own and are
comments in the formats of these files: `#@ if NAME`, `#@ else`, `#@ end`, and `#@ include FILE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

_DIRECTORY = os.path.join(os.path.dirname(__file__), "templates")
_DIRECTIVE = re.compile(r"#@ (if|else|end|include) ?(\S*)")


def fill_in(name: str, values: Mapping[str, str | bool]) -> str:
    """Return the text of a template with its values.

    An empty or false value makes an `if` fail, and a value may have several lines. KeyError if a value is missing.
    """
    return "".join(f"{line}\n" for line in _lines(name, values))


def _lines(name: str, values: Mapping[str, str | bool]) -> Iterator[str]:
    with open(os.path.join(_DIRECTORY, name), encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    conditions: list[bool] = []
    for line in lines:
        directive, argument = found.groups() if (found := _DIRECTIVE.fullmatch(line)) else ("", "")
        if directive == "if":
            conditions.append(bool(values[argument]))
        elif directive == "else":
            conditions[-1] = not conditions[-1]
        elif directive == "end":
            conditions.pop()
        elif not all(conditions):
            continue
        elif directive == "include":
            yield from _lines(argument, values)
        else:
            yield re.sub(r"@(\w+)@", lambda name: str(values[name[1]]), line)
