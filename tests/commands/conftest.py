"""Fixtures for commands that reach beyond the engine: AWS, registries and docks."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.aws import ec2, readiness, resources
from dockerutils.aws.session import Session
from dockerutils.commands import create_dock
from dockerutils.commands import transfer_image as transfer_image_command
from dockerutils.core import process
from dockerutils.docks import engine_socket, inventory
from dockerutils.docks.records import Dock
from tests.support import App, Main, Outcome, call, program, sleeping, write_tree
from tests.testbed import aws as testbed_aws
from tests.testbed import debian, layered_images
from tests.testbed.aws import Aws, Front
from tests.testbed.engine import CONTAINERD, Engine, running
from tests.testbed.host import Host, free_address, serving


@pytest.fixture
def aws(_moto: Aws, connect_to: Callable[[Aws], Session]) -> Aws:
    """Point boto3 at an AWS of the session's own, as it is on the first day."""
    _moto.reset()
    connect_to(_moto)
    return _moto


class Cloud:
    """An AWS whose instances are a real host, at one address and, when they are started anew, at another one."""

    def __init__(self, front: Front, host: Host, addresses: list[str], home: str, tmp_path: Path) -> None:
        self.front = front
        self.host = host
        self.addresses = addresses
        self.home = home
        self.tmp_path = tmp_path
        kind, key = Path(f"{host.directory}/host_key.pub").read_text().split()[:2]
        self.key = f"{kind} {key}"
        front.places = list(addresses)
        front.console = (
            "[   12.345] cloud-init: -----BEGIN SSH HOST KEY KEYS-----\r\n"
            f"ecdsa-sha2-nistp256 AAAAE2Vj= root@ip\r\n{self.key} root@ip\r\n-----END SSH HOST KEY KEYS-----\r\n"
        )

    @cached_property
    def ec2(self) -> Any:
        """A second client, past the front."""
        return boto3.client("ec2", endpoint_url=self.front.behind)

    @property
    def iam(self) -> Any:
        """IAM, past the front."""
        return boto3.client("iam", endpoint_url=self.front.behind)

    def instances(self, *states: str) -> list[Any]:
        """Return the instances that are not gone, or those in some states."""
        wanted = states or ("pending", "running", "stopping", "stopped")
        pages = self.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": list(wanted)}])
        return [each for reservation in pages["Reservations"] for each in reservation["Instances"]]

    def left(self) -> list[str]:
        """Return what there is with our tag, and what this machine knows of docks."""
        ours = [{"Name": "tag:tool", "Values": ["dockerutils"]}]
        found = [each["InstanceId"] for each in self.instances()]
        found += [each["GroupId"] for each in self.ec2.describe_security_groups(Filters=ours)["SecurityGroups"]]
        found += [each["KeyName"] for each in self.ec2.describe_key_pairs(Filters=ours)["KeyPairs"]]
        found += [each["VolumeId"] for each in self.ec2.describe_volumes(Filters=ours)["Volumes"]]
        found += [
            name
            for name in _under(f"{self.home}/.docker")
            if not name.startswith(("dock.lock", "dock.sockets.lock", "dockerutils-images."))
        ]
        return found + _under(f"{self.home}/.ssh", "config")

    def open(self) -> list[str]:
        """Return who is let in by the security groups with our tag."""
        ours = [{"Name": "tag:tool", "Values": ["dockerutils"]}]
        return [
            each["CidrIp"]
            for group in self.ec2.describe_security_groups(Filters=ours)["SecurityGroups"]
            for rule in group["IpPermissions"]
            for each in rule["IpRanges"]
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead there."""
        return {
            **self.front.aws.environment(),
            "DOCKERUTILS_CHECKIP": f"{self.front.aws.url}/checkip",
            "DOCK_USER": "dock",
        }


def _under(directory: str, *names: str) -> list[str]:
    there = os.listdir(directory) if os.path.isdir(directory) else []
    kept = {"contexts", "config.json", "cli-plugins", "buildx", ".token_seed", ".token_seed.lock"}
    return [name for name in there if (not names or name in names) and name not in kept]


@pytest.fixture(scope="session")
def _front(_moto: Aws) -> Iterator[Front]:
    with testbed_aws.before(_moto) as front:
        yield front


@pytest.fixture
def cloud(
    _moto: Aws, _front: Front, _containerd: Engine, ssh_home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    """Point boto3 at an AWS, as it is on the first day, whose instances have an sshd and an engine that answer."""
    _moto.reset()
    _front.reset()
    with free_address(22) as other, serving(_containerd, port=22, ListenAddress=f"{other}:22") as host:
        host.admit(ssh_home)
        os.unlink(f"{ssh_home}/.ssh/known_hosts")
        cloud = Cloud(_front, host, [host.address, other], ssh_home, tmp_path)
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ec2, "TICK", 0.02)
        monkeypatch.setattr(ec2, "SETTLE", 2.0)
        monkeypatch.setattr(resources, "FIND", 0.3)
        monkeypatch.setattr(readiness, "TICK", 0.02)
        yield cloud


@pytest.fixture
def gpu(cloud: Cloud, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Dock:
    """Return a dock that create-dock has made."""
    outcome = call(create_dock.main, "gpu", "-t", "60", directory=tmp_path, capfd=capfd)
    assert outcome.status == 0, outcome.err
    return inventory.find("gpu", cloud.home)


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
        """Return the paths in the copy, but for its state; those of directories end with a slash."""
        return {path for path in _paths(Path(self.host.path(directory))) if not path.startswith(".dockerutils/")}

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
    inventory.register(Dock("gpu", host.address, "dock", host.address, host.address, host.port), ssh_home)
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    return Docked(write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM scratch\n"}), host, capfd)


@pytest.fixture
def docked_shell(
    containerd_engine: Engine,
    ssh_home: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Docked]:
    """Return a project in a shell as `source dock gpu` makes it, the host's network that of its engine.

    The engine sees no other files of the host than those of the user's home directory.
    """
    with serving(containerd_engine, near=True) as host, sleeping() as shell:
        host.admit(ssh_home)
        dock = Dock("gpu", host.address, "dock", host.address, host.address, host.port)
        inventory.register(dock, ssh_home)
        engine = engine_socket.ensure(dock, ssh_home, shell)
        for name, value in (inventory.docked(dock) | {"DOCKER_HOST": engine}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DOCK_WORKSPACES", f"{host.home('dock')}/work")
        yield Docked(write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM scratch\n"}), host, capfd)


@pytest.fixture
def not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands wait for the docker that would replace this process."""
    monkeypatch.setattr(process, "replace", process.run)


@pytest.fixture(scope="session")
def _second() -> Iterator[Engine]:
    with running(debian.modern_usr(), is_awaited=False) as engine:
        yield engine


@pytest.fixture(scope="session")
def _second_containerd() -> Iterator[Engine]:
    with running(debian.modern_usr(), is_awaited=False, **CONTAINERD) as engine:
        yield engine


@pytest.fixture(scope="session")
def _hidden() -> Iterator[Engine]:
    with running(disk="1g", is_awaited=False) as engine:
        yield engine


@pytest.fixture(scope="session")
def _modern_hidden() -> Iterator[Engine]:
    with running(debian.modern_usr(), disk="1g", is_awaited=False) as engine:
        yield engine


@pytest.fixture(scope="module")
def _stocked() -> Iterator[dict[str, Engine]]:
    stocked: dict[str, Engine] = {}
    yield stocked
    for engine in stocked.values():
        layered_images.remove(engine)


@pytest.fixture
def use_engine(
    isolated: None, _stocked: dict[str, Engine], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Engine]]:
    """Return a function that points docker at an engine and returns it; images of other engines are removed afterwards.

    `classic` is this machine's version; `modern` and `second` are 28 or newer with overlay2, `containerd` and
    `second_containerd` with the containerd image store; the files of `hidden` (`classic`) and `modern_hidden` cannot be
    read from here.
    """
    used: dict[str, Engine] = {}

    def point(name: str) -> Engine:
        engine: Engine = request.getfixturevalue(f"_{name}")
        used[name] = _stocked[name] = engine
        for variable, value in engine.client(os.environ["DOCKER_CONFIG"]).items():
            if variable != "PATH":  # a test can have its own docker there
                monkeypatch.setenv(variable, value)
        return engine

    yield point
    for name, engine in used.items():
        layered_images.remove(engine, but=name)


@pytest.fixture
def docker_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that records the docker subcommands that are run here; docker itself runs too."""
    log = tmp_path / "docker.log"
    log.touch()
    docker = program(tmp_path / "bin" / "docker", f'echo "$1" >>{log}\nexec {shutil.which("docker")} "$@"')
    monkeypatch.setenv("PATH", str(docker.parent), prepend=os.pathsep)
    return log


@pytest.fixture
def transfer_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> App:
    """Return a function that calls transfer-image in a project."""
    app = App(transfer_image_command.main, tmp_path / "app", capfd)
    app.write({"docker/dev/Dockerfile": "FROM scratch\n"})
    return app


@pytest.fixture
def serve_host(ssh_home: str) -> Iterator[Callable[..., Host]]:
    """Return a function that starts a host with an engine; this user may log in there and knows its key."""
    with ExitStack() as stack:

        def make(engine: Engine, **settings: Any) -> Host:
            host = stack.enter_context(serving(engine, **settings))
            host.admit(ssh_home)
            return host

        yield make
