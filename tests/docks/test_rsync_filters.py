"""Rules of rsync: a real transfer leaves out what docker leaves out of a build context."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerutils.docks.rsync_filters import Filter, entries_among, entries_below, excluding
from dockerutils.project import dockerignore
from tests.project.test_dockerignore import CASES, DEEP_CASES, context, plant

PARTS = st.sampled_from(
    [*("a", "b", "*", "**", "?", "??", "a*", "*.py", "ab", "f", "b.log", "*b", "[ab]", "**b", "é", "?b*", "[^a]", "[!x]*", "f?"),
     *("\\[q]", "*é", "[éa]*", "x^*", "[a\\]]*")]
)  # fmt: skip
LINES = st.builds(
    lambda is_exception, parts: "!" * is_exception + "/".join(parts),
    st.booleans(),
    st.lists(PARTS, min_size=1, max_size=4),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Return a tree with names that rsync or a shell could misread."""
    root = plant(tmp_path_factory.mktemp("filters") / "tree")
    for name in ["ü*", "ü\\k", "-u", "a/b/+ x", "a/é?", "b/[q]x", "b/é\\"]:
        (root / name).touch()
    (root / "a/b*\\").mkdir()
    (root / "a/b*\\/f").touch()
    return root


def _sent(tree: Path, options: Iterable[str], destination: Path) -> set[str]:
    """Return what rsync copies; the paths of directories end with a slash."""
    subprocess.run(
        ["rsync", "-rl", "--delete", "--delete-excluded", *options, f"{tree}/", f"{destination}/"], check=True
    )
    return {
        os.path.relpath(path, destination) + "/" * (path.is_dir() and not path.is_symlink())
        for path in destination.rglob("*")
    }


def _listed(tree: Path) -> list[str]:
    command = ["rsync", "-rln", "-8", "--out-format=%n", f"{tree}/", "/nonexistent/"]
    lines = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
    return [re.sub(r"\\#(\d{3})", lambda octal: chr(int(octal[1], 8)), os.fsdecode(line)) for line in lines]


def _check(tree: Path, text: str, destination: Path) -> None:
    rules = Filter(dockerignore.parse(text))
    options = rules.options(entries_below(str(tree)))
    (tree / ".dockerignore").write_bytes(os.fsencode(text))
    assert _sent(tree, options, destination) == context(tree, dockerignore.parse(text)), options
    # A list of the paths gives the same rules.
    assert rules.options(entries_among(_listed(tree))) == options
    if not rules.needs_tree:
        assert rules.options(entries_among([])) == options


@pytest.mark.parametrize("text", [*CASES, *DEEP_CASES])
def test_what_is_sent_is_what_docker_sends(tree, tmp_path, text) -> None:
    _check(tree, text, tmp_path / "copy")


def test_more_than_a_few_double_asterisks(tree, tmp_path) -> None:
    _check(tree, "**/b/**/a/**/b/**/f*/**", tmp_path / "copy")
    _check(tree, "b/**/a/**/?/**/b/**/*\n!**/b.log", tmp_path / "copy")
    _check(tree, "/" + "/**/".join("abcdefgh" * 4), tmp_path / "copy")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, min_size=1, max_size=5))
def test_generated_patterns(tree, tmp_path, lines) -> None:
    _check(tree, "\n".join(lines), tmp_path / "copy")


