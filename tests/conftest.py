"""Fixtures for every test: isolation from the user's own environment, Docker Engines, hosts and projects.

Three engines run once for all tests; docker and the commands use the one whose fixture a test takes:

- `engine`: this machine's Docker Engine (20.10 on Debian 12), image store overlay2, classic builder;
- `modern_engine`: Docker Engine 28 or newer, image store overlay2, BuildKit;
- `containerd_engine`: the same version with the containerd image store, the default of new installations.

`each_engine` is `engine` and `containerd_engine`. `host` and `classic_host` are other hosts behind an sshd, with the
engines of `containerd_engine` and `engine`. `nodes` are two docks whose engines reach each other, and can be a swarm:
`swarm` joins them. Prefer `containerd_engine` where a test needs one engine only.
"""

from __future__ import annotations

import fcntl
import gc
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from dockerutils.aws.session import Session
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from dockerutils.project import project as projects
from dockerutils.project.project import Project
from tests.support import Terminal, write_tree
from tests.testbed import aws as testbed_aws
from tests.testbed import batch as testbed_batch
from tests.testbed import debian, images, nvidia
from tests.testbed import swarm as testbed_swarm
from tests.testbed.aws import Aws, Front
from tests.testbed.batch import Batch
from tests.testbed.engine import CONTAINERD, Engine, running
from tests.testbed.host import Host, at_home, serving

# Variables of the user that change what the commands do or point to credentials. XDG directories default to HOME.
_USERS_OWN = re.compile(r"(AWS|DOCK|DOCKER|DOCKERUTILS|RESERO|SSH|XDG)_.*|NO_COLOR")


# Which marker follows from which fixtures. `-m "not (engine or ssh or aws or browser)"` is the ring that runs on any laptop.
_NEEDS = {
    "engine": {"_classic", "_modern", "_containerd", "_linked", "each_engine", "use_engine"},
    "ssh": {"ssh_home"},
    "aws": {"_moto", "_batch"},
    "browser": {"jupyterlab", "browser"},
}


# The files whose tests build on the image of Python. One process of pytest-xdist runs all of them: so each engine imports
# that image once, and the builds of one test find the layers of another.
_ON_PYTHON = (
    "test_image.py",
    "test_locked_projects.py",
    "test_readme.py",
    "test_docker_dir.py",
    "test_patterns.py",
    "test_flask_web.py",
    "test_versioned_base.py",
    "test_cpu_gpu.py",
    "test_meteorites.py",
    "test_testbed.py",
    "test_recording.py",
    "test_init.py",
)

# The files whose tests use the two engines of a swarm, which one process starts once.
_ON_SWARM = ("test_swarm.py", "test_swarm_docks.py", "test_run_image_services.py", "test_transfer_image_swarm.py")

# The files whose tests take longest, which start first, so that no process of pytest-xdist is busy alone in the end.
_LONGEST = (
    *_ON_PYTHON,
    *_ON_SWARM,
    "test_transfer_image_faults.py",
    "test_create_dock.py",
    "test_destroy_dock.py",
    "test_transfer_image.py",
    "test_publish_image.py",
    "test_start_dock.py",
    "test_transfer_image_by_pull.py",
    "test_build_image.py",
    "test_ls_dock.py",
    "test_sync_up.py",
)

