""".dockerignore: what is left out, compared with the contexts that real engines receive."""

from __future__ import annotations

import io
import json
import os
import posixpath
import random
import subprocess
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerutils.core.errors import UserError
from dockerutils.project import dockerignore
from dockerutils.project.dockerignore import Ignore, Judgement
from tests.testbed import debian

DIRECTORIES = ["a", "a/b", "a/ab", "b", "b/a", "b/a/b", ".h", "x^y", "a/b/é"]
FILES = ["f", "a.py", "b.log", ".g", "fé", "-x", "s p", "[q]", "b*r"]

# Both builders agree on these.
CASES = [
    *("a", "/a", "a/", "./a/../b", "//a", "/ a", "  a  ", "a//b", "#a\na", " # a", "\ufeffa", "a\r\n!a/f\r\n", ".", "..", "../a", "/"),
    *("*", "**", "**/**", "***", "a/**", "a**", "**a", "*/a", "*/**", "*/*/f", "**/b/**", "a/**/f", "a**f", "a/**f", "**f", "**/.g", ".*"),
    *("**/?", "?", "a/[ab]", "[^a]", "[a-c]", "x[^a]y", "a[^x]b", "[!a]", "a[!b]", "[é]", "f[é-ê]", "**/*.p?", "**/f?", "b]", "[[]q]"),
    *("\\[q]", "b\\*r", "**/[[]q\\]", "x^y", "x^*", "^a", "^a*", "**/^a*", "**/s p", "**/-x", "**/é", "empty", ".dockerignore"),
    *("!a", "! a", "*\n!a", "*\n! a", "*\n!a/b", "*\n!a/b/f", "*\n!a/*", "*\n!a/**", "*\n!link", "*\n!empty", "*\n!a/empty", "*\n!."),
    *("a\n!a/b", "a/*\n!a/b", "a/b\n!a/b/f\n!a/*", "*.py\n!a.py", "*\n!a\n**/b\n!a/b/f", "**/b.log\n!a/**\na/b", "**/*.py\n!**/a/a.py"),
    # A pattern that changes nothing is skipped, and does not hold below.
    *("**/*.log\n!a", "a\n!a/b\na", "a\n!a/b\n**/a", "*\n!a/b\na", "**/b\n!b/a/b"),
]  # fmt: skip
# Below what is left out, the classic builder does not look for exceptions that start with a wildcard.
DEEP_CASES = ["*\n!**/a.py", "*\n!*/f\na", "*.py\n[ab]\n!**b/f\n**/ab/b\na", "b\n!**/b.log", "a\n!?/b"]

_PARTS = ["a", "b", "*", "**", "?", "a*", "*.py", "ab", "f", "b.log", "*b", "[ab]", "**b", "é", "?b*", "[^a]"]


def some_patterns(seed: int, parts: list[str] = _PARTS) -> str:
    """Return the text of a .dockerignore, a different one for each seed."""
    chosen = random.Random(seed)
    lines = ["/".join(chosen.choices(parts, k=chosen.choice([1, 1, 2, 2, 3]))) for _ in range(chosen.randint(1, 5))]
    return "\n".join("!" * (chosen.random() < 0.4) + line for line in lines)


def plant(root: Path) -> Path:
    """Make a tree with many kinds of names."""
    for directory in ["", *DIRECTORIES]:
        (root / directory).mkdir(parents=True)
        for name in FILES:
            (root / directory / name).touch()
    for directory in ["empty", "a/empty"]:
        (root / directory).mkdir()
    (root / "link").symlink_to("a")
    return root


