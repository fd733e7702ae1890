"""Read what a project's metadata files say. Nothing is executed.

Formats: https://toml.io/en/v1.0.0 and https://packaging.python.org/en/latest/specifications/pyproject-toml/ for
pyproject.toml, https://setuptools.pypa.io/en/latest/userguide/declarative_config.html for setup.cfg.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dockerutils.project import ini

# The files that describe, configure and build a package.
NAMES = ("pyproject.toml", "hatch.toml", "setup.cfg", "setup.py")

_KEY = r"""(?:"[^"\n]*"|'[^'\n]*'|[\w-]+)"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_KEYS})\s*\]\]?\s*(?:#.*)?")
_OPTION = re.compile(rf"\s*({_KEYS})\s*=\s*(.*)")
_STRING_OR_COMMENT = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*'|#.*""")


class Metadata(NamedTuple):
    """The metadata files of a project, as text and as values."""

    texts: Mapping[str, str]  # by file name
    toml: Mapping[str, object]  # the values of pyproject.toml, by dotted key; tables without keys are empty strings
    hatch: Mapping[str, object]  # those of hatch.toml
    cfg: Mapping[str, Mapping[str, str]]  # the sections of setup.cfg

    def has(self, *tables: str) -> bool:
        """Return whether pyproject.toml has one of these tables or keys."""
        return any(key == table or key.startswith(f"{table}.") for key in self.toml for table in tables)

    def strings(self, key: str) -> list[str]:
        """Return the strings that pyproject.toml has for a key, none if the key is missing."""
        return strings(self.toml.get(key))

    def option(self, section: str, key: str) -> str:
        """Return a value of setup.cfg, an empty string if the key is missing."""
        return self.cfg.get(section, {}).get(key, "")

    @property
    def name(self) -> str:
        """The name of the package, an empty string if it has none that can be read."""
        in_script = re.search(r"""\bname\s*=\s*["']([\w.-]+)["']""", self.texts["setup.py"])
        in_toml = self.strings("project.name") or self.strings("tool.poetry.name")
        return next(iter(in_toml), "") or self.option("metadata", "name") or (in_script[1] if in_script else "")

    @property
    def runs_setup(self) -> bool:
        """Whether setup.py calls setup()."""
        return re.search(r"\bsetup\s*\(", self.texts["setup.py"]) is not None

    @property
    def text(self) -> str:
        """The text of all files together."""
        return "\n".join(self.texts.values())


def read(root: str) -> Metadata:
    """Read the metadata files at `root`; files that do not exist or cannot be read count as empty."""
    texts = {name: text(os.path.join(root, name)) for name in NAMES}
    sections = ini.parse(texts["setup.cfg"], "setup.cfg").sections
    cfg = {name: {key: value.text for key, value in section.values.items()} for name, section in sections.items()}
    return Metadata(texts, parse_toml(texts["pyproject.toml"]), parse_toml(texts["hatch.toml"]), cfg)


def text(path: str) -> str:
    """Return the text of a file, an empty string if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def parse_toml(content: str) -> dict[str, object]:
    """Return the values of a TOML file by dotted key: strings and lists of strings as such, others as text.

    Python 3.10 has no TOML parser. Of several tables with one name, as in [[array]], the last one counts.
    """
    found: dict[str, object] = {}
    table = ""
    lines = iter(content.splitlines())
    for line in lines:
        if header := _HEADER.fullmatch(line):
            table = f"{_dotted(header[1])}."
            found.setdefault(table[:-1], "")
        elif option := _OPTION.fullmatch(line):
            found[table + _dotted(option[1])] = _value("\n".join([option[2], *_continued(option[2], lines)]))
    return found


def tables(content: str, name: str) -> list[dict[str, object]]:
    """Return the tables of an array of tables in a TOML file, written as [[name]] or in braces."""
    found: list[dict[str, object]] = []
    in_array = False
    segments: list[list[str]] = []
    for line in content.splitlines():
        if header := _HEADER.fullmatch(line):
            in_array = line.lstrip().startswith("[[") and _dotted(header[1]) == name
            segments += [[]] if in_array else []
        elif in_array:
            segments[-1].append(line)
    found += [parse_toml("\n".join(segment)) for segment in segments]
    inline = parse_toml(content).get(name)
    for braces in re.findall(r"\{([^{}]*)\}", inline if isinstance(inline, str) else ""):
        found.append(
            {key: _value(value) for key, value in re.findall(rf"({_KEY})\s*=\s*(\"[^\"]*\"|'[^']*'|\w+)", braces)}
        )
    return found


def strings(value: object) -> list[str]:
    """Return a string, or the strings of a list, as a list."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str) and each]


def _dotted(keys: str) -> str:
    return ".".join(key.strip("\"'") for key in re.findall(_KEY, keys))


def _continued(start: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield the further lines of a value that begins with `start`."""
    quotes = next((quotes for quotes in ('"""', "'''") if start.startswith(quotes)), "")
    if quotes and quotes in start[3:]:
        return
    depth = _depth(start)
    for line in lines if quotes or depth > 0 else ():
        yield line
        depth += _depth(line)
        if quotes in line if quotes else depth <= 0:
            return


def _depth(line: str) -> int:
    """Return how many more brackets a line opens than it closes."""
    bare = _STRING_OR_COMMENT.sub("", line)
    return sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))


def _value(written: str) -> object:
    """Return a value. Python spells strings, and lists of them, like TOML, but for the strings in single quotes."""
    source = written.strip()
    if source.startswith("'''"):
        source = f"r{source}"
    else:
        source = _STRING_OR_COMMENT.sub(lambda found: f"r{found[0]}" if found[0][0] == "'" else found[0], source)
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return written.strip()
