"""The patterns: one project's images, built without a network and used here and on a dock, as their README has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import script

SOMEONE = 4321


@pytest.fixture
def vault(host, ssh_home):
    """Register a host with another engine, which has no image of Python, as the dock `vault`; and take away what it got."""
    inventory.register(Dock("vault", host.address, "dock", host.address, host.address, host.port), ssh_home)
    before = _images(host.engine)
    yield
    if made := _images(host.engine) - before:
        host.engine.docker("image", "rm", "--force", *made)


def _images(engine) -> set[str]:
    return set(engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()) - {"<none>:<none>"}


def test_the_walk_through(engine, python_image, vault, walk_through, monkeypatch):
    monkeypatch.setenv("BASE", python_image)
    walk_through("patterns")
    # Where the README goes on.
    root = Path(os.environ["HOME"], "roman")

    # The context is what is listed, and nothing beside it.
    listed = script("run-image", "context", "--", "find", ".", "-type", "f", directory=root).out
    assert not [name for name in listed.splitlines() if ".git/" in name or name.endswith((".env", ".pyc"))]
    assert "./docker/wheels/base/" in listed

    # There is .git in the mount, and no git in the image; the README says so.
    assert script("run-image", "dev", "--", "roman", "--version", directory=root).out == "roman 0+unknown\n"

    # dev installs as root, and is then whoever has the project; nothing of it becomes another's.
    for path in (root, *root.rglob("*")):
        os.chown(path, SOMEONE, SOMEONE, follow_symlinks=False)
    made = script("run-image", "dev", "--", "sh", "-c", "id -u; roman 9 > nine", directory=root)
    assert (made.out, (root / "nine").read_text()) == (f"{SOMEONE}\n", "IX\n"), made.err
    assert {path.lstat().st_uid for path in root.rglob("*")} == {SOMEONE}

    # The test image has production's layers under its own.
    layers = [
        engine.docker("image", "inspect", "--format", '{{join .RootFS.Layers " "}}', f"roman-{name}:ada").split()
        for name in ("base", "prod", "test")
    ]
    assert layers[1][: len(layers[0])] == layers[0]
    assert layers[2][: len(layers[1])] == layers[1]
    for name in ("prod", "test", "context"):
        assert engine.docker("run", "--rm", f"roman-{name}:ada", "id", "-un") == "app\n"