def context(root: Path, patterns: Ignore, *, classic: bool = False) -> set[str]:
    """Return the paths of a tree that are in the context; those of directories end with a slash."""
    heads = [line[1:].strip("/ ") + "/" for line in _lines(root) if line.startswith("!")] if classic else None

    def visit(directory: str, judgement: Judgement) -> set[str]:
        found = set()
        for entry in os.scandir(root / directory):
            path = os.path.relpath(entry.path, root)
            own = patterns.judge(path, judgement)
            below = set()
            if entry.is_dir(follow_symlinks=False) and (
                not own.ignored or heads is None or any(head.startswith(f"{path}/") for head in heads)
            ):
                below = visit(path, own)
            if not own.ignored or below:
                found |= {path + "/" * entry.is_dir(follow_symlinks=False), *below}
        return found

    return visit("", patterns.root)


def _lines(root: Path) -> list[str]:
    return (root / ".dockerignore").read_text().split("\n")


def _docker(*args: str, stdin: str = "") -> bytes:
    # The client reads .dockerignore; those before 23 read `^`, exceptions and characters beyond ASCII differently.
    docker = f"{debian.modern_usr()}/bin/docker"
    return subprocess.run([docker, *args], input=stdin.encode(), capture_output=True, check=True).stdout


def received(root: Path, *more: Path) -> list[set[str]]:
    """Return the paths of the contexts that an engine with BuildKit receives in one build.

    The first context is that of the build, the others are additional ones, which have a .dockerignore, too.
    """
    copies = [f"COPY --from=c{number} . /{number}/\n" for number in range(1, len(more) + 1)]
    contexts = [f"--build-context=c{number}={each}" for number, each in enumerate(more, 1)]
    dockerfile = "FROM scratch\nCOPY . /0/\n" + "".join(copies)
    archive = _docker("build", "-q", "-f", "-", "-o", "type=tar,dest=-", *contexts, str(root), stdin=dockerfile)
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        paths = _paths(members)
    return [
        {path.removeprefix(f"{number}/") for path in paths if path.startswith(f"{number}/")} - {""}
        for number in range(len(more) + 1)
    ]


def received_by_classic(roots: Sequence[Path]) -> list[set[str]]:
    """Return the paths of the contexts that an engine with the classic builder receives: an image has all of each."""
    # Outside of the contexts: the builder would leave it out.
    dockerfile = roots[0].with_name("Dockerfile")
    dockerfile.write_text("FROM scratch\nCOPY . /c/\n")

    def build(root: Path) -> str:
        return _docker("build", "-q", "-f", str(dockerfile), str(root)).decode().strip()

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(build, roots))
    archive = _docker("save", *set(ids))
    _docker("image", "rm", *set(ids))
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for image in json.load(_member(tar, "manifest.json")):
            with tarfile.open(fileobj=_member(tar, image["Layers"][0])) as layer:
                found[image["Config"].removesuffix(".json")] = _paths(layer)
    return [{path.removeprefix("c/") for path in found[each.removeprefix("sha256:")]} - {""} for each in ids]


