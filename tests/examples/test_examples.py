"""What holds of every example: its configuration is in order, its scripts are sound and can be run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import script

ROOT = Path(__file__).parents[2]
PROJECTS = sorted(path.parents[1] for path in ROOT.glob("examples/**/docker/dockerutils.cfg"))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_check_finds_nothing(project, monkeypatch):
    monkeypatch.setenv("REGISTRY", "registry.example.com")
    outcome = script("dockerutils", "check", "--no-build-checks", directory=project)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.endswith(", no problems\n")


def _scripts() -> list[Path]:
    """Return the shell scripts in the images of this project and of the examples."""
    files = [path for tree in ("docker", "examples") for path in (ROOT / tree).glob("**/*") if path.is_file()]
    return [path for path in files if path.read_bytes().startswith((b"#!/bin/sh\n", b"#!/bin/bash\n"))]


def test_the_scripts_are_sound_and_can_be_run():
    scripts = _scripts()
    assert ROOT / "examples/patterns/docker/fetch-wheels" in scripts
    assert [path for path in scripts if not os.access(path, os.X_OK)] == []
    shellcheck = [str(Path(sys.executable).parent / "shellcheck"), *map(str, scripts)]
    done = subprocess.run(shellcheck, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
