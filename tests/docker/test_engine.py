"""The questions to the Docker Engine."""

from __future__ import annotations

import pytest

from dockerutils.docker import engine


@pytest.mark.parametrize(
    ("environ", "config", "path"),
    [
        ({}, None, "/var/run/docker.sock"),
        ({}, '{"auths": {}}', "/var/run/docker.sock"),
        ({}, '{"currentContext": "desktop"}', None),
        ({"DOCKER_CONTEXT": "other"}, None, None),
        ({"DOCKER_HOST": "ssh://dock-gpu"}, None, None),
        (
            {"DOCKER_HOST": "unix:///x/docker.sock", "DOCKER_CONTEXT": "other"},
            '{"currentContext": "o"}',
            "/x/docker.sock",
        ),
    ],
)
def test_the_socket_that_docker_talks_to(tmp_path, environ, config, path) -> None:
    if config:
        (tmp_path / "config.json").write_text(config)
    assert engine.local_socket({"DOCKER_CONFIG": str(tmp_path), **environ}) == path


def test_nothing_is_asked_about_no_image(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert engine.inspect([]) == {}