# Files whose tests use Jupyter's port 8888 of this machine: not at the same time.
_NOTEBOOKS = {"test_nb_dock.py", "test_run_notebook_docked.py", "test_image.py"}


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """Give each process of pytest-xdist a file at a time, and all files that share much to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        groups = {"Python": _ON_PYTHON, "swarm": _ON_SWARM}
        return next((group for group, files in groups.items() if os.path.basename(file) in files), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    """Return what distributes the tests."""
    return _Scheduling(config, log)


# A busy machine is no fault.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the parts that it needs, and put the longest files first."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(_LONGEST)))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for need, names in _NEEDS.items():
            if fixtures & names:
                item.add_marker(need)


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what all tests share, which takes it longer than anything that a test creates."""
    gc.collect()
    gc.freeze()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let Ctrl-C or SIGTERM stop the tests and their fixtures, even while a command called in this process handles it."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        session.shouldstop = "interrupted"
        signal.default_int_handler(number, frame)

    # Even if the shell ignores it for background jobs; children of the tests would inherit that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    # Coverage measures this process and not the commands that tests start: it would double the time that they need to
    # start, and a signal that arrives within it leaves its lock taken, for which the command would then wait for ever.
    if hasattr(session.config, "workerinput"):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Isolate every test from the user's HOME, credentials and engine; the user is alice."""
    for name in filter(_USERS_OWN.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)
    # Not inside tmp_path, where the test writes its own files. A short path, because ssh's sockets are in it.
    home = tmp_path_factory.mktemp("h")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("DOCKER_CONFIG", str(home / ".docker"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield
    # The processes behind these end, which otherwise would run as long as the process of the tests.
    for socket in home.glob(".docker/dock-*.sock"):
        socket.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _one_notebook_at_a_time(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let one process of pytest-xdist at a time use the ports from 8888 on."""
    if request.path.name not in _NOTEBOOKS:
        yield
        return
    # The processes have directories of their own next to each other.
    with (tmp_path_factory.getbasetemp().parent / "notebooks.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def nvidia_runtime(tmp_path_factory: pytest.TempPathFactory) -> nvidia.Runtime:
    """Return the runtime that `engine` calls nvidia: runc, with a record of its calls."""
    return nvidia.runtime(str(tmp_path_factory.mktemp("nvidia")))


@pytest.fixture(scope="session")
def _classic(nvidia_runtime: nvidia.Runtime) -> Iterator[Engine]:
    with running(is_awaited=False, **nvidia_runtime.settings) as engine:
        images.add_busybox(engine)
        yield engine


@pytest.fixture(scope="session")
def cdi_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory where `modern_engine` looks for CDI specifications of devices; it is empty."""
    return tmp_path_factory.mktemp("cdi")


@pytest.fixture(scope="session")
def _modern(cdi_directory: Path) -> Iterator[Engine]:
    settings: dict[str, Any] = {"cdi-spec-dirs": [str(cdi_directory)]}
    with running(debian.modern_usr(), is_awaited=False, **settings) as engine:
        images.add_busybox(engine)
        yield engine


@pytest.fixture(scope="session")
def containerd_cdi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return such a directory of `containerd_engine`."""
    return tmp_path_factory.mktemp("cdi")


@pytest.fixture(scope="session")
def _containerd(containerd_cdi: Path) -> Iterator[Engine]:
    settings: dict[str, Any] = {**CONTAINERD, "cdi-spec-dirs": [str(containerd_cdi)]}
    with running(debian.modern_usr(), is_awaited=False, **settings) as engine:
        images.add_busybox(engine)
        yield engine


@pytest.fixture
def engine(_classic: Engine, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Point docker at a private instance of this machine's Docker Engine, with the classic builder."""
    return _point_docker_at(_classic, monkeypatch)


@pytest.fixture
def modern_engine(_modern: Engine, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Point docker at a private Docker Engine 28 or newer, with BuildKit and the image store overlay2."""
    return _point_docker_at(_modern, monkeypatch)


@pytest.fixture
def containerd_engine(_containerd: Engine, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Point docker at a private Docker Engine 28 or newer, with BuildKit and the containerd image store."""
    return _point_docker_at(_containerd, monkeypatch)


_EACH = {"classic": "engine", "overlay2": "modern_engine", "containerd": "containerd_engine"}


@pytest.fixture(params=["classic", "containerd"])
def each_engine(request: pytest.FixtureRequest) -> Engine:
    """Run the test twice, on `engine` and on `containerd_engine`; `support.each_store` adds `modern_engine`."""
    chosen: Engine = request.getfixturevalue(_EACH[request.param])
    return chosen


@pytest.fixture(scope="session")
def _moto() -> Iterator[Aws]:
    with testbed_aws.serving() as aws:
        yield aws


@pytest.fixture
def connect_to(isolated: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Aws], Session]:
    """Return a function that points boto3 at an endpoint, and returns a session."""

    def connect(endpoint: Aws) -> Session:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        return Session(os.environ, dry_run=False)

    return connect


@pytest.fixture(scope="session")
def _batch(_containerd: Engine) -> Iterator[Batch]:
    with testbed_batch.serving(_containerd) as batch:
        yield batch


@pytest.fixture
def batch(_batch: Batch, containerd_engine: Engine, connect_to: Callable[[Aws], Session]) -> Iterator[Batch]:
    """Point boto3 at an AWS that is empty, whose Batch runs jobs on `containerd_engine`; see tests/testbed/batch.py."""
    connect_to(_batch.aws)
    yield _batch
    _batch.aws.reset()


@pytest.fixture
def front(connect_to: Callable[[Aws], Session]) -> Iterator[Front]:
    """Point boto3 at a proxy with nothing behind it: the test writes the answers."""
    with testbed_aws.before(Aws("http://127.0.0.1:1")) as front:
        connect_to(front.aws)
        yield front


@pytest.fixture(scope="session")
def python_image(_classic: Engine) -> str:
    """Return the name of an image on `engine` with Python 3, pip and venv."""
    images.add_python(_classic)
    return images.PYTHON


@pytest.fixture
def ssh_home(isolated: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make ssh read HOME/.ssh, which has an identity, and return HOME; a test's hosts must `admit` it."""
    for name, value in at_home(os.environ["HOME"]).items():
        monkeypatch.setenv(name, value)
    return os.environ["HOME"]


@pytest.fixture
def host(_containerd: Engine, ssh_home: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Return another host with the engine of `containerd_engine`; it and this user know each other's keys."""
    monkeypatch.setenv("PATH", _containerd.client(os.environ["DOCKER_CONFIG"])["PATH"])
    with serving(_containerd) as there:
        there.admit(ssh_home)
        yield there


@pytest.fixture
def classic_host(_classic: Engine, ssh_home: str) -> Iterator[Host]:
    """Return another host with the engine of `engine`; it and this user know each other's keys."""
    with serving(_classic) as there:
        there.admit(ssh_home)
        yield there


@pytest.fixture(scope="session")
def _linked() -> Iterator[testbed_swarm.Engines]:
    with testbed_swarm.linked() as engines:
        yield engines


@pytest.fixture
def _docks(
    _linked: testbed_swarm.Engines, ssh_home: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[testbed_swarm.Nodes]:
    monkeypatch.setenv("PATH", _linked[0].client(os.environ["DOCKER_CONFIG"])["PATH"])
    with testbed_swarm.serving_docks(_linked, ssh_home) as nodes:
        for name, node in zip(testbed_swarm.NAMES, nodes, strict=True):
            host = node.host
            inventory.register(Dock(name, host.address, "dock", host.address, host.address, host.port), ssh_home)
        yield nodes


@pytest.fixture
def nodes(_docks: testbed_swarm.Nodes) -> testbed_swarm.Nodes:
    """Return two docks, `one` and `two`, with current engines that reach each other and are in no swarm."""
    testbed_swarm.part(_docks)
    return _docks


@pytest.fixture
def swarm(_docks: testbed_swarm.Nodes) -> testbed_swarm.Nodes:
    """Return the docks of `nodes`; `one` is the manager of a swarm of both. It has no services."""
    testbed_swarm.join(_docks)
    return _docks


def _point_docker_at(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    for name, value in engine.client(os.environ["DOCKER_CONFIG"]).items():
        monkeypatch.setenv(name, value)
    return engine


@pytest.fixture
def terminal() -> Terminal:
    """Return a terminal to redirect stderr to."""
    return Terminal()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that the clock of progress shows; the test changes them."""
    now = [100.0]
    monkeypatch.setattr("dockerutils.core.progress.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Return a function that writes a project, including docker/dev/Dockerfile, and loads it."""

    def make(files: Mapping[str, str], name: str = "app", workdir: str = "", **environ: str) -> Project:
        root = write_tree(tmp_path / name, {"docker/dev/Dockerfile": "FROM scratch\n", **files})
        return projects.find(str(root / workdir), {"LOGNAME": "alice", **environ})

    return make
