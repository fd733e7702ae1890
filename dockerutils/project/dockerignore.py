"""`.dockerignore`, as docker reads it: which paths below the root a build context leaves out.

The rules are those of https://github.com/moby/patternmatcher, and of BuildKit's way through a tree
(https://github.com/tonistiigi/fsutil); https://docs.docker.com/build/concepts/context/ tells less. The classic builder
agrees on what a pattern matches, but does not look below a directory that is left out for what an exception that begins
with a wildcard would bring back.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dockerutils.core.errors import UserError

NAME = ".dockerignore"

# What Go calls white space; str.strip() would take more.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

LITERAL, STAR, ANY, CLASS, DEEP, REST, START = "literal", "*", "?", "[]", "**/", "**", "^"


class Token(NamedTuple):
    """A part of a pattern: its kind, and the character or, of a class, the regular expression that it stands for.

    DEEP is `**`, which stands for any number of directories, REST the same at the end. START is a `^` among wildcards:
    for docker it is the place before the first character, and no character.
    """

    kind: str
    text: str


class Pattern(NamedTuple):
    """A line of the file: its number, whether it is an exception, and its parts.

    `simple` says that it has no wildcard but one `**`, at its start or end. Docker turns the others into regular
    expressions, in which `**` stands for no path with a line end in it.
    """

    line: int
    exception: bool
    tokens: tuple[Token, ...]
    simple: bool

    @property
    def expression(self) -> str:
        """The regular expression of the paths that it matches, from their start to their end."""
        anything = r"[\s\S]*" if self.simple else ".*"
        parts = {STAR: "[^/]*", ANY: "[^/]", DEEP: f"(?:{anything}/)?", REST: anything, START: r"\A"}
        return "".join(parts.get(kind) or (text if kind == CLASS else re.escape(text)) for kind, text in self.tokens)

    @property
    def literal(self) -> str | None:
        """The one path that it matches, None when it has wildcards."""
        return (
            "".join(token.text for token in self.tokens) if {token.kind for token in self.tokens} == {LITERAL} else None
        )

    @property
    def head(self) -> str:
        """The directory, with a slash, that all it can match is in; nothing when that is the root."""
        plain = "".join(token.text for token in itertools.takewhile(lambda token: token.kind == LITERAL, self.tokens))
        return plain[: plain.rfind("/") + 1]


class Judgement(NamedTuple):
    """What became of a path: whether it is left out, and which patterns hold for what is below it."""

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

        The last pattern that matches wins, and holds for what is below; but where it changes nothing it is passed over,
        and does not hold.
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
        """Judge a path, and before it the directories that lead to it."""
        judgement, parts = self.root, path.split("/")
        for count in range(1, len(parts) + 1):
            judgement = self.judge("/".join(parts[:count]), judgement)
        return judgement


def read(root: str) -> Ignore:
    """Read the `.dockerignore` of a project; without one nothing is left out.

    UserError has the place of a pattern that docker does not take.
    """
    try:
        with open(os.path.join(root, NAME), "rb") as stream:
            text = stream.read()
    except FileNotFoundError:
        return Ignore([])
    return parse(os.fsdecode(text.removeprefix(b"\xef\xbb\xbf")))


def parse(text: str) -> Ignore:
    """Read the text of a `.dockerignore`; UserError has the place of a pattern that docker does not take."""
    return Ignore(list(_patterns(text)))


def _patterns(text: str) -> Iterator[Pattern]:
    for number, line in enumerate(text.split("\n"), 1):
        written = line.strip(_SPACE)
        if line.startswith("#") or not written:
            continue
        exception = written.startswith("!")
        cleaned = _clean(written[1:].strip(_SPACE) if exception else written)
        if exception and cleaned in ("", "/"):
            raise UserError(f"{NAME}:{number}: {written!r} excepts nothing; write a path behind the '!'")
        if cleaned.split("/")[0] in (".", "..", ""):
            continue  # no path in a context is called that
        try:
            tokens = tuple(_tokens(cleaned))
        except ValueError as fault:
            raise UserError(f"{NAME}:{number}: {written!r}: {fault}") from None
        yield _pattern(number, cleaned, tokens, exception=exception)


def _pattern(line: int, text: str, tokens: tuple[Token, ...], *, exception: bool) -> Pattern:
    """Make a pattern; a simple one is read without regular expressions by docker, and somewhat differently."""
    stem = text[2:] if text.startswith("**") else text.removesuffix("**")
    simple = not set(stem) & set("*?[]\\")
    if simple:
        tokens = tuple(Token(LITERAL, "^") if token.kind == START else token for token in tokens)
        if tokens[0].kind == DEEP and not stem.startswith("/"):
            # **name is what ends in these letters; **/name is what has this name.
            tokens = (Token(REST, ""), *tokens[1:])
    return Pattern(line, exception, tokens, simple)


def _clean(path: str) -> str:
    """Write a path as Go's filepath.Clean does, and without the slash that it may begin with; nothing stays nothing."""
    cleaned = re.sub("^//+", "/", posixpath.normpath(path)) if path else ""
    return (cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned).strip(_SPACE)


def _tokens(text: str) -> Iterator[Token]:
    """Take a pattern apart as docker does; ValueError tells what docker does not take."""
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
    """Read what stands behind a backslash; return it and what follows."""
    if not rest:
        raise ValueError("nothing follows the backslash; write / between directories")
    if not rest[0].isascii() or rest[0].isalnum():
        raise ValueError(
            f"docker does not take \\{rest[0]} for {rest[0]}; leave the backslash out, and write / between directories"
        )
    return rest[0], rest[1:]


def _class(rest: str) -> tuple[Token, str]:
    """Read a class behind its `[`, by the grammar of Go's filepath.Match; return it and what follows."""
    caret = rest.startswith("^")
    members, rest = "", rest[caret:]
    while not members or not rest.startswith("]"):
        low, rest = _member(rest)
        high, rest = _member(rest[1:]) if rest.startswith("-") else (low, rest)
        if low > high:
            raise ValueError(f"nothing is between {low} and {high}; exchange them")
        members += _literal(low) if low == high else f"{_literal(low)}-{_literal(high)}"
    return Token(CLASS, f"[{'^' * caret}{members}]"), rest[1:]


def _member(rest: str) -> tuple[str, str]:
    """Read a character of a class; return it and what follows."""
    if rest[:1] in ("", "-", "]"):
        raise ValueError("the [ begins no class, such as [abc] or [0-9]; write \\[ for the character")
    if rest.startswith("\\"):
        return _escaped(rest[1:])
    if rest[0] in "*?" or rest.startswith("[:"):
        raise ValueError(f"within [ ] docker does not take {rest[0]} for a character; write \\{rest[0]}")
    return rest[0], rest[1:]


def _literal(char: str) -> str:
    return char if char.isalnum() else f"\\{char}"