@pytest.mark.parametrize(
    ("text", "needs_tree", "options"),
    [
        ("", False, []),
        (".git\n**/__pycache__\n*.py[co]\n[0-9x]\n", False, ["--exclude=/[0-9x]", "--exclude=/*.py[co]", "--exclude=**/__pycache__", "--exclude=/.git"]),
        ("a/**/b", False, ["--exclude=/a/b", "--exclude=/a/**/b"]),
        ("-x\n+ y\nb\\*r\n\\[q]", False, ["--exclude=/\\[q]", "--exclude=/b\\*r", "--exclude=/+ y", "--exclude=/-x"]),
        ("*\n!src\n!setup.py\nsrc/x", False, ["--exclude=/src/x", "--include=/setup.py", "--include=/setup.py/**", "--include=/src", "--include=/src/**", "--exclude=/*"]),
        # An exception for a path that is not left out changes nothing.
        ("**/*.log\n!a", False, ["--exclude=**/*.log"]),
        # Directories that lead to an exception are sent, if there is something to send in them.
        ("b\n!b/a/f", True, ["--include=/b/a", "--exclude=/b/*", "--include=/b/a/f", "--exclude=/b/a/*"]),
        ("b\n!b/none", True, ["--exclude=/b"]),
        # A pattern that matches nothing that is sent stays as it is.
        ("b\n!b/a/f\n**/*.log", True, ["--include=/b/a", "--exclude=/b/*", "--include=/b/a/f", "--exclude=/b/a/*", "--exclude=**/*.log"]),
        # rsync has no rule for a character, only for a byte, nor for a ^ among wildcards.
        ("f?", True, ["--exclude=/fé"]),
        ("x^*", True, []),
        ("^a*\n.g", True, ["--exclude=/a", "--exclude=/a.py", "--exclude=/.g"]),
    ],
)  # fmt: skip
def test_the_rules(tree, text, needs_tree, options) -> None:
    rules = Filter(dockerignore.parse(text))
    assert (rules.needs_tree, rules.options(entries_below(str(tree)))) == (needs_tree, options)


def test_ignored_paths_outside_of_the_tree() -> None:
    rules = Filter(dockerignore.parse("**/*.log\n!**/a"))
    assert rules.ignored(["a/x.log", "x.log", "a/", "a/f"]) == ["a/x.log", "x.log"]
    assert excluding("a/x*.log/") == "--exclude=/a/x\\*.log"


@pytest.mark.parametrize(
    ("text", "kept", "sent"),
    [
        ("a\n", ["a"], {"a/"}),
        ("*\n!b\n", ["a"], {"a/", "b/"}),
        # All that is below comes back, and nothing beside it.
        ("a\n**/*.log\n**/f\n", ["a/b"], {"a/", "a/b/", "a/b/b.log", "a/b/f", "a/b/é/f"}),
        ("a/*\n", ["a"], {"a/", "a/b/f", "a/f"}),
        ("a/**\n!a/f\n", ["a"], {"a/b/f", "a/f"}),
        ("a\n!a/f\n", ["a/b"], {"a/f", "a/b/f"}),
        # It is not left out, so nothing changes below it.
        ("**/*.log\n", ["a"], {"a/f"}),
        ("b\n", ["a", "none"], {"a/"}),
        ("*", ["[q]", "b*r", "s p"], {"[q]", "b*r", "s p"}),
        ("*", ["a/b/é"], {"a/b/é/b*r"}),
    ],
)
def test_what_is_kept_is_sent_all_the_same(tree, tmp_path, text, kept, sent) -> None:
    ignore = dockerignore.parse(text)
    (tree / ".dockerignore").write_text(text)
    options = Filter(ignore.keeping(kept)).options(entries_below(str(tree)))
    found = _sent(tree, options, tmp_path / "copy")
    plain = _sent(tree, Filter(ignore).options(entries_below(str(tree))), tmp_path / "copy")
    assert sent <= found
    brought = found - plain
    above = {f"{each[:end]}/" for each in kept for end in range(len(each)) if each[end] == "/"}
    assert all(path in above or f"{path}/".startswith(tuple(f"{each}/" for each in kept)) for path in brought)
    assert [ignore.leaves_out(each) for each in kept] == [bool(brought)] * len(kept)


def test_names_that_are_not_utf_8(tree, tmp_path) -> None:
    for name in [b"caf\xe9", b"x\xe9[", b"cafe"]:
        (tree / os.fsdecode(name)).touch()
    _check(tree, os.fsdecode(b"caf\xe9"), tmp_path / "copy")
    options = Filter(dockerignore.parse(os.fsdecode(b"caf\xe9\nx?[[]"))).options(entries_below(str(tree)))
    assert "--exclude=/caf?" in options
    # The options can be printed and pasted.
    assert "".join(options).isprintable()


def test_an_unreadable_directory_is_left_to_rsync(tmp_path) -> None:
    assert list(entries_below(str(tmp_path))("absent")) == []
