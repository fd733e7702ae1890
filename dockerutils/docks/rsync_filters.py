"""`.dockerignore` as rules of rsync: what a build context leaves out, a transfer leaves out.

Rules: man 1 rsync, FILTER RULES. They differ from docker's patterns in three ways. The first one that matches wins, so
they stand in reverse. A directory that is left out is not looked into, so what an exception brings back needs the
directories that lead to it. And docker passes patterns over that change nothing where it stands, see dockerignore.py.
What cannot be said in patterns is said of the paths that there are: after a walk through the tree which is to be sent.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from dockerutils.project.dockerignore import CLASS, DEEP, LITERAL, REST, STAR, START, Ignore, Judgement, Pattern, Token

# The names in a directory of the tree, a path from the root, each with whether it is a directory itself.
Entries = Callable[[str], Iterable[tuple[str, bool]]]

_UNPRINTABLE = frozenset(map(chr, range(0xDC80, 0xDD00)))  # bytes of a name that is no UTF-8, as Python has them
_WILD = frozenset("*?[") | _UNPRINTABLE  # without one of them, rsync takes a backslash as it stands
_SPECIAL = frozenset("*?[\\")
_MOST = 3  # alternatives for `**` in one pattern are two to the power of this


class Glob(NamedTuple):
    """A pattern of rsync's, as it reads among wildcards and as it reads without one; and as a regular expression."""

    escaped: str
    plain: str
    expression: str

    def option(self, *, included: bool, below: bool = False) -> str:
        """Return the option that includes or excludes what it matches, or what is below that."""
        text = f"{self.escaped}/**" if below else self.plain if _WILD.isdisjoint(self.plain) else self.escaped
        return f"--{'include' if included else 'exclude'}={text}"


class Filter:
    """The rules for the patterns of a project, made with the tree in view where that is needed."""

    def __init__(self, ignore: Ignore) -> None:
        # An exception for one path that is not left out changes nothing, there or below.
        self.patterns = [pattern for pattern in ignore.patterns if not _is_idle(pattern, ignore)]
        self._ignore = Ignore(self.patterns)
        self._globs = [_globs(pattern) for pattern in self.patterns]
        self._is_exact = all(map(_is_exact, self.patterns))
        exceptions = [pattern for pattern in self.patterns if pattern.exception]
        self._single = {pattern.literal for pattern in exceptions if pattern.literal}
        self._heads = {pattern.head for pattern in exceptions if not pattern.literal}

    @property
    def needs_tree(self) -> bool:
        """Whether the rules depend on the paths that there are."""
        return not self._is_exact or bool(self._heads) or any("/" in path for path in self._single)

    def survey(self) -> list[str]:
        """Return rules to list a tree with, so that what `options` asks for is in the list, and little else."""
        if not self._is_exact or "" in self._heads:
            return []
        rules: dict[str, None] = {}
        for path in sorted(self._single | {head.rstrip("/") for head in self._heads}):
            parts = path.split("/")
            rules |= {f"/{_escaped('/'.join(parts[:count]))}/*": None for count in range(1, len(parts))}
            rules[f"/{_escaped(path)}/**"] = None
        return [*(f"--include={rule}" for rule in rules), "--exclude=/*/**"]

    def options(self, entries: Entries) -> list[str]:
        """Return the options of rsync for a tree; it is looked at only when `needs_tree`."""
        found = self._corrections(entries) if self.needs_tree else {}
        options = [_path(path).option(included=included) for path, included in sorted(found.items())]
        is_entered = any(found.values())
        for pattern, globs in zip(reversed(self.patterns), reversed(self._globs), strict=True):
            for glob in globs:
                options.append(glob.option(included=pattern.exception))
                # What is below an excluded directory is excluded with it, unless rsync is to look into it.
                if (pattern.exception or is_entered) and not glob.escaped.endswith("**"):
                    options.append(glob.option(included=pattern.exception, below=True))
        # In the end all is included that no rule has excluded.
        while options and options[-1].startswith("--include="):
            options.pop()
        return options

    def ignored(self, paths: Iterable[str]) -> list[str]:
        """Return those of the paths that docker leaves out, whatever the rules say."""
        return [path for path in paths if self._ignore.judge_from_root(path.rstrip("/")).ignored]

    def _corrections(self, entries: Entries) -> dict[str, bool]:
        """Return the paths of a tree that the rules made of patterns are wrong about, and whether they are included."""
        walk = _Walk(self._ignore, self._globs, entries, is_exact=self._is_exact)
        return dict(walk.visit("", self._ignore.root, -1, self._may_differ)[0])

    def _may_differ(self, directory: str) -> bool:
        """Tell whether what is below a directory, on which docker and rsync agree, has to be looked at."""
        below = f"{directory}/"
        return (
            not self._is_exact
            or any(head.startswith(below) or below.startswith(head) for head in self._heads)
            or any(path.startswith(below) for path in self._single)
        )


