"""Fixtures for commands that reach beyond the engine: AWS, registries and docks."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dockerutils import docks
from tests.support import Main, Outcome, call, write_tree
from tests.testbed import aws as testbed_aws
from tests.testbed import crates, debian
from tests.testbed.aws import Aws
from tests.testbed.engine import Engine, running
from tests.testbed.host import Host, serving


@pytest.fixture(scope="session")
def _moto() -> Iterator[Aws]:
    with testbed_aws.serving() as aws:
        yield aws


@pytest.fixture
def aws(_moto: Aws, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Point boto3 at an AWS of the session's own, as it is on the first day."""
    _moto.reset()
    for name, value in _moto.environment().items():
        monkeypatch.setenv(name, value)
    return _moto


class Docked:
    """A project, the host that its shell is docked to as `gpu`, and commands called there."""

    def __init__(self, root: Path, host: Host, capfd: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.host = host
        self._capfd = capfd

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the project, by path."""
        write_tree(self.root, files)

    def __call__(self, main: Main, *argv: str, directory: str = ".") -> Outcome:
        """Call a command in a directory of the project."""
        return call(main, *argv, directory=self.root / directory, capfd=self._capfd)

    def run(self, line: str, directory: str = "/data/workspaces/alice/code/app") -> None:
        """Run a line of shell as the dock's user, in the project's copy."""
        self.host.run(f"cd {shlex.quote(directory)} && {line}", "dock")

    def there(self, directory: str = "/data/workspaces/alice/code/app") -> set[str]:
        """Return the paths in the copy; those of directories end with a slash."""
        return _paths(Path(self.host.path(directory)))

    def here(self) -> set[str]:
        """Return the paths in the project."""
        return _paths(self.root)


def _paths(root: Path) -> set[str]:
    return {os.path.relpath(path, root) + "/" * (path.is_dir() and not path.is_symlink()) for path in root.rglob("*")}


@pytest.fixture
def docked(
    host: Host, ssh_home: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Docked:
    """Return a project in a shell that is docked to a real host, where /data/workspaces/alice is the user's own."""
    host.run("install -d -o dock /data/workspaces/alice")
    docks.register(docks.Dock("gpu", host.address, "dock", host.address, host.address, host.port), ssh_home)
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    return Docked(write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM scratch\n"}), host, capfd)


@pytest.fixture
def docked_shell(
    modern_engine: Engine,
    ssh_home: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Docked]:
    """Return a project in a shell as `source dock gpu` makes it, the host's network that of its engine.

    The engine sees no other files of the host than those of the user's home directory.
    """
    with serving(modern_engine, near=True) as host:
        host.admit(ssh_home)
        docks.register(docks.Dock("gpu", host.address, "dock", host.address, host.address, host.port), ssh_home)
        for name, value in docks.docked(docks.find("gpu", ssh_home)).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DOCK_WORKSPACES", f"{host.home('dock')}/work")
        yield Docked(write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM scratch\n"}), host, capfd)


@pytest.fixture(scope="session")
def _second() -> Iterator[Engine]:
    with running(debian.modern_usr()) as engine:
        yield engine


@pytest.fixture(scope="session")
def _containerd() -> Iterator[Engine]:
    with running(debian.modern_usr(), features={"containerd-snapshotter": True}) as engine:
        yield engine


@pytest.fixture(scope="session")
def _hidden() -> Iterator[Engine]:
    with running(disk="1g") as engine:
        yield engine


@pytest.fixture(scope="session")
def _modern_hidden() -> Iterator[Engine]:
    with running(debian.modern_usr(), disk="1g") as engine:
        yield engine


@pytest.fixture(scope="module")
def _stocked() -> Iterator[dict[str, Engine]]:
    stocked: dict[str, Engine] = {}
    yield stocked
    for engine in stocked.values():
        crates.forget(engine)


@pytest.fixture
def use(
    isolated: None, _stocked: dict[str, Engine], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Engine]]:
    """Return a function that points docker at an engine, and gives it; after the test it has no crates but its own.

    `classic` is this machine's, `modern` and `second` are 26.1; `hidden` and `modern_hidden` are like them, but their
    files are not seen from here; `containerd` has the containerd image store.
    """
    used: dict[str, Engine] = {}

    def point(name: str) -> Engine:
        engine: Engine = request.getfixturevalue(f"_{name}")
        used[name] = _stocked[name] = engine
        for variable, value in engine.client(os.environ["DOCKER_CONFIG"]).items():
            monkeypatch.setenv(variable, value)
        return engine

    yield point
    for name, engine in used.items():
        crates.forget(engine, but=name)


@pytest.fixture
def connect(ssh_home: str) -> Iterator[Callable[..., Host]]:
    """Return a function that puts a host in front of an engine; that and this user know each other."""
    with ExitStack() as stack:

        def make(engine: Engine, **settings: Any) -> Host:
            host = stack.enter_context(serving(engine, **settings))
            host.admit(ssh_home)
            return host

        yield make
