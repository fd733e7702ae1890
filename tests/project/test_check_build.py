"""dockerutils check with a Docker Engine: what docker build --check finds, and what is left out."""

from __future__ import annotations

import pytest

from dockerutils.commands.dockerutils import main
from tests.support import App

CONFIG = "docker/dockerutils.cfg"
LEFT_OUT = "dockerutils: docker build --check was left out"
RULES = "https://docs.docker.com/go/dockerfile/rule"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    app = App(main, tmp_path / "app", capfd)
    app.write({"docker/dev/Dockerfile": "FROM local/busybox\n"})
    return app


def test_without_an_engine(app) -> None:
    assert app("check") == (
        0,
        f"{CONFIG}: 1 image, no problems\n",
        f"{LEFT_OUT}: no Docker Engine answers at unix:///nonexistent/docker.sock; "
        "start it, or point DOCKER_HOST or docker context use at one that runs\n",
    )


def test_without_docker(app, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert app("check") == (
        0,
        f"{CONFIG}: 1 image, no problems\n",
        f"{LEFT_OUT}: docker was not found on PATH; install the docker command-line client, "
        "or add its directory to PATH\n",
    )


def test_with_the_classic_builder(engine, app) -> None:
    assert app("check") == (
        0,
        f"{CONFIG}: 1 image, no problems\n",
        f"{LEFT_OUT}: this docker does not have it; install buildx 0.15 or newer, and do not set DOCKER_BUILDKIT=0\n",
    )