class _Walk:
    """A walk through a tree, in which each path is judged as docker does and as rsync does."""

    def __init__(self, ignore: Ignore, globs: Sequence[Sequence[Glob]], entries: Entries, *, is_exact: bool) -> None:
        self._ignore = ignore
        self._is_exact = is_exact  # then a path that docker's patterns do not match is matched by no rule either
        self._entries = entries
        self._rules = [_in_bytes(some) for some in globs]
        self._any_rule = _in_bytes(itertools.chain.from_iterable(globs))
        self._any_pattern = re.compile("|".join(f"(?:{pattern.expression})" for pattern in ignore.patterns))

    def visit(
        self, directory: str, judgement: Judgement, last: int, may_differ: Callable[[str], bool]
    ) -> tuple[list[tuple[str, bool]], bool]:
        """Return the paths in a directory that the rules are wrong about, and whether something in it is sent.

        `last` is the last pattern that holds for the directory, as rsync has it; -1 when none does.
        """
        found: list[tuple[str, bool]] = []
        is_sent = False
        prefix = f"{directory}/" if directory else ""
        for name, is_directory in self._entries(directory):
            path = prefix + name
            own, own_last = self._judge(path, judgement, last)
            ignored, excluded = own.ignored, own_last >= 0 and not self._ignore.patterns[own_last].exception
            inside: list[tuple[str, bool]] = []
            if is_directory and (may_differ(path) or (excluded and not ignored)):
                inside, sends = self.visit(path, own, own_last, may_differ)
                ignored = ignored and not sends
            if ignored != excluded:
                found.append((path, not ignored))
            if not ignored:
                found += inside
                is_sent = True
        return found, is_sent

    def _judge(self, path: str, judgement: Judgement, last: int) -> tuple[Judgement, int]:
        """Judge a path in both ways; most match nothing, and are what their directory is."""
        if self._any_pattern.fullmatch(path):
            judgement = self._ignore.judge(path, judgement)
        elif self._is_exact:
            return judgement, last
        encoded = os.fsencode(path)
        if self._any_rule.fullmatch(encoded):
            matching = (number for number, rule in enumerate(self._rules) if rule.fullmatch(encoded))
            last = max(last, *matching)
        return judgement, last


def entries_below(root: str) -> Entries:
    """Return the names in the directories of a tree on this machine."""

    def entries(directory: str) -> Iterator[tuple[str, bool]]:
        # One that cannot be read, or has just gone, is for rsync to complain of.
        with suppress(OSError), os.scandir(os.path.join(root, directory)) as found:
            for entry in found:
                yield entry.name, entry.is_dir(follow_symlinks=False)

    return entries


def entries_among(paths: Iterable[str]) -> Entries:
    """Return the names in the directories of a tree whose paths are these.

    Those of directories end with a slash, and `./` is the root.
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
    return _path(path.rstrip("/")).option(included=False)


def _is_idle(pattern: Pattern, ignore: Ignore) -> bool:
    if not (pattern.exception and pattern.literal):
        return False
    before = Ignore([each for each in ignore.patterns if each.line < pattern.line])
    return not before.judge_from_root(pattern.literal).ignored


def _is_exact(pattern: Pattern) -> bool:
    """Tell whether rsync's globs match what a pattern matches; not where characters count, for rsync counts bytes."""
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


def _globs(pattern: Pattern) -> list[Glob]:
    """Return the globs that say of rsync what a pattern says, or come near to it."""
    first, *rest = pattern.tokens
    parts = [[Glob("**/", "**/", "(?:.*/)?")] if first.kind == DEEP else [_anchored(_glob(first))]]
    count = 0
    for token in rest:
        count += token.kind == DEEP
        if token.kind == DEEP and count <= _MOST:
            parts.append([Glob("", "", ""), Glob("**/", "**/", ".*/")])
        else:
            parts.append([_glob(token)])
    return [Glob(*map("".join, zip(*choice, strict=True))) for choice in itertools.product(*parts)]


def _anchored(glob: Glob) -> Glob:
    return Glob(f"/{glob.escaped}", f"/{glob.plain}", glob.expression)


def _glob(token: Token) -> Glob:
    kind, text = token
    if kind == LITERAL and text not in _UNPRINTABLE:
        return Glob(_escaped(text), text, re.escape(text))
    if kind == CLASS and text.isascii():
        return Glob(text, text, f"(?!/){text}")
    expression = {STAR: "[^/]*", START: "", DEEP: ".*", REST: ".*"}.get(kind, "[^/]")
    written = {STAR: "*", START: "", DEEP: "**", REST: "**"}.get(kind, "?")
    return Glob(written, written, expression)


def _path(path: str) -> Glob:
    return _anchored(Glob(_escaped(path), path, ""))


def _escaped(text: str) -> str:
    """Escape what rsync takes for wildcards; what cannot be printed, and pasted, stands for any byte."""
    return "".join("?" if char in _UNPRINTABLE else f"\\{char}" if char in _SPECIAL else char for char in text)


def _in_bytes(globs: Iterable[Glob]) -> re.Pattern[bytes]:
    return re.compile(os.fsencode("|".join(f"(?:{glob.expression})" for glob in globs)), re.DOTALL)
