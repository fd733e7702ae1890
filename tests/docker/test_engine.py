"""The questions to the Docker Engine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import engine
from tests.support import program
from tests.testbed import debian
from tests.testbed.engine import Engine, running


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


_TOO_NEW = (
    "the docker command is too new for the Docker Engine: it uses API 1.51, the engine has up to 1.41; "
    "upgrade the engine, or unset DOCKER_API_VERSION if it is set"
)
_TOO_OLD = (
    "the docker command is too old for the Docker Engine: it uses API 1.41, the engine needs 1.44 or newer; "
    "upgrade the docker command, or unset DOCKER_API_VERSION if it is set"
)


@pytest.fixture(scope="module")
def demanding() -> Iterator[Engine]:
    """Start an engine that serves no clients before Docker 25, as Docker 29 does."""
    with running(debian.modern_usr(), environ={"DOCKER_MIN_API_VERSION": "1.44"}) as there:
        yield there


@pytest.mark.parametrize(
    ("fixture", "version", "message"), [("_classic", "1.51", _TOO_NEW), ("demanding", "1.41", _TOO_OLD)]
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda: engine.require(os.environ),
        lambda: engine.has_image("local/busybox:latest", os.environ),
        lambda: engine.inspect(["local/busybox:latest"]),
        lambda: engine.tags("local/busybox"),
        lambda: engine.survey(["local/busybox:latest"]),
    ],
    ids=["require", "has_image", "inspect", "tags", "survey"],
)
def test_an_engine_of_another_generation(request, monkeypatch, fixture, version, message, ask) -> None:
    """Clients agree with the engine on a version of the API, unless none is known to both, or the user chose one."""
    there = request.getfixturevalue(fixture)
    for name, value in there.client(os.environ["DOCKER_CONFIG"]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{debian.modern_usr()}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_API_VERSION", version)
    with pytest.raises(DockerutilsError) as caught:
        ask()
    assert str(caught.value) == message


@pytest.mark.parametrize("answer", ["", "{", "[1]", "[{}]", "[[]]", "null", "1", "[" * 100_000])
def test_an_answer_that_is_not_json_is_one_line(answer, tmp_path, monkeypatch) -> None:
    (tmp_path / "answer").write_text(answer)
    program(tmp_path / "docker", f"exec cat {tmp_path}/answer")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DockerutilsError) as caught:
        engine.inspect(["x:y"])
    assert str(caught.value) == "docker image inspect printed no valid JSON; check the engine: docker info"


def test_nothing_is_asked_about_no_image(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert engine.inspect([]) == {}


PODMAN = """\
case "$*" in
"image inspect"*nothing*) echo '[]'; echo 'Error: inspecting object: nothing:x: image not known' >&2; exit 125;;
"image inspect"*) cat <<'X'
[{"Id": "bfb1ddc8", "RepoTags": ["localhost/app-dev:alice", "localhost/app-dev:1"], "Size": 1986012}]
X
    echo 'Error: inspecting object: absent:x: image not known' >&2; exit 125;;
"image ls"*) printf 'localhost/app-dev:alice\\t1.99 MB\\n';;
ps*) echo localhost/app-dev:alice; echo docker.io/library/absent:x;;
esac
"""


@pytest.fixture
def podman(tmp_path, monkeypatch) -> None:
    """Put a docker on PATH that writes what podman 4.3 writes."""
    program(tmp_path / "docker", PODMAN)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_podman_s_names_of_local_images(podman) -> None:
    found = engine.inspect(["app-dev:alice", "absent:x"])
    assert {name: record["Id"] for name, record in found.items()} == {"app-dev:alice": "bfb1ddc8"}
    assert engine.inspect(["localhost/app-dev:1", "x"]).keys() == {"localhost/app-dev:1"}


def test_podman_s_error_for_an_absent_image(podman) -> None:
    assert engine.inspect(["nothing:x"]) == {}
    assert not engine.has_image("nothing:x", {"DOCKER_HOST": "tcp://x"})


def test_a_survey_of_podman(podman) -> None:
    found, running = engine.survey(["app-dev:alice", "absent:x", "app-dev:alice"])
    assert found.keys() == {"app-dev:alice"}
    assert found["app-dev:alice"]["Size"] == 1986012
    assert running == ["app-dev:alice", "absent:x"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1_000, "1kB"), (1_985_472, "1.99MB"), (289_312_345, "289MB"), (1.5e18, "1.5e+03PB")],
)
def test_sizes_are_written_as_docker_writes_them(size, text) -> None:
    assert engine.human_size(size) == text
