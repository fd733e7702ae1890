"""The use case behind build-image, as other commands call it."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import UserError
from dockerutils.images import build
from dockerutils.images.build import ALL, Request

FILES = {
    "docker/base/Dockerfile": "FROM local/busybox\n",
    "docker/web/Dockerfile": "ARG BASE=app-base:alice\nFROM\t$BASE AS builder\nFROM local/busybox\n",
    "docker/dev/Dockerfile": "FROM app-web:alice\n",
    "docker/dockerutils.cfg": "[web]\ntyop = 1\n",
}


@pytest.mark.parametrize(
    ("request_", "references"),
    [
        (Request(ALL), ["app-base:alice", "app-web:alice", "app-dev:alice"]),
        (Request(ALL, tag="v1"), ["app-base:v1", "app-web:v1", "app-dev:v1"]),
        (Request("dev"), ["app-dev:alice"]),
        (Request("dev", with_base=True, repository="org/x", tag="v1"), ["app-base:alice", "org/x:v1"]),
        (Request("base", with_base=True), ["app-base:alice"]),
    ],
)
def test_requested_images(make_project, request_: Request, references: list[str]) -> None:
    project = make_project(FILES)
    assert [image.reference for image in build.requested(project, request_)] == references


def test_an_image_that_does_not_exist(make_project) -> None:
    with pytest.raises(UserError, match="'nope'"):
        build.requested(make_project(FILES), Request("nope"))


def test_a_dry_run_prints_on_stdout_and_names_the_command_in_warnings(make_project, capfd, monkeypatch) -> None:
    project = make_project(FILES)
    monkeypatch.chdir(project.root)
    build.build(project, Request("web", options=["--no-cache"]), by="run-notebook", dry_run=True)
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "docker build -t app-web-builder:alice -f docker/web/Dockerfile --target builder --no-cache .",
        "docker build -t app-web:alice -f docker/web/Dockerfile --no-cache .",
    ]
    assert err.startswith("run-notebook: warning: docker/dockerutils.cfg:2: [web] tyop: unknown key")


def test_the_output_of_a_build_can_go_to_stderr(engine, make_project, capfd) -> None:
    files = {**FILES, "docker/dockerutils.cfg": "[base]\npre_build_script = echo hello\n"}
    build.build(make_project(files), Request("base"), to_stderr=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "\nhello\n" in err
    assert engine.docker("image", "ls", "-q", "app-base:alice").strip()
    engine.docker("image", "rm", "app-base:alice")
