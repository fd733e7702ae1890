"""The order of builds follows from the FROM lines."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import UserError
from dockerutils.project.build_order import graph


def _files(**froms: str) -> dict[str, str]:
    return {f"docker/{name}/Dockerfile": text for name, text in froms.items()}


def test_order_follows_the_from_lines_and_begins_with_base(make_project) -> None:
    files = _files(
        a="FROM app-b:alice", b="FROM app-c:alice", c="FROM x", base="FROM y", dev="FROM app-base\nCOPY --from=app-z-builder / /",
        z="FROM x AS builder",
    )  # fmt: skip
    project = make_project(files)
    images = graph(project, project.images())
    assert [image.name for image in images] == ["base", "c", "b", "a", "z", "dev"]


def test_base_comes_after_what_it_is_built_from(make_project) -> None:
    project = make_project(_files(base="FROM app-dev:alice"))
    assert [image.name for image in graph(project, project.images())] == ["dev", "base"]


def test_order_reads_build_args(make_project) -> None:
    files = {
        **_files(a="ARG B\nFROM $B", z="FROM x"),
        "docker/dockerutils.cfg": "[a]\nbuild_args = --build-arg B={project}-z:{user}",
    }
    project = make_project(files)
    assert [image.name for image in graph(project, project.images())] == ["dev", "z", "a"]


def test_order_reads_the_platform(make_project) -> None:
    files = {
        **_files(a="ARG TARGETARCH\nFROM app-$TARGETARCH", arm64="FROM y", s390x="FROM x"),
        "docker/dockerutils.cfg": "[a]\nplatform = linux/s390x",
    }
    project = make_project(files)
    images = [project.image(name) for name in ("a", "arm64", "s390x")]
    assert [image.name for image in graph(project, images)] == ["arm64", "s390x", "a"]
    options = ["--platform", "linux/arm64"]
    assert [image.name for image in graph(project, images, options)] == ["arm64", "a", "s390x"]


def test_order_reads_tabs_and_defaults_that_name_other_arguments(make_project) -> None:
    files = _files(
        a="ARG PROJECT=app\nARG USER=alice\nARG BASE=${PROJECT}-z:${USER}\nFROM $BASE",
        b="FROM\tapp-a:alice\tAS x",
        dev="ARG VERSION=1.2.3\nFROM app-z:${VERSION%%.*}",
        z="FROM x",
    )
    project = make_project(files)
    assert [image.name for image in graph(project, project.images())] == ["z", "a", "b", "dev"]


def test_images_that_are_built_from_each_other(make_project) -> None:
    project = make_project(_files(a="FROM app-b", b="FROM app-a"))
    with pytest.raises(UserError) as error:
        graph(project, project.images())
    assert str(error.value) == (
        "docker/a/Dockerfile, docker/b/Dockerfile: these images are built from each other; remove one of the FROM lines"
    )
