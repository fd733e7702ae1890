"""The questions to the Docker Engine."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import DockerutilsError
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


@pytest.mark.parametrize("answer", ["", "{", "[1]", "[{}]", "[[]]", "null", "1", "[" * 100_000])
def test_an_answer_that_is_not_json_is_one_line(answer, tmp_path, monkeypatch) -> None:
    (tmp_path / "answer").write_text(answer)
    (tmp_path / "docker").write_text(f"#!/bin/sh\nexec cat {tmp_path}/answer\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DockerutilsError) as caught:
        engine.inspect(["x:y"])
    assert str(caught.value) == "docker image inspect did not print its JSON; check the engine: docker info"


def test_nothing_is_asked_about_no_image(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert engine.inspect([]) == {}
