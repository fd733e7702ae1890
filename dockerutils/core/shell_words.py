"""Words of a command line: split them as a shell does, fill them in, and print them so that `sh` reads the same words.

Values of environment variables are executed but not printed: the value of a `Word` is the expanded text, and it prints
as `"http://$U:$P@h"`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(
    rf"\{{\{{|\$(?:(?P<dollar>\$)|(?P<bare>{_NAME})|\{{(?P<braced>{_NAME})\}})|\{{(?P<field>{_NAME})\}}"
)
# Compiled when they are used first, which most runs never do. In a template: an escaped character, or a reference.
_IN_TEMPLATE = rf"(?s)\\.|\$(?:(?P<bare>{_NAME})|\{{(?P<braced>{_NAME})\}})"
_ESCAPED = re.compile(r'([\\"$`])')
# A shell sets these itself, so a reference could have another value where the line is pasted.
_SET_BY_SHELLS = frozenset("_ PWD OLDPWD SHLVL PPID LINENO RANDOM SECONDS OPTIND IFS UID EUID".split())
# A part of a word that is quoted or escaped, or any other character.
_PIECE = r"""(?s:\\.|'[^']*'|"(?:\\.|[^"\\])*"|\S)"""
# Words without quotes that are operators in a shell. A redirection can have its file behind it, but `>=1` is a version.
_OPERATOR = r"\|[|&]?|&&?|;;?|&>>?|\d*(?:<<?<?|<>|>>|>\||[<>]&[-\d]+)|\d*>>?(?!=)[^<>;]*|&>>?[^<>;]+"
_OPERATOR_CHARACTERS = frozenset("|&;<>")
_EXEC = {"-exec", "-execdir", "-ok", "-okdir"}
_COPY = "_dockerutils_"  # prefix of a variable that keeps the value of another one


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
    """Split `text` into words as a POSIX shell does, without expansion; ValueError says if a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{str(error).lower()}; close the quote or escape it with a backslash") from None


def operator(text: str) -> str:
    """Return the first operator in `text` that a shell would act on, such as `&&`, or an empty string.

    Without a shell it is passed to the program as an argument. Quoted and escaped operators do not count, nor do the
    characters within a word (`a|b`, `?x=1&y=2`), which are more often meant as they are, nor the `;` of `find -exec`.
    """
    if not _OPERATOR_CHARACTERS.intersection(text):
        return ""
    words = [match[0] for match in re.finditer(f"{_PIECE}+", text)]
    for index, word in enumerate(words):
        if re.fullmatch(_OPERATOR, word):
            if word != ";" or not _EXEC.intersection(words[:index]):
                return word
            continue
        pieces = re.findall(_PIECE, word)
        if pieces[-1] == ";":
            return ";"
        if found := next((each for each in ("&&", "||") if each in _unquoted(pieces)), ""):
            return found
    return ""


def without_shell(text: str, option: str = "") -> str:
    """Return what is wrong with a command that has an operator of a shell, and what to write, else an empty string.

    `option` is the option that takes the command as its value, if one does.
    """
    found = operator(text)
    if not found:
        return ""
    line = render(["sh", "-c", " ".join(text.split())])
    if option:
        # In double quotes it is easier to read, if nothing in it has a meaning there.
        line = f"{option} " + (quote(line) if re.search(r'["$`\\!]', line) else f'"{line}"')
    return f"no shell runs this, so {found} is an argument; write {line}"


def _unquoted(pieces: Iterable[str]) -> str:
    return "".join(piece if len(piece) == 1 else " " for piece in pieces)


def parts(word: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a word in their order: whether a part refers to the environment, and its name or its text."""
    if not isinstance(word, Word):
        yield False, word
        return
    literal: list[str] = []
    position = 0
    for match in re.finditer(_IN_TEMPLATE, word.template):
        literal.append(word.template[position : match.start()])
        position = match.end()
        if name := match["bare"] or match["braced"]:
            yield False, "".join(literal)
            yield True, name
            literal = []
        else:
            literal.append(match[0][1:])
    yield False, "".join([*literal, word.template[position:]])


