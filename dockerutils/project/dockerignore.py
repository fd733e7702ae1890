"""Read `.dockerignore` as docker does: which paths below the root a build context leaves out.

The rules are those of https://github.com/moby/patternmatcher and of BuildKit's walk through a tree,
https://github.com/tonistiigi/fsutil; https://docs.docker.com/build/concepts/context/ describes only part of them. The
classic builder matches patterns in the same way, but below a directory that is left out it does not look for the
exceptions that start with a wildcard.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dockerutils.core.errors import UserError

NAME = ".dockerignore"

# White space as Go defines it; str.strip() removes more.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

_ANY_NAME = "a-name-that-no-pattern-names"

LITERAL, STAR, ANY, CLASS, DEEP, REST, START = "literal", "*", "?", "[]", "**/", "**", "^"


class Token(NamedTuple):
    """A part of a pattern: its kind, and its text; that of a class is a regular expression.

    DEEP is `**/`, any number of directories; REST is `**` at the end. START is a `^` in a pattern with wildcards:
    docker reads it as the start of the path, not as a character.
    """

    kind: str
    text: str


class Pattern(NamedTuple):
    """A line of the file: its number, whether it is an exception, and its parts.

    A `simple` pattern has no wildcard except one `**` at its start or end. Docker turns all others into regular
    expressions, in which `**` does not match a line break.
    """

    line: int
    exception: bool
    tokens: tuple[Token, ...]
    simple: bool

    @property
    def expression(self) -> str:
        """The regular expression that matches whole paths."""
        anything = r"[\s\S]*" if self.simple else ".*"
        parts = {STAR: "[^/]*", ANY: "[^/]", DEEP: f"(?:{anything}/)?", REST: anything, START: r"\A"}
        return "".join(parts.get(kind) or (text if kind == CLASS else re.escape(text)) for kind, text in self.tokens)

    @property
    def literal(self) -> str | None:
        """The only path that it matches; None if it has wildcards."""
        return (
            "".join(token.text for token in self.tokens) if {token.kind for token in self.tokens} == {LITERAL} else None
        )

    @property
    def head(self) -> str:
        """The directory, with a slash, that contains everything it can match; empty for the root."""
        plain = "".join(token.text for token in itertools.takewhile(lambda token: token.kind == LITERAL, self.tokens))
        return plain[: plain.rfind("/") + 1]


class Judgement(NamedTuple):
    """Whether a path is left out, and which patterns also hold for what is below it."""

    ignored: bool
    holding: tuple[bool, ...]


class Ignore:
    """The patterns of a project, in the order of their lines."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = patterns
        self._compiled: list[re.Pattern[str]] = []

    @property
    def root(self) -> Judgement:
        """The judgement on the root: it is not left out."""
        return Judgement(ignored=False, holding=(False,) * len(self.patterns))

    def judge(self, path: str, parent: Judgement) -> Judgement:
        """Judge a path by the patterns and by the judgement on its directory, as docker does.

        The last pattern that matches wins, and also holds for what is below. Docker skips a pattern that changes
        nothing: it does not hold below.
        """
        if not self._compiled:
            self._compiled = [re.compile(pattern.expression) for pattern in self.patterns]
        ignored, holding = False, []
        for pattern, compiled, held in zip(self.patterns, self._compiled, parent.holding, strict=True):
            holds = held or (pattern.exception == ignored and compiled.fullmatch(path) is not None)
            holding.append(holds)
            if holds:
                ignored = not pattern.exception
        return Judgement(ignored, tuple(holding))

    def judge_from_root(self, path: str) -> Judgement:
        """Judge a path, after the directories that lead to it."""
        judgement, parts = self.root, path.split("/")
        for count in range(1, len(parts) + 1):
            judgement = self.judge("/".join(parts[:count]), judgement)
        return judgement

    def keeping(self, paths: Iterable[str]) -> Ignore:
        """Return these patterns, with exceptions for those of the paths that they leave out, or whose content.

        An exception brings back the path and everything below it.
        """
        first = max((pattern.line for pattern in self.patterns), default=0) + 1
        left = [path for path in dict.fromkeys(paths) if self.leaves_out(path)]
        return Ignore([*self.patterns, *(self._exception(first + number, path) for number, path in enumerate(left))])

    def leaves_out(self, path: str) -> bool:
        """Return whether a path is left out, or everything below it."""
        return any(self.judge_from_root(each).ignored for each in (path, f"{path}/{_ANY_NAME}"))

    def _exception(self, line: int, path: str) -> Pattern:
        """Return the exception for a path, whatever its characters, or for its content if only that is left out."""
        is_itself = self.judge_from_root(path).ignored
        rest = () if is_itself else (Token(LITERAL, "/"), Token(REST, ""))
        return Pattern(line, True, (*(Token(LITERAL, char) for char in path), *rest), simple=True)


