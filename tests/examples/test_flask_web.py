"""The web application: built, reached, published to a real registry and run from there, as its README has it."""

from __future__ import annotations

import shutil

import pytest

from tests.support import program
from tests.testbed import registry


@pytest.fixture
def curl(engine, tmp_path, monkeypatch):
    """Let curl see the ports that the engine publishes: as on a machine of one's own, but those are in its network."""
    inside = f"nsenter --target={registry.daemon(engine)} --net"
    command = program(tmp_path / "bin" / "curl", f'exec env NO_PROXY="*" {inside} {shutil.which("curl")} "$@"')
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")


def test_the_walk_through(engine, python_image, walk_through, curl, monkeypatch):
    monkeypatch.setenv("BASE", python_image)
    before = engine.docker("ps", "--all", "--quiet")
    # As the README shows it. The port is one of the engine's own network, which nothing else uses.
    monkeypatch.setenv("REGISTRY", "localhost:5000")
    with registry.serving(engine, "localhost", port=5000) as there:
        walk_through("flask-web")
    assert engine.docker("ps", "--all", "--quiet") == before

    published = f"reference={there.host}/flask-web"
    image = engine.docker("image", "ls", "--filter", published, "--format", "{{.ID}}").split()
    assert len(set(image)) == 1
    assert engine.docker("run", "--rm", image[0], "id", "-un") == "web\n"
    # One of the application's, and of the user's: no pip's leftovers, no wheels, no configuration.
    assert engine.docker("run", "--rm", image[0], "sh", "-c", "ls -A /app; ls -d /wheels || true") == "app.py\n"
    engine.docker("image", "rm", "--force", image[0])
