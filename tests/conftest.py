"""Fixtures for every test: a guard around the user's own things, and Docker Engines for those who ask for one."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import pytest

from dockerutils.project import project as projects
from dockerutils.project.project import Project
from tests.support import write_tree
from tests.testbed import debian, images, nvidia
from tests.testbed.engine import Engine, running
from tests.testbed.host import Host, at_home, serving

# Variables of the user that change what the commands do, or lead to credentials. What XDG names is in HOME by default.
_USERS_OWN = re.compile(r"(AWS|DOCK|DOCKER|DOCKERUTILS|RESERO|SSH|XDG)_.*|NO_COLOR")


# Which fixtures need what. `-m "not (engine or ssh or aws or browser)"` is the ring that runs on any laptop.
_NEEDS = {
    "engine": {"_classic", "_modern", "each_engine", "use"},
    "ssh": {"ssh_home"},
    "aws": {"_moto"},
    "browser": {"jupyterlab"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it needs."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for need, names in _NEEDS.items():
            if fixtures & names:
                item.add_marker(need)


def pytest_sessionstart(session: pytest.Session) -> None:
    """See that Ctrl-C, or a kill, ends the tests and their fixtures: a command called here would take it for its own."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        session.shouldstop = "interrupted"
        signal.default_int_handler(number, frame)

    # Also where a shell has it ignored, as in the background: what the tests start would ignore it too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's HOME, credentials and engine: it is alice's first day on this machine."""
    for name in filter(_USERS_OWN.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)
    # Beside what the test itself writes.
    home = tmp_path.with_name(f"{tmp_path.name}-home")
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("DOCKER_CONFIG", str(home / ".docker"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def nvidia_runtime(tmp_path_factory: pytest.TempPathFactory) -> nvidia.Runtime:
    """Return the runtime that `engine` has under the name nvidia: it records what it is asked for, and is runc."""
    return nvidia.runtime(str(tmp_path_factory.mktemp("nvidia")))


@pytest.fixture(scope="session")
def _classic(nvidia_runtime: nvidia.Runtime) -> Iterator[Engine]:
    with running(**nvidia_runtime.settings) as engine:
        images.add_busybox(engine)
        yield engine


@pytest.fixture(scope="session")
def _modern() -> Iterator[Engine]:
    with running(debian.modern_usr()) as engine:
        images.add_busybox(engine)
        yield engine


@pytest.fixture
def engine(_classic: Engine, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Point docker at this machine's Docker Engine, in an instance of the session's own, with the classic builder."""
    return _use(_classic, monkeypatch)


@pytest.fixture
def modern_engine(_modern: Engine, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Point docker at a Docker Engine 26.1 of the session's own, with BuildKit."""
    return _use(_modern, monkeypatch)


@pytest.fixture(params=["classic", "buildkit"])
def each_engine(request: pytest.FixtureRequest) -> Engine:
    """Run the test twice, on `engine` and on `modern_engine`."""
    chosen: Engine = request.getfixturevalue("engine" if request.param == "classic" else "modern_engine")
    return chosen


@pytest.fixture(scope="session")
def python_image(_classic: Engine) -> str:
    """Return the name of an image with Python 3, pip and venv, which `engine` has."""
    images.add_python(_classic)
    return images.PYTHON


@pytest.fixture
def ssh_home(isolated: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make ssh read HOME/.ssh, where an identity is, and return HOME; a test's own hosts are to `admit` it."""
    for name, value in at_home(os.environ["HOME"]).items():
        monkeypatch.setenv(name, value)
    return os.environ["HOME"]


@pytest.fixture
def host(_modern: Engine, ssh_home: str) -> Iterator[Host]:
    """Return another host, with the engine of `modern_engine`, that knows this user and is known."""
    with serving(_modern) as there:
        there.admit(ssh_home)
        yield there


@pytest.fixture
def classic_host(_classic: Engine, ssh_home: str) -> Iterator[Host]:
    """Return another host, with the engine of `engine`, that knows this user and is known."""
    with serving(_classic) as there:
        there.admit(ssh_home)
        yield there


def _use(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    for name, value in engine.client(os.environ["DOCKER_CONFIG"]).items():
        monkeypatch.setenv(name, value)
    return engine


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Return a function that makes a project of files, with docker/dev/Dockerfile among them, and finds it."""

    def make(files: Mapping[str, str], name: str = "app", workdir: str = "", **environ: str) -> Project:
        root = write_tree(tmp_path / name, {"docker/dev/Dockerfile": "FROM scratch\n", **files})
        return projects.find(str(root / workdir), {"LOGNAME": "alice", **environ})

    return make