def read(root: str) -> Ignore:
    """Read the `.dockerignore` of a project; without one, nothing is left out.

    UserError names the line of a pattern that docker refuses.
    """
    try:
        with open(os.path.join(root, NAME), "rb") as stream:
            text = stream.read()
    except FileNotFoundError:
        return Ignore([])
    return parse(os.fsdecode(text.removeprefix(b"\xef\xbb\xbf")))


def parse(text: str) -> Ignore:
    """Read the text of a `.dockerignore`; UserError names the line of a pattern that docker refuses."""
    return Ignore(list(_patterns(text)))


def _patterns(text: str) -> Iterator[Pattern]:
    for number, line in enumerate(text.split("\n"), 1):
        written = line.strip(_SPACE)
        if line.startswith("#") or not written:
            continue
        exception = written.startswith("!")
        cleaned = _clean(written[1:].strip(_SPACE) if exception else written)
        if exception and cleaned in ("", "/"):
            raise UserError(f"{NAME}:{number}: {written!r} has no path; write one after the '!'")
        if cleaned.split("/")[0] in (".", "..", ""):
            continue  # no path of a context starts with that
        try:
            tokens = tuple(_tokens(cleaned))
        except ValueError as fault:
            raise UserError(f"{NAME}:{number}: {written!r}: {fault}") from None
        yield _pattern(number, cleaned, tokens, exception=exception)


def _pattern(line: int, text: str, tokens: tuple[Token, ...], *, exception: bool) -> Pattern:
    """Make a pattern; docker reads a simple one without regular expressions, and a little differently."""
    stem = text[2:] if text.startswith("**") else text.removesuffix("**")
    simple = not set(stem) & set("*?[]\\")
    if simple:
        tokens = tuple(Token(LITERAL, "^") if token.kind == START else token for token in tokens)
        if tokens[0].kind == DEEP and not stem.startswith("/"):
            # **name matches every path that ends with these letters, **/name only those with this name.
            tokens = (Token(REST, ""), *tokens[1:])
    return Pattern(line, exception, tokens, simple)


def _clean(path: str) -> str:
    """Write a path as Go's filepath.Clean does, without a leading slash; an empty path stays empty."""
    cleaned = re.sub("^//+", "/", posixpath.normpath(path)) if path else ""
    return (cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned).strip(_SPACE)


def _tokens(text: str) -> Iterator[Token]:
    """Split a pattern as docker does; ValueError says what docker refuses."""
    rest = text
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "*" and rest.startswith("*"):
            rest = rest[1:].removeprefix("/")
            yield Token(DEEP if rest else REST, "")
        elif char in "*?^":
            yield Token({"*": STAR, "?": ANY, "^": START}[char], char)
        elif char == "[":
            token, rest = _class(rest)
            yield token
        elif char == "\\":
            char, rest = _escaped(rest)
            yield Token(LITERAL, char)
        else:
            yield Token(LITERAL, char)


def _escaped(rest: str) -> tuple[str, str]:
    """Read the character after a backslash; return it and the rest."""
    if not rest:
        raise ValueError("no character follows the backslash; write / between directories")
    if not rest[0].isascii() or rest[0].isalnum():
        raise ValueError(
            f"docker does not read \\{rest[0]} as {rest[0]}; remove the backslash, and write / between directories"
        )
    return rest[0], rest[1:]


def _class(rest: str) -> tuple[Token, str]:
    """Read a class after its `[`, by the grammar of Go's filepath.Match; return it and the rest."""
    caret = rest.startswith("^")
    members, rest = "", rest[caret:]
    while not members or not rest.startswith("]"):
        low, rest = _member(rest)
        high, rest = _member(rest[1:]) if rest.startswith("-") else (low, rest)
        if low > high:
            raise ValueError(f"the range {low}-{high} is empty; write {high}-{low}")
        members += _literal(low) if low == high else f"{_literal(low)}-{_literal(high)}"
    return Token(CLASS, f"[{'^' * caret}{members}]"), rest[1:]


def _member(rest: str) -> tuple[str, str]:
    """Read a character of a class; return it and the rest."""
    if rest[:1] in ("", "-", "]"):
        raise ValueError("the [ does not start a class such as [abc] or [0-9]; write \\[ for the character")
    if rest.startswith("\\"):
        return _escaped(rest[1:])
    if rest[0] in "*?" or rest.startswith("[:"):
        raise ValueError(f"inside [ ], docker does not read {rest[0]} as a character; write \\{rest[0]}")
    return rest[0], rest[1:]


def _literal(char: str) -> str:
    return char if char.isalnum() else f"\\{char}"
