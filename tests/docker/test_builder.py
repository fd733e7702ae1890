"""Which builder docker uses."""

from __future__ import annotations

import pytest

from dockerutils.docker import builder
from dockerutils.docker.builder import BUILDKIT, CLASSIC, UNKNOWN
from tests.support import answering_docker


@pytest.mark.parametrize(
    ("version", "buildx", "environ", "expected"),
    [
        pytest.param("echo 28.2.2 26.1.5", "exit 0", {}, BUILDKIT, id="new"),
        pytest.param("echo 28.2.2 26.1.5", "exit 1", {}, CLASSIC, id="without the plugin"),
        pytest.param("echo 20.10.24 20.10.24", "exit 0", {}, CLASSIC, id="old"),
        pytest.param("echo 20.10.24 20.10.24", "exit 1", {"DOCKER_BUILDKIT": "1"}, BUILDKIT, id="asked for"),
        pytest.param("echo 28.2.2 26.1.5", "exit 0", {"DOCKER_BUILDKIT": "0"}, CLASSIC, id="not wanted"),
        pytest.param("echo 28.2.2; exit 1", "exit 0", {"DOCKER_BUILDKIT": "1"}, UNKNOWN, id="no engine"),
        pytest.param("echo dev-build", "exit 0", {}, UNKNOWN, id="of no version"),
        pytest.param("echo 5.8.6 5.8.6", "exit 0", {}, UNKNOWN, id="podman"),
    ],
)
def test_builder(tmp_path, monkeypatch, version, buildx, environ, expected) -> None:
    monkeypatch.setenv("PATH", answering_docker(tmp_path / "bin", version, buildx))
    assert builder.find(environ) == expected


def test_no_docker(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert builder.find({"DOCKER_BUILDKIT": "1"}) == UNKNOWN


@pytest.mark.parametrize(
    ("version", "buildx", "environ", "expected"),
    [
        pytest.param("echo 28.2.2 26.1.5", "exit 0", {}, True, id="new"),
        pytest.param("echo 28.2.2 26.1.5", "exit 1", {"DOCKER_BUILDKIT": "1"}, False, id="without the plugin"),
        pytest.param("echo 20.10.24 20.10.24", "exit 0", {}, False, id="old"),
        pytest.param("echo 20.10.24 20.10.24", "exit 0", {"DOCKER_BUILDKIT": "1"}, True, id="asked for"),
    ],
)
def test_bake(tmp_path, monkeypatch, version, buildx, environ, expected) -> None:
    monkeypatch.setenv("PATH", answering_docker(tmp_path / "bin", version, buildx))
    assert builder.has_bake(environ) is expected


@pytest.mark.parametrize(
    ("configuration", "environ", "expected"),
    [
        (None, {}, ["--builder", "default"]),
        ("{", {}, ["--builder", "default"]),
        ("[]", {}, ["--builder", "default"]),
        ('{"aliases": 1}', {}, ["--builder", "default"]),
        ('{"aliases": {"builder": "buildx"}}', {}, []),
        ("{}", {"BUILDX_BUILDER": "mine"}, []),
        ('{"currentContext": "far"}', {}, ["--builder", "far"]),
        ('{"currentContext": "far"}', {"DOCKER_CONTEXT": "near"}, ["--builder", "near"]),
        ('{"currentContext": "far"}', {"DOCKER_HOST": "unix:///x"}, ["--builder", "default"]),
    ],
)
def test_selection(tmp_path, configuration, environ, expected) -> None:
    if configuration is not None:
        (tmp_path / "config.json").write_text(configuration)
    assert builder.selection({**environ, "DOCKER_CONFIG": str(tmp_path)}) == expected
