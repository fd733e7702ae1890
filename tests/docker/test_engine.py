"""What docker's refusals mean: the texts are those of clients 20.10 to 28."""

from __future__ import annotations

import pytest

from dockerutils.docker import engine

_DENIED = (
    "this user may not use the Docker Engine at unix:///var/run/docker.sock; "
    "join the docker group (sudo usermod -aG docker $USER) and log in again"
)
_NONE = "no Docker Engine answers{}; start it, or point DOCKER_HOST or docker context use at one that runs"


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        pytest.param(
            "Cannot connect to the Docker daemon at unix:///x/docker.sock. Is the docker daemon running?\n",
            _NONE.format(" at unix:///x/docker.sock"),
            id="no engine",
        ),
        pytest.param(
            "failed to connect to the docker API at unix:///x/d.sock; check if the path is correct and if the daemon"
            " is running: dial unix /x/d.sock: connect: no such file or directory",
            _NONE.format(" at unix:///x/d.sock"),
            id="no engine, 28.3",
        ),
        pytest.param(
            "error during connect: Get \"http://docker.example.com/v1.24/info\": command [ssh -- h docker system"
            " dial-stdio] has exited with exit status 255, please make sure the URL is valid: stderr=Permission denied",
            _NONE.format(" over ssh (Permission denied)"),
            id="ssh",
        ),
        pytest.param(
            "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock:"
            ' Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info": dial unix /var/run/docker.sock: connect: permission denied',
            _DENIED,
            id="socket, 20.10",
        ),
        pytest.param(
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get ...",
            _DENIED,
            id="socket",
        ),
        pytest.param(
            "error during connect: Get \"http://docker.example.com/v1.50/version\": command [ssh -o ConnectTimeout=30 -T -- "
            "dock-gpu docker system dial-stdio] has exited with exit status 255, make sure the URL is valid: stderr=@@@@@\r\n"
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@@@\r\n"
            "Offending ED25519 key in /home/a b/.docker/203.0.113.7/known_hosts:1\r\n"
            "Host key for gpu has changed and you have requested strict checking.\r\nHost key verification failed.\r\n\n",
            "the host key of gpu has changed; if the machine was set up anew, run: ssh-keygen -R gpu -f "
            "'/home/a b/.docker/203.0.113.7/known_hosts'; if not, somebody may stand between you and it",
            id="a changed host key",
        ),
        pytest.param("warning\nunknown flag: --x\n", "docker said: unknown flag: --x; see docker info", id="other"),
        pytest.param("", "docker said: nothing; see docker info", id="silence"),
    ],
)  # fmt: skip
def test_refusals(stderr: str, message: str) -> None:
    assert str(engine.refusal(stderr)) == message


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
