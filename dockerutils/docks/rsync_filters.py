"""Translate `.dockerignore` into options of rsync: a sync leaves out what a build context leaves out.

Rules: man 1 rsync, FILTER RULES. rsync takes the first rule that matches, docker the last pattern, so the rules are in
reverse order. Most files need no more than that. Two kinds of patterns have no translation: those that rsync would read
differently (rsync counts bytes, not characters; see `_is_exact`), and exceptions below the root: what they bring back
depends on the tree, see `Ignore.judge`. For these, docker's judgement on each path of the tree becomes literal rules.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from dockerutils.project.dockerignore import CLASS, DEEP, LITERAL, REST, STAR, Ignore, Judgement, Pattern, Token

# List a directory of a tree, given as a path from the root: each name, and whether it is a directory itself.
Entries = Callable[[str], Iterable[tuple[str, bool]]]

_UNPRINTABLE = frozenset(map(chr, range(0xDC80, 0xDD00)))  # how Python represents bytes that are not UTF-8
_WILDCARDS = frozenset("*?[") | _UNPRINTABLE  # in a rule without any of these, rsync takes a backslash literally
_SPECIAL = frozenset("*?[\\")
_MOST = 3  # one pattern becomes up to 2 ** _MOST rules, because `**/` also matches no directory at all


class Filter:
    """The options of rsync for the patterns of a project."""

    def __init__(self, ignore: Ignore) -> None:
        self._ignore = Ignore([pattern for pattern in ignore.patterns if not _is_idle(pattern, ignore)])

    @property
    def needs_tree(self) -> bool:
        """Whether the options depend on the tree, because not every pattern has an exact translation."""
        return not all(
            _is_exact(pattern) and (not pattern.exception or (pattern.literal and "/" not in pattern.literal))
            for pattern in self._ignore.patterns
        )

    def options(self, entries: Entries) -> list[str]:
        """Return the options for a tree; `entries` is called only if `needs_tree`."""
        if self.needs_tree:
            return _Tree(self._ignore, entries).options()
        options = []
        for pattern in reversed(self._ignore.patterns):
            for rule in _translate(pattern):
                options.append(_option(*rule, included=pattern.exception))
                if pattern.exception:
                    options.append(f"--include={rule.escaped}/**")
        # What no rule excludes is included, so inclusions at the end change nothing.
        while options and options[-1].startswith("--include="):
            options.pop()
        return options

    def ignored(self, paths: Iterable[str]) -> list[str]:
        """Return the paths that docker leaves out, except those outside of the tree, which rsync does not know."""
        return [path for path in paths if self._ignore.judge_from_root(path.rstrip("/")).ignored]


class _Rule(NamedTuple):
    """A pattern of rsync: as it is written where there are wildcards, and where there are none."""

    escaped: str
    plain: str


class _Tree:
    """A tree as docker judges it: what to send of each directory that is sent."""

    def __init__(self, ignore: Ignore, entries: Entries) -> None:
        self._ignore = ignore
        self._entries = entries
        self._heads = [pattern.head for pattern in ignore.patterns if pattern.exception]
        self._any = re.compile("|".join(f"(?:{pattern.expression})" for pattern in ignore.patterns))
        # Patterns that match nothing that is sent: they stay as they are, which keeps the command line short.
        self._kept = [pattern for pattern in ignore.patterns if not pattern.exception and _is_exact(pattern)]
        self._compiled = {pattern: re.compile(pattern.expression) for pattern in self._kept}

    def options(self) -> list[str]:
        """Return rules that leave out what docker leaves out of this tree, and nothing else."""
        tree = self._visit("", self._ignore.root)
        is_covered = re.compile("|".join(f"(?:{pattern.expression})" for pattern in self._kept) or "(?!)").fullmatch
        options: list[str] = []
        for directory, names in sorted(tree.items()):
            sent = [name for name, is_sent in names.items() if is_sent]
            left = [name for name, is_sent in names.items() if not is_sent and not is_covered(directory + name)]
            options += _rules_for(directory, sent, left)
        rules = itertools.chain.from_iterable(map(_translate, reversed(self._kept)))
        return [*options, *(_option(*rule, included=False) for rule in rules)]

    def _visit(self, directory: str, judgement: Judgement) -> dict[str, dict[str, bool]]:
        """Return, for a directory and those below it, which names are sent; nothing if none of them is."""
        children: dict[str, bool] = {}
        below: dict[str, dict[str, bool]] = {}
        for name, is_directory in self._entries(directory.rstrip("/")):
            path = directory + name
            matches = self._any.fullmatch(path) is not None
            own = self._ignore.judge(path, judgement) if matches else judgement
            inside: dict[str, dict[str, bool]] = {}
            if is_directory and (not own.ignored or self._may_bring_back(f"{path}/")):
                inside = self._visit(f"{path}/", own)
            children[name] = not own.ignored or any(inside.get(f"{path}/", {}).values())
            if children[name]:
                below |= inside
                if matches:
                    self._kept = [each for each in self._kept if not self._compiled[each].fullmatch(path)]
        return {directory: children, **below}

    def _may_bring_back(self, directory: str) -> bool:
        """Return whether an exception can match something below a directory that is left out."""
        return any(head.startswith(directory) or directory.startswith(head) for head in self._heads)


def _rules_for(directory: str, sent: Sequence[str], left: Sequence[str]) -> Iterator[str]:
    """Yield the options that leave some names of a directory out: one for each, or one for each that is sent."""
    odd = [name for name in left if not _UNPRINTABLE.isdisjoint(name)]
    is_shorter = len(sent) + 1 < len(left)
    if is_shorter or odd:  # the rule for an odd name can match other names too
        yield from (_literal(directory + name, included=True) for name in sorted(sent, key=_is_odd))
    if is_shorter:
        yield f"--exclude=/{_escaped(directory)}*"
    else:
        yield from (_literal(directory + name, included=False) for name in sorted(left, key=_is_odd))


def _is_odd(name: str) -> tuple[bool, str]:
    """Order names: those that are not UTF-8 come last, because their rules are not literal."""
    return not _UNPRINTABLE.isdisjoint(name), name


def entries_below(root: str) -> Entries:
    """Return the entries of a tree on this machine."""

    def entries(directory: str) -> Iterator[tuple[str, bool]]:
        # rsync reports what cannot be read, or has just disappeared.
        with suppress(OSError), os.scandir(os.path.join(root, directory)) as found:
            for entry in found:
                yield entry.name, entry.is_dir(follow_symlinks=False)

    return entries


def entries_among(paths: Iterable[str]) -> Entries:
    """Return the entries of a tree that consists of these paths.

    The path of a directory ends with a slash; `./` is the root.
    """
    names: dict[str, list[tuple[str, bool]]] = {}
    for path in paths:
        if path == "./":
            continue
        directory, _, name = path.rstrip("/").rpartition("/")
        names.setdefault(directory, []).append((name, path.endswith("/")))
    return lambda directory: names.get(directory, [])


def excluding(path: str) -> str:
    """Return the option that leaves out one path, from the root, and what is below it."""
    return _literal(path.rstrip("/"), included=False)


def _is_idle(pattern: Pattern, ignore: Ignore) -> bool:
    """Return whether a pattern is an exception for one path that is sent anyway: it changes nothing, there or below."""
    if not (pattern.exception and pattern.literal):
        return False
    before = Ignore([each for each in ignore.patterns if each.line < pattern.line])
    return not before.judge_from_root(pattern.literal).ignored


def _is_exact(pattern: Pattern) -> bool:
    """Return whether rsync has rules that match exactly what a pattern matches.

    It has none for `?` and for classes of characters that are not ASCII, because it counts bytes.
    """
    if [token.kind for token in pattern.tokens[1:]].count(DEEP) > _MOST:
        return False
    if any(token.text in _UNPRINTABLE for token in pattern.tokens):
        return False
    kinds = {token.kind for token in pattern.tokens}
    classes = "".join(token.text for token in pattern.tokens if token.kind == CLASS)
    return (
        kinds <= {LITERAL, STAR, DEEP, REST, CLASS}
        and re.fullmatch(r"(?:\[(?:[A-Za-z0-9]-?)+\])*", classes) is not None
    )


def _translate(pattern: Pattern) -> list[_Rule]:
    """Return the rules for an exact pattern."""
    first, *rest = pattern.tokens
    start = _rule(first)
    parts = [[start if first.kind == DEEP else _Rule(f"/{start.escaped}", f"/{start.plain}")]]
    parts += [[_Rule("", ""), _rule(token)] if token.kind == DEEP else [_rule(token)] for token in rest]
    return [_Rule(*map("".join, zip(*choice, strict=True))) for choice in itertools.product(*parts)]


def _rule(token: Token) -> _Rule:
    if token.kind == LITERAL:
        return _Rule(_escaped(token.text), token.text)
    text = {STAR: "*", DEEP: "**/", REST: "**"}.get(token.kind, token.text)
    return _Rule(text, text)


def _literal(path: str, *, included: bool) -> str:
    return _option(f"/{_escaped(path)}", f"/{path}", included=included)


def _option(escaped: str, plain: str, *, included: bool) -> str:
    text = plain if _WILDCARDS.isdisjoint(plain) else escaped
    return f"--{'include' if included else 'exclude'}={text}"


def _escaped(text: str) -> str:
    """Escape wildcards; a byte that is not UTF-8 becomes `?`, because it cannot be printed and pasted."""
    return "".join("?" if char in _UNPRINTABLE else f"\\{char}" if char in _SPECIAL else char for char in text)
