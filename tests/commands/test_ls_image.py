"""ls-image: the images of a project."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands.ls_image import main
from dockerutils.docker.engine import human_size
from tests.support import call, each_store, script, write_tree

CONFIG = """
[run_image]
synthetic_images = shell
[shell]
name = dev
[box]
name = local/busybox:latest
prefix = False
[absent]
name = local/absent
prefix = False
"""


@pytest.fixture
def root(tmp_path):
    return write_tree(
        tmp_path / "app",
        {"docker/dev/Dockerfile": "FROM local/busybox\nRUN echo x > /x\n", "docker/dockerutils.cfg": CONFIG},
    )


@each_store
def test_table_and_json(each_engine, root, capfd) -> None:
    script("build-image", "dev", directory=root)
    container = script("run-image", "dev", "-k", "--", "sleep", "1000", directory=root).out.strip()
    try:
        rows = [line.split() for line in call(main, directory=root, capfd=capfd).out.splitlines()]
        records = {
            record["image"]: record for record in json.loads(call(main, "--json", directory=root, capfd=capfd).out)
        }
        listing = each_engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}")
        sizes = dict(line.split() for line in listing.splitlines())
    finally:
        each_engine.docker("rm", "-f", container)
        each_engine.docker("image", "rm", "app-dev:alice")
    assert rows[0] == ["IMAGE", "KIND", "NAME:TAG", "BUILT", "SIZE", "RUNNING"]
    assert [row[:3] for row in rows[1:]] == [
        ["dev", "directory", "app-dev:alice"],
        ["shell", "synthetic", "app-dev:alice"],
        ["box", "configuration-only", "local/busybox:latest"],
        ["absent", "configuration-only", "local/absent:alice"],
    ]
    assert rows[1][-2:] == [sizes["app-dev:alice"], "1"]
    assert rows[3][-1] == sizes["local/busybox:latest"]
    assert rows[4][3:] == ["no"]
    dev, absent = records["dev"], records["absent"]
    assert (dev["kind"], dev["built"], dev["running"], records["shell"]["running"]) == ("directory", True, 1, 1)
    assert 1_000_000 < dev["size"] < 10_000_000
    assert dev["store"] == (
        "containerd" if each_engine.docker("info", "-f", "{{.Driver}}") == "overlayfs\n" else "overlay2"
    )
    assert dev["created"].startswith("20")
    assert absent == {
        "image": "absent", "kind": "configuration-only", "reference": "local/absent:alice",
        "built": False, "created": None, "size": None, "store": None, "running": 0, "runs": [], "services": [],
    }  # fmt: skip


def test_an_image_for_several_platforms(containerd_engine, tmp_path, capfd) -> None:
    """Its size is that of all platforms, as docker lists it; docker image inspect has that of one."""
    root = write_tree(
        tmp_path / "app",
        {
            "docker/dev/Dockerfile": "FROM scratch\nCOPY random /\n",
            "docker/dockerutils.cfg": "[dev]\nplatform = linux/s390x, linux/arm64\n",
        },
    )
    (root / "random").write_bytes(os.urandom(1_000_000))
    assert script("build-image", "dev", directory=root).status == 0
    try:
        row = call(main, directory=root, capfd=capfd).out.splitlines()[1].split()
        [record] = json.loads(call(main, "--json", directory=root, capfd=capfd).out)
        listed = containerd_engine.docker("image", "ls", "--format", "{{.Size}}", "app-dev")
    finally:
        containerd_engine.docker("image", "rm", "app-dev:alice")
    assert row[-1] == listed.strip() == human_size(record["size"])
    assert record["size"] > 2_000_000
    assert (record["built"], record["store"]) == (True, "containerd")


@pytest.mark.parametrize(("fixture", "notes"), [("engine", 0), ("containerd_engine", 1)])
def test_a_note_on_a_terminal_says_what_the_sizes_include(request, fixture, notes, tmp_path) -> None:
    request.getfixturevalue(fixture)
    config = "[box]\nname = local/busybox:latest\nprefix = False\n"
    root = write_tree(tmp_path / "app", {"docker/dockerutils.cfg": config})
    screen = pexpect.run(str(Path(sys.executable).parent / "ls-image"), cwd=str(root), encoding="utf-8")
    note = "ls-image: sizes include the compressed layers: the engine has the containerd image store\r\n"
    assert screen.count(note) == notes
    assert screen.count("local/busybox:latest") == 1


def test_quiet_prints_the_names_of_built_images_once(engine, root, capfd) -> None:
    assert call(main, "-q", directory=root, capfd=capfd).out == "local/busybox:latest\n"
    script("build-image", "dev", "-q", directory=root)
    try:
        assert call(main, "-q", directory=root, capfd=capfd).out.splitlines() == [
            "app-dev:alice",
            "local/busybox:latest",
        ]
    finally:
        engine.docker("image", "rm", "app-dev:alice")


def test_a_tag_without_a_version_is_shown_as_configured(engine, tmp_path, capfd) -> None:
    files = {"docker/dev/Dockerfile": "FROM x\n", "docker/dockerutils.cfg": "[dev]\ntag = {latest}\n"}
    outcome = call(main, directory=write_tree(tmp_path / "app", files), capfd=capfd)
    assert outcome.out.splitlines()[1].split() == ["dev", "directory", "app-dev:{latest}", "no"]


def test_no_engine(root, capfd) -> None:
    outcome = call(main, directory=root, capfd=capfd)
    assert (outcome.status, outcome.out, outcome.err) == (
        1,
        "",
        f"ls-image: no Docker Engine answers at {os.environ['DOCKER_HOST']}; "
        "start it, or point DOCKER_HOST or docker context use at one that runs\n",
    )
