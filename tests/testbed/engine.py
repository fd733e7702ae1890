"""Private Docker Engines: they do not touch the machine's own engine and leave nothing behind."""

from __future__ import annotations

import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any
from urllib.parse import quote, urlencode

_SCRIPT = os.path.join(os.path.dirname(__file__), "engine.sh")
# Looked up now, because a test can put another docker on PATH.
_DOCKER = shutil.which("docker") or "docker"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds to wait for an engine to answer.
_DEADLINE = 60.0
# Settings of an engine with the containerd image store, the default of Docker 29; engines before 24 do not have it.
CONTAINERD: Mapping[str, Any] = {"features": {"containerd-snapshotter": True}}


@dataclass(frozen=True)
class Engine:
    """A running engine: its directory, the pid of its keeper script, and its /usr if that is not the machine's."""

    directory: str
    pid: int
    usr: str | None

    @property
    def host(self) -> str:
        """Its address, as in DOCKER_HOST."""
        return f"unix://{self.directory}/docker.sock"

    def client(self, config: str) -> dict[str, str]:
        """Return the variables that point docker at this engine; `config` becomes DOCKER_CONFIG.

        An engine with its own /usr builds with BuildKit; the plugins of that /usr are linked into `config`, and its
        docker comes first on PATH: that of the machine can be older than the options of BuildKit.
        """
        os.makedirs(config, exist_ok=True)
        plugins = os.path.join(config, "cli-plugins")
        if self.usr and not os.path.lexists(plugins):
            os.symlink(f"{self.usr}/libexec/docker/cli-plugins", plugins)
        variables = {"DOCKER_HOST": self.host, "DOCKER_CONFIG": config, "DOCKER_BUILDKIT": "1" if self.usr else "0"}
        if self.usr:
            variables["PATH"] = f"{self.directory}/bin:{os.environ['PATH']}"
        return variables

    def docker(self, *args: str, timeout: float = 300) -> str:
        """Run docker against this engine, independent of the test's environment, and return stdout.

        RuntimeError contains its stderr; subprocess.TimeoutExpired after `timeout` seconds.
        """
        env = {**self.client(f"{self.directory}/client"), "PATH": _PATH, "HOME": self.directory}
        command = [f"{self.usr}/bin/docker" if self.usr else _DOCKER, *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(args)}: status {done.returncode}\n{done.stderr}")
        return done.stdout

    def api(self, method: str, path: str, **query: object) -> Any:
        """Call the engine's API, which is ten times as fast as docker, and return the answer; RuntimeError has its error.

        `filters` in the query is an object: https://docs.docker.com/reference/api/engine/.
        """
        texts = {name: value if isinstance(value, (str, int)) else json.dumps(value) for name, value in query.items()}
        with contextlib.closing(_connect(f"{self.directory}/docker.sock")) as connection:
            connection.request(method, f"{quote(path, safe='/:')}?{urlencode(texts)}")
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: status {answer.status}\n{text}")
        return json.loads(text) if text.startswith(("{", "[")) else text

    def processes(self) -> dict[int, str]:
        """Return the command lines, by pid, of its processes, containers and builds."""
        return {pid: command_line(pid) for pid in (self.pid, *descendants(self.pid))}

    @property
    def dockerd(self) -> int:
        """The pid of dockerd; StopIteration while it is not running."""
        return next(pid for pid, line in self.processes().items() if line.startswith("dockerd "))

    def path(self, path: str) -> str:
        """Return the path on this machine of one of its files, even if it has its own disk."""
        return f"/proc/{self.dockerd}/root{path}"

    def crash(self) -> None:
        """Kill dockerd, wait for its restart, and return when it answers; RuntimeError after a minute."""
        dockerd = self.dockerd
        os.kill(dockerd, signal.SIGKILL)
        self._until(lambda: not command_line(dockerd) and self.answers(), "the engine did not restart")

    @property
    def network(self) -> int:
        """The pid of a process in its network that runs until the end, even while dockerd does not."""
        return descendants(self.pid)[1]

    def stop(self) -> None:
        """Kill the engine and its containers, as when its machine loses power, until `start`."""
        with open(f"{self.directory}/stopped", "x", encoding="utf-8"):
            pass
        # The script goes on: its loop, and the cat that waits for the end of the tests.
        kept = {pid for pid in children(self.network) if command_line(pid) == "cat" or _SCRIPT in command_line(pid)}
        killed = set(descendants(self.network)) - kept
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._until(lambda: not any(map(command_line, killed)), "the engine did not stop")

    def start(self) -> None:
        """Start it again, and return when it answers; nothing if it runs."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.directory}/stopped")
        self._until(self.answers, "the engine did not start again")

    def _until(self, is_done: Callable[[], bool], fault: str) -> None:
        deadline = time.monotonic() + _DEADLINE
        while not is_done():
            if time.monotonic() > deadline:
                raise RuntimeError(fault)
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.api("GET", "/_ping") == "OK")
        except (OSError, http.client.HTTPException, RuntimeError):
            return False

    def is_running(self, command: str) -> bool:
        """Whether a process of its containers or builds has `command` in its command line."""
        return any(command in line for line in self.processes().values())


@contextlib.contextmanager
def running(
    usr: str | None = None,
    *,
    disk: str = "",
    environ: Mapping[str, str] = MappingProxyType({}),
    is_awaited: bool = True,
    **settings: Any,
) -> Iterator[Engine]:
    """Start an engine, yield it when it answers, and stop it; RuntimeError contains its log if it does not start.

    `usr` is the /usr of another system whose engine to run; `disk` is the size of a separate disk for its data, such
    as 100m; `environ` are variables of dockerd, `settings` keys of its daemon.json. The image store is overlay2, with CONTAINERD it is containerd.
    Unless `is_awaited`, its files are deleted later: that takes seconds, and no test comes after an engine of the session.
    """
    # A short path: that of a socket is limited to 107 bytes.
    directory = tempfile.mkdtemp(prefix="dockerutils-engine-", dir="/tmp")
    os.chmod(directory, 0o711)  # users of the socket must reach it
    if usr:
        os.mkdir(f"{directory}/bin")
        os.symlink(f"{usr}/bin/docker", f"{directory}/bin/docker")
    settings = {
        "hosts": [f"unix://{directory}/docker.sock"],
        "data-root": f"{directory}/data",
        "cgroup-parent": f"/{os.path.basename(directory)}",
        # systemd on the machine does not manage these processes.
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        # Explicit, because the default depends on the engine's version.
        "features": {"containerd-snapshotter": False},
    } | settings
    try:
        with open(f"{directory}/daemon.json", "w", encoding="utf-8") as file:
            json.dump(settings, file)
        with (
            tempfile.TemporaryFile("w+") as log,
            _keeper([directory, usr or "", disk], log, environ, is_awaited) as keeper,
        ):
            engine = Engine(directory, keeper.pid, usr)
            _await(engine, keeper, log)
            yield engine
    finally:
        # The keeper script does the same, in case this process is killed.
        if is_awaited:
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _keeper(
    args: list[str], log: IO[str], environ: Mapping[str, str], is_awaited: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the script that runs an engine. Leaving the context closes its stdin, which stops it, and waits if asked to.

    It runs in its own session, so that Ctrl-C does not reach it.
    """
    command = ["bash", _SCRIPT, *args]
    env = {"PATH": _PATH, **environ}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True
    ) as keeper:
        try:
            yield keeper
        finally:
            if not is_awaited:
                keeper.returncode = 0


def _await(engine: Engine, keeper: subprocess.Popen[bytes], log: IO[str]) -> None:
    """Return when the engine answers."""
    deadline = time.monotonic() + _DEADLINE
    while not engine.answers():
        if keeper.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"the Docker Engine did not start; its log:\n{log.read()}")
        time.sleep(0.05)


def _connect(path: str) -> http.client.HTTPConnection:
    """Return a connection to a Unix socket."""
    connection = http.client.HTTPConnection("docker")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(_DEADLINE)
    try:
        connection.sock.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def descendants(pid: int) -> list[int]:
    """Return the pids of the children of a process, and of theirs."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def children(pid: int) -> list[int]:
    """Return the pids of the children of a process."""
    found = []
    # Each thread has its own list.
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError):  # the process has ended
            found += [int(each) for each in _read(path).split()]
    return found


def command_line(pid: int | str) -> str:
    """Return the arguments of a process separated by spaces, or an empty string if it has ended."""
    try:
        return _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    except OSError:
        return ""


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