def substitute(text: str, fields: Mapping[str, Callable[[], str]], environ: Mapping[str, str]) -> str:
    """Fill in one word: `$NAME` and `${NAME}` from `environ`, `{name}` from `fields`; `$$` is a dollar sign.

    Braces around anything but a bare name are literal. ValueError names a variable that is not set or an unknown
    field. The result is a `Word` when it holds a reference to the environment, else a plain string.
    """
    if "$" not in text and "{" not in text:
        return text
    value: list[str] = []
    template: list[str] = []
    references = 0
    for kind, written in _tokens(text):
        if kind == "variable":
            name = written.strip("${}")
            if name not in environ:
                raise ValueError(f"${name} is not set; export it, or write $$ for a dollar sign")
            value.append(environ[name])
            is_shown = name in _SET_BY_SHELLS
            # Braces keep the name apart from what follows it.
            template.append(_escape(environ[name]) if is_shown else written)
            references += not is_shown
        else:
            literal = _field(written, fields) if kind == "field" else written
            value.append(literal)
            template.append(_escape(literal))
    return Word("".join(value), "".join(template)) if references else "".join(value)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Split a text into literals, variables and fields, as kind and text."""
    position = 0
    has_templates = True
    while match := _REFERENCE.search(text, position):
        start, end = match.span()
        kind = "literal"
        written = match[0]
        if match[0] == "{{":  # a Go template, if it is closed
            close = text.find("}}", end) if has_templates else -1
            has_templates = close >= 0
            end = close + 2 if has_templates else start + 1
            written = text[start:end]
        elif match["dollar"]:
            written = "$"
        elif match["field"]:
            kind, written = "field", match["field"]
        else:
            kind = "variable"
        yield "literal", text[position:start]
        yield kind, written
        position = end
    yield "literal", text[position:]


def _field(name: str, fields: Mapping[str, Callable[[], str]]) -> str:
    if name not in fields:
        known = ", ".join(f"{{{each}}}" for each in fields)
        raise ValueError(f"{{{name}}} is unknown; known here: {known}")
    return fields[name]()


def _escape(literal: str) -> str:
    """Escape what `sh` expands between double quotes."""
    return _ESCAPED.sub(r"\\\1", literal)


def concatenate(parts: Iterable[str]) -> str:
    """Join parts to one word; references to the environment in them stay references."""
    parts = [*parts]
    value = "".join(parts)
    if not any(isinstance(part, Word) for part in parts):
        return value
    return Word(value, "".join(part.template if isinstance(part, Word) else _escape(part) for part in parts))


def divide(word: str, separator: str) -> list[str]:
    """Split a word at a separator; ValueError if a reference to the environment has one in its value."""
    values = word.split(separator)
    if not isinstance(word, Word):
        return values
    templates = word.template.split(separator)
    if len(values) != len(templates):
        raise ValueError(f"write {separator} next to the variable, not in its value")
    return [
        value if value == template else Word(value, template) for value, template in zip(values, templates, strict=True)
    ]


def quote(word: str) -> str:
    """Quote `word` for `sh`: references stay references, between double quotes; all else is literal.

    Characters that a terminal does not show, other than line ends and tabs, are written as numbers.
    """
    if isinstance(word, Word):
        return f'"{"".join(text if is_shown else _printf(text) for is_shown, text in _runs(word.template))}"'
    if word.isprintable():
        return shlex.quote(word)
    return "".join(shlex.quote(text) if is_shown else f'"{_printf(text)}"' for is_shown, text in _runs(word))


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Split a text where characters that a terminal shows, and those that it does not show, meet."""
    for is_shown, run in groupby(text, lambda each: each.isprintable() or each in "\n\t"):
        yield is_shown, "".join(run)


def _printf(text: str) -> str:
    octal = "".join(f"\\{byte:03o}" for byte in text.encode("utf-8", "surrogateescape"))
    return f"$(printf '{octal}')"


def render(argv: Sequence[str], env: Mapping[str, str] | None = None, directory: str | None = None) -> str:
    """Return the line which, pasted into `sh`, runs `argv` with `env` added to the environment, in `directory`."""
    copies, ordered = _in_order(env or {})
    line = " ".join([*(f"{name}={quote(value)}" for name, value in ordered), *map(quote, argv)])
    steps = [f"cd {quote(directory)}"] if directory else []
    steps += [f'{_COPY}{name}="${name}"' for name in copies]
    return f"({' && '.join([*steps, line])})" if steps else line


def _in_order(env: Mapping[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Put each assignment behind those that read its variable: in `sh` an assignment sees those to the left of it.

    Where assignments read each other's variables in a circle, that breaks at a variable whose old value is copied
    first. Return the names of these, and the assignments.
    """
    copies: list[str] = []
    ordered: list[tuple[str, str]] = []
    remaining = dict(env)
    while remaining:
        read = {name: _read_by_others(name, remaining) for name in remaining}
        name = next((name for name in remaining if not read[name]), None)
        if name is not None:
            ordered.append((name, remaining.pop(name)))
            continue
        name = next(iter(remaining))
        copies.append(name)
        for reader in read[name]:
            remaining[reader] = _reading_copy(remaining[reader], name)
    return copies, ordered


def _read_by_others(name: str, env: Mapping[str, str]) -> list[str]:
    return [
        other
        for other, value in env.items()
        if other != name
        and isinstance(value, Word)
        and any(name == (match["bare"] or match["braced"]) for match in re.finditer(_IN_TEMPLATE, value.template))
    ]


def _reading_copy(value: str, name: str) -> str:
    """Return a value that reads the copy of a variable in the place of that variable."""
    assert isinstance(value, Word)
    template = re.sub(
        _IN_TEMPLATE,
        lambda match: f"${{{_COPY}{name}}}" if name == (match["bare"] or match["braced"]) else match[0],
        value.template,
    )
    return Word(value, template)
