"""What the READMEs and the pages of docs/ show is true: their commands are run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sessions import Session, Step, follow, steps

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
WALK_THROUGH = ROOT / "examples" / "meteorites" / "README.md"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout of the project as it stands, changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "dockerutils")], check=True)
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    copy = subprocess.run(["tar", "-C", str(ROOT), "-c", "--", *files], capture_output=True, check=True)
    subprocess.run(["tar", "-C", str(tmp_path / "dockerutils"), "-x"], input=copy.stdout, check=True)
    return tmp_path / "dockerutils"


def test_the_readme_as_a_new_user_follows_it(engine, python_image, checkout, monkeypatch) -> None:
    monkeypatch.setenv("BASE", python_image)
    recorded = list(steps(README))
    assert [step.command for step in recorded[:2]] == ["bin/demo", "bin/test"]
    # bin/test is what runs this test.
    recorded.remove(Step("bin/test", []))
    session = Session(checkout)
    try:
        follow(session, recorded, "/home/alice/dockerutils")
    finally:
        session.close()


def test_the_walk_through_of_the_example(engine, python_image, checkout, monkeypatch) -> None:
    monkeypatch.setenv("BASE", python_image)
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    session = Session(checkout / "examples" / "meteorites")
    try:
        follow(session, steps(WALK_THROUGH), "/home/ada/meteorites")
    finally:
        session.close()


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if any(steps(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_sessions_of_a_page(page, checkout, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    session = Session(checkout)
    try:
        follow(session, steps(page), "/home/alice/dockerutils")
    finally:
        session.close()
