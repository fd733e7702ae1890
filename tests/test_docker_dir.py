"""The project's own images: built without a network, run on what is edited outside, and of the right version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import clone, script

SOMEONE = 4321


@pytest.fixture(name="project")
def _project(tmp_path: Path, python_image: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone of the project with the changes that are not committed yet, and nothing that git ignores."""
    monkeypatch.setenv("BASE", python_image)
    return clone(tmp_path / "dockerutils")


def test_dev_runs_what_is_edited_outside_and_leaves_nothing_of_roots(engine, project):
    left = project / "docker" / "wheels" / "boto3-1.0-py3-none-any.whl"
    left.parent.mkdir()
    left.write_text("of an earlier build, and cut off")
    built = script("build-image", "dev", "-f", directory=project)
    assert built.status == 0, built.err
    builds = [line for line in built.echoed if line.startswith("docker build ")]
    assert [line.split()[3] for line in builds] == [
        "dockerutils-base-builder:alice",
        "dockerutils-base:alice",
        "dockerutils-dev:alice",
    ]
    assert all("--network none" in line for line in builds)

    module = project / "dockerutils" / "edited_outside.py"
    module.touch()
    if os.geteuid() == 0:
        for path in (project, *project.rglob("*")):
            os.chown(path, SOMEONE, SOMEONE, follow_symlinks=False)
    program = "from dockerutils.edited_outside import WORDS; print(WORDS)"
    for words in ("written outside", "and written again"):
        module.write_text(f"WORDS = {words!r}\n")
        # From another directory: it is the installed package that is imported.
        ran = script("run-image", "dev", "-a", "-w /tmp", "--", "python", "-c", program, directory=project)
        assert (ran.status, ran.out) == (0, f"{words}\n"), ran.err

    shown = script("run-image", "dev", "--", "sh", "-c", "run-image -h | tee shown", directory=project)
    assert shown.out.startswith("usage: run-image")
    assert (project / "shown").read_text() == shown.out
    assert {path.lstat().st_uid for path in project.rglob("*")} == {project.stat().st_uid}
    assert not list(project.rglob("*.egg-info"))


def test_cicd_has_the_version_that_git_gives_outside(engine, project):
    subprocess.run(["git", "tag", "v7.8.9"], cwd=project, check=True)
    ask = [sys.executable, "-c", "import versioneer; print(versioneer.get_version())"]
    version = subprocess.check_output(ask, cwd=project, text=True).splitlines()[-1]
    assert version.startswith("7.8.9")

    built = script("build-image", "cicd", "-f", directory=project)
    assert built.status == 0, built.err
    for command in ("build-image", "run-image"):
        inside = script("run-image", "cicd", "--", command, "--version", directory=project)
        assert inside.out == f"{command} {version}\n"
    listed = script("run-image", "cicd", "--", "pip", "show", "dockerutils", directory=project)
    assert f"Version: {version}" in listed.out.splitlines()
    # The version can only come from the image itself.
    look = script("run-image", "shell", "--", "sh", "-c", "ls -A /code; command -v git", directory=project)
    assert {"dockerutils", "setup.py"} < set(look.out.split())
    assert not {".git", "/usr/bin/git"} & set(look.out.split())