def _paths(archive: tarfile.TarFile) -> set[str]:
    return {member.name.rstrip("/") + "/" * member.isdir() for member in archive}


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a file of an archive, or the one that it links to."""
    member = archive.getmember(name)
    if member.issym():
        name = posixpath.normpath(f"{posixpath.dirname(name)}/{member.linkname}")
    stream = archive.extractfile(name)
    assert stream
    return stream


def test_it_leaves_out_what_real_builds_leave_out(each_engine, tmp_path, monkeypatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv(
        "TMPDIR", str(tmp_path / "tmp")
    )  # buildx leaves a directory there for each Dockerfile from stdin
    classic = os.environ["DOCKER_BUILDKIT"] == "0"
    generated = [some_patterns(seed) for seed in range(6 if classic else 40)]
    # We follow BuildKit, so it gets more of them than the classic builder.
    cases = [*CASES[::3], *DEEP_CASES, *generated] if classic else [*CASES, *DEEP_CASES, *generated]
    roots = []
    for number, text in enumerate(cases):
        roots.append(plant(tmp_path / str(number)))
        (roots[-1] / ".dockerignore").write_text(text)
    contexts = received_by_classic(roots) if classic else _received_at_once(roots)
    for text, root, found in zip(cases, roots, contexts, strict=True):
        assert found == context(root, dockerignore.read(str(root)), classic=classic), text


def _received_at_once(roots: Sequence[Path]) -> list[set[str]]:
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda some: received(*some), (roots[n : n + 8] for n in range(0, len(roots), 8)))
        return [found for answer in answers for found in answer]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!", "1: '!' has no path; write one after the '!'"),
        ("a\n !/ ", "2: '!/' has no path; write one after the '!'"),
        ("[a", "1: '[a': the [ does not start a class such as [abc] or [0-9]; write \\[ for the character"),
        ("x[]a]", "1: 'x[]a]': the [ does not start a class such as [abc] or [0-9]; write \\[ for the character"),
        ("[a-]", "1: '[a-]': the [ does not start a class such as [abc] or [0-9]; write \\[ for the character"),
        ("#\n[b-a]", "2: '[b-a]': the range b-a is empty; write a-b"),
        ("[*]", "1: '[*]': inside [ ], docker does not read * as a character; write \\*"),
        ("[[:alpha:]]", "1: '[[:alpha:]]': inside [ ], docker does not read [ as a character; write \\["),
        ("a\\", "1: 'a\\\\': no character follows the backslash; write / between directories"),
        ("a\\b", "1: 'a\\\\b': docker does not read \\b as b; remove the backslash, and write / between directories"),
        ("[\\é]", "1: '[\\\\é]': docker does not read \\é as é; remove the backslash, and write / between directories"),
    ],
)  # fmt: skip
def test_faults(text, message) -> None:
    with pytest.raises(UserError) as raised:
        dockerignore.parse(text)
    assert str(raised.value) == f".dockerignore:{message}"


@pytest.mark.parametrize("text", ["!", "!/", "[a", "[a-]", "[b-a]", "a\\", "**/f\\é"])
def test_what_docker_refuses_is_refused(containerd_engine, tmp_path, text) -> None:
    (tmp_path / ".dockerignore").write_text(text)
    (tmp_path / "a").touch()
    with pytest.raises(subprocess.CalledProcessError):
        received(tmp_path)
    with pytest.raises(UserError):
        dockerignore.read(str(tmp_path))


def test_without_a_file_nothing_is_left_out(tmp_path) -> None:
    assert dockerignore.read(str(tmp_path)).patterns == []


def test_a_name_that_is_not_utf_8(tmp_path) -> None:
    (tmp_path / ".dockerignore").write_bytes(b"\xef\xbb\xbfcaf\xe9\n")
    patterns = dockerignore.read(str(tmp_path))
    assert patterns.judge_from_root(os.fsdecode(b"caf\xe9/x")).ignored
    assert not patterns.judge_from_root("caf").ignored


def _read(text: str) -> Ignore | str:
    try:
        return dockerignore.parse(text)
    except UserError as fault:
        return str(fault)


@settings(deadline=None)
@given(st.text(alphabet="ab/*?[]^\\!-. é\n#"))
def test_any_text_is_read_or_refused_in_one_line(text) -> None:
    outcome = _read(text)
    if isinstance(outcome, str):
        assert outcome.startswith(".dockerignore:")
        assert outcome.isprintable()
    else:
        assert outcome.patterns or not outcome.judge_from_root("a/b").ignored


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([part for part in _PARTS if part != "é"]), min_size=1),
    st.lists(st.sampled_from("abfx"), min_size=1),
)
def test_without_exceptions_the_order_does_not_matter_and_all_below_goes_along(lines, names) -> None:
    path = "/".join(names)
    answer = dockerignore.parse("\n".join(lines)).judge_from_root(path).ignored
    assert dockerignore.parse("\n".join(reversed(lines))).judge_from_root(path).ignored == answer
    assert not answer or dockerignore.parse("\n".join(lines)).judge_from_root(f"{path}/x").ignored
