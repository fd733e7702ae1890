"""Quotes, variables and here-documents in the words of a Dockerfile, as BuildKit reads them.

Specification: https://docs.docker.com/reference/dockerfile/#environment-replacement and #here-documents. Where that is
silent, the behaviour is that of BuildKit's parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_HEREDOC = re.compile(r"\d*<<(-?)\s*([^<]*)\Z")
# BuildKit does not find a here-document in a word with ${A:-b} or the like.
_OPERAND = re.compile(r"\$\{\w*[^\w}]")
_SPECIAL_PARAMETERS = "@*#?-$!0"
_CHOICES = ("-", "+", "?", ":-", ":+", ":?")


class Heredoc(NamedTuple):
    """A here-document: the line that ends it, and whether tabs before that line are ignored (`<<-`)."""

    delimiter: str
    strips_tabs: bool


class _Piece(NamedTuple):
    """A part of a line. White space in it separates words, unless it was quoted."""

    text: str
    is_quoted: bool


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Return `text` without quotes and with the values of variables.

    Supported are `$A`, `${A}`, and `${A:-b}`, `${A-b}`, `${A:+b}`, `${A+b}`, `${A:?b}`, `${A?b}`, `${A#b}`, `${A##b}`,
    `${A%b}`, `${A%%b}`, `${A/b/c}`, `${A//b/c}`, where b and c can contain variables. Raise ValueError with the reason
    if docker rejects the text.
    """
    return "".join(piece.text for piece in _Scanner(text, variables, escape).pieces())


def heredocs(line: str) -> list[Heredoc]:
    """Return the here-documents that follow a RUN, COPY or ADD instruction, in order."""
    try:
        pieces = _Scanner(line, {}, "\\", is_raw=True).pieces()
    except ValueError:  # the line uses syntax of the shell: BuildKit finds no here-document in it
        return []
    found = []
    for word in _words(pieces):
        match = None if _OPERAND.search(word) else _HEREDOC.match(word)
        delimiter = _words(_Scanner(match[2], {}, "\\", keeps_unset=True).pieces()) if match else []
        if match and len(delimiter) == 1:
            found.append(Heredoc(delimiter[0], bool(match[1])))
    return found


def _words(pieces: list[_Piece]) -> list[str]:
    words = [""]
    for text, is_quoted in pieces:
        first, *others = [text] if is_quoted else re.split(r"\s+", text)
        words[-1] += first
        words += others
    return [word for word in words if word]


