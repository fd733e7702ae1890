"""find-image: the newest version that the engine has."""

from __future__ import annotations

import os

import pytest

from dockerutils.commands.find_image import main
from tests.support import call

TAGS = ["21.01.02", "21.04.25", "latest", "dev", "9.9.rc1"]


@pytest.fixture
def tools(engine):
    """Tag an image with versions and with other tags."""
    for tag in TAGS:
        engine.docker("tag", "local/busybox:latest", f"local/tools:{tag}")
    engine.docker("tag", "local/busybox:latest", "local/tools-more:99.1")
    yield
    engine.docker("image", "rm", "local/tools-more:99.1", *(f"local/tools:{tag}" for tag in TAGS))


def test_the_newest(tools, tmp_path, capfd) -> None:
    assert call(main, "local/tools", directory=tmp_path, capfd=capfd) == (0, "local/tools:21.04.25\n", "")


def test_all(tools, tmp_path, capfd) -> None:
    outcome = call(main, "--all", "local/tools", directory=tmp_path, capfd=capfd)
    assert outcome == (0, "local/tools:21.04.25\nlocal/tools:21.01.02\nlocal/tools:9.9.rc1\n", "")


def test_none(engine, tmp_path, capfd) -> None:
    outcome = call(main, "local/busybox", directory=tmp_path, capfd=capfd)
    assert outcome == (1, "", "find-image: the engine has no version of local/busybox; build, pull or transfer one\n")


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("a:1", 2, "'a:1' is not a valid image name; write it as [registry/]name in lower case"),
        (
            "a",
            1,
            "no Docker Engine answers at {host}; start it, or point DOCKER_HOST or docker context use at one that runs",
        ),
    ],
)
def test_errors(name, status, message, tmp_path, capfd) -> None:
    outcome = call(main, name, directory=tmp_path, capfd=capfd)
    assert outcome == (status, "", f"find-image: {message.format(host=os.environ['DOCKER_HOST'])}\n")
