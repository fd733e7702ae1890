"""What the tests of the examples share: a terminal, in which the sessions of their READMEs are typed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.sessions import Session, follow, steps

ROOT = Path(__file__).parents[2]
WalkThrough = Callable[[str], Path]


@pytest.fixture
def walk_through(tmp_path: Path, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[WalkThrough]:
    """Return a function that copies an example, as git has it, and follows its README there, as ada; it gives the copy."""
    path = [str(ROOT / "dockerutils" / "shell"), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    for name in ("LOGNAME", "USER", "GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "ada")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "ada@example.com")

    with ExitStack() as stack:

        def walk(example: str) -> Path:
            copy = _copy(ROOT / "examples" / example, tmp_path / example)
            session = stack.enter_context(closing(Session(copy)))
            follow(session, steps(copy / "README.md"), f"/home/ada/{example}")
            return copy

        yield walk


def _copy(example: Path, target: Path) -> Path:
    """Copy the files of an example that git does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=example, capture_output=True, text=True, check=True).stdout.split("\0")
    archive = subprocess.run(
        ["tar", "-c", "--", *(name for name in names if name and (example / name).exists())],
        cwd=example, capture_output=True, check=True,
    )  # fmt: skip
    target.mkdir()
    subprocess.run(["tar", "-x"], cwd=target, input=archive.stdout, check=True)
    return target