class _Scanner:
    """Reads a line from left to right.

    `is_raw` keeps quotes and escape characters and leaves variables as they are; `keeps_unset` does the latter only.
    """

    def __init__(
        self, text: str, variables: Mapping[str, str], escape: str, *, is_raw: bool = False, keeps_unset: bool = False
    ) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._keeps_quotes = self._keeps_escapes = is_raw
        self._keeps_unset = is_raw or keeps_unset

    def pieces(self, stop: str = "") -> list[_Piece]:
        """Return the parts up to the character `stop`, or to the end."""
        found: list[_Piece] = []
        while char := self._peek():
            if char == stop:
                self._at += 1
                return found
            if char == "$":
                found.append(_Piece(self._variable(), is_quoted=False))
            elif char == "'":
                found.append(_Piece(self._single_quoted(), is_quoted=True))
            elif char == '"':
                found.append(_Piece(self._double_quoted(), is_quoted=True))
            elif self._text.startswith("<<", self._at):
                found.append(_Piece(self._operator(), is_quoted=True))
            elif char == self._escape:
                found.append(_Piece(self._escaped(), is_quoted=True))
            else:
                found.append(_Piece(self._next(), is_quoted=False))
        if stop:
            raise ValueError(f"{stop!r} is missing")
        return found

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end == -1:
            raise ValueError("a single quote is not closed")
        start, self._at = self._at, end + 1
        return self._text[start : end + 1] if self._keeps_quotes else self._text[start + 1 : end]

    def _double_quoted(self) -> str:
        quote = self._next() if self._keeps_quotes else self._next()[1:]
        found = [quote]
        while char := self._peek():
            if char == "$":
                found.append(self._variable())
                continue
            self._at += 1
            if char == '"':
                return "".join([*found, quote])
            if char == self._escape:
                found.append(char if self._keeps_escapes else "")
                # Before other characters, it is an ordinary character.
                char = self._next() if self._peek() in ('"', "$", self._escape) else char * bool(self._peek())
            found.append(char)
        raise ValueError("a double quote is not closed")

    def _escaped(self) -> str:
        escape = self._next()
        return escape + self._next() if self._keeps_escapes else self._next()

    def _operator(self) -> str:
        """Return `<<` with the white space after it: both belong to the word of the here-document."""
        match = re.compile(r"<<[\t\r ]*").match(self._text, self._at)
        assert match
        self._at = match.end()
        return match[0]

    def _variable(self) -> str:
        """Return the value of the variable at this place."""
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._value(name, f"${name}") if name else "$"
        self._at += 1
        if self._peek() in ("", "{", "}", ":"):
            raise ValueError("'${' is not followed by the name of a variable")
        name = self._name()
        operator = self._next()
        if operator == "}":
            return self._value(name, f"${{{name}}}")
        if operator == "/":
            return self._replaced(name)
        if operator in ("#", "%"):
            return self._trimmed(name, operator)
        if operator == ":":
            operator += self._next()
        if operator in _CHOICES:
            return self._chosen(name, operator)
        raise ValueError(f"docker does not support ${{{name}{operator}…}}")

    def _name(self) -> str:
        match = re.compile(rf"\d+|[{re.escape(_SPECIAL_PARAMETERS)}]|\w*").match(self._text, self._at)
        assert match
        self._at = match.end()
        return match[0]

    def _value(self, name: str, written: str) -> str:
        if name in self._variables:
            return self._variables[name]
        return written if self._keeps_unset else ""

    def _operand(self, stop: str, *, keeps_escapes: bool) -> str:
        before, self._keeps_escapes = self._keeps_escapes, keeps_escapes
        try:
            return "".join(piece.text for piece in self.pieces(stop))
        finally:
            self._keeps_escapes = before

    def _chosen(self, name: str, operator: str) -> str:
        """Return the value of `${name-word}` and the like; with a colon, an empty value counts as unset."""
        word = self._operand("}", keeps_escapes=False)
        value = self._variables.get(name)
        if value is None and self._keeps_unset:
            return f"${{{name}{operator}{word}}}"
        is_set = value is not None and not (operator.startswith(":") and not value)
        if operator.endswith("+"):
            return word if is_set else ""
        if operator.endswith("?") and not is_set:
            state = "unset" if value is None else "empty"
            raise ValueError(f"{name}: {word or f'it must not be {state}'}")
        return value or "" if is_set else word

    def _trimmed(self, name: str, operator: str) -> str:
        """Return the value of `${name#pattern}` and the like: without the shortest or the longest match at one end."""
        pattern = self._operand("}", keeps_escapes=True)
        value = self._variables.get(name)
        if value is None and self._keeps_unset:
            return f"${{{name}{operator}{pattern}}}"
        is_longest = pattern.startswith(operator)
        regex = re.compile(_as_regex(pattern[is_longest:]))
        value = value or ""
        places = range(len(value) + 1)
        if operator == "#":
            ends = [end for end in places if regex.fullmatch(value[:end])]
            return value[ends[-1 if is_longest else 0] :] if ends else value
        starts = [start for start in places if regex.fullmatch(value[start:])]
        return value[: starts[0 if is_longest else -1]] if starts else value

    def _replaced(self, name: str) -> str:
        """Return the value of `${name/pattern/text}`, or of `${name//pattern/text}`, which replaces every match."""
        is_global = self._peek() == "/"
        self._at += is_global
        pattern = self._operand("/", keeps_escapes=True)
        replacement = self._operand("}", keeps_escapes=True)
        value = self._variables.get(name)
        if value is None and self._keeps_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        return re.sub(_as_regex(pattern), lambda _: replacement, value or "", count=0 if is_global else 1)


def _as_regex(pattern: str) -> str:
    """Translate a pattern of the shell, with `*`, `?` and escapes, into a regular expression."""
    found = []
    chars = iter(pattern)
    for char in chars:
        if char == "\\":
            escaped = next(chars, "")
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise ValueError(f"the pattern {pattern!r} has an unknown escape")
            found.append(re.escape(escaped))
        else:
            found.append({"*": ".*", "?": "."}.get(char) or re.escape(char))
    return "".join(found)
