"""Other hosts for the tests: an sshd of its own in front of an engine, with users and files that are not this machine's."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from tests.testbed.engine import Engine, command_line
from tests.testbed.registry import daemon
from tests.testbed.relay import inside, relaying

# The users of a host: who may use docker, who may by `sudo -n docker` alone, and who may not.
USERS = ("dock", "nodock", "plain")

_SCRIPT = os.path.join(os.path.dirname(__file__), "host.sh")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Debian's, if there is one. Found now: a test may put another docker on its PATH.
_DOCKER = shutil.which("docker", path=_PATH) or shutil.which("docker") or "docker"
_DEADLINE = 60.0
_WRAPPER = "libnss_wrapper.so"


@dataclass(frozen=True)
class Host:
    """A host that runs: its engine, where its sshd listens, its directory, and the processes that it consists of."""

    engine: Engine
    address: str
    port: int
    directory: str
    keeper: int
    sshd: int
    own: frozenset[int]

    @property
    def key(self) -> str:
        """The file of an identity that each of its users admits."""
        return f"{self.directory}/id_ed25519"

    @property
    def known_hosts_line(self) -> str:
        """What a file of known hosts says of it."""
        kind, key = _read(f"{self.directory}/host_key.pub").split()[:2]
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return f"{name} {kind} {key}\n"

    def destination(self, user: str = "dock") -> str:
        """Return what the commands call a user of it: `dock@127.0.0.2:2222`."""
        return f"{user}@{self.address}:{self.port}"

    def at(self, address: str, port: int) -> Host:
        """Return the same host as one reaches it elsewhere, by way of a relay."""
        return replace(self, address=address, port=port)

    def path(self, path: str) -> str:
        """Return the name that a file of the host has on this side."""
        return f"/proc/{self.sshd}/root{path}"

    def home(self, user: str = "dock") -> str:
        """Return the home directory of a user: the same on this side, on the host, and for its engine."""
        return f"{self.directory}/home/{user}"

    def admit(self, home: str) -> None:
        """Make it and the user with this home know each other: authorize the identity, and note the host's key."""
        with open(self.path("/etc/ssh/authorized_keys"), "a", encoding="utf-8") as authorized:
            authorized.write(_read(f"{home}/.ssh/id_ed25519.pub"))
        with open(f"{home}/.ssh/known_hosts", "a", encoding="utf-8") as known:
            known.write(self.known_hosts_line)

    def run(self, command: str, user: str = "root") -> str:
        """Run a line of shell on it, without ssh, and return stdout; RuntimeError has its stderr."""
        inside = ["nsenter", f"--target={self.sshd}", "--mount", "--pid", "--root", "--wd"]
        done = subprocess.run(
            [*inside, "runuser", "--login", user, "--command", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={"PATH": _PATH},
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: status {done.returncode}\n{done.stderr}")
        return done.stdout

    def log(self) -> str:
        """Return what sshd has said so far."""
        return _read(f"{self.directory}/log")

    def authentications(self) -> int:
        """Return how many connections have been let in since it started."""
        return self.log().count("Accepted publickey for ")

    def sessions(self) -> list[int]:
        """Return the processes of sshd that hold a connection each, one that is not let in yet included."""
        return _children(self.sshd)

    def processes(self) -> dict[int, str]:
        """Return the command lines, by pid, of what connections have brought about, and what they have left running."""
        lines = {pid: command_line(pid) for pid in _descendants(self.keeper) if pid not in self.own}
        return {pid: line for pid, line in lines.items() if line}  # without those that have ended

    def cut(self) -> None:
        """Break all connections off, as a crash does: end what holds them, and wait for it. The host stays."""
        held = {pid for session in self.sessions() for pid in (session, *_descendants(session)) if _is_sshd(pid)}
        for pid in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _DEADLINE
        while any(map(command_line, held)):
            _pause(deadline, "connections do not end")

    def rotate_host_key(self) -> None:
        """Give it another key, as a host has that was set up anew; return when it answers with that."""
        before = self.log().count("Server listening on ")
        _generate(f"{self.directory}/host_key")
        os.kill(self.sshd, signal.SIGHUP)
        deadline = time.monotonic() + _DEADLINE
        while self.log().count("Server listening on ") == before:
            _pause(deadline, "sshd does not start again")


@contextlib.contextmanager
def serving(
    engine: Engine,
    *,
    port: int = 2222,
    docker: str = "/usr/bin/docker",
    without: tuple[str, ...] = (),
    near: bool = False,
    **settings: str,
) -> Iterator[Host]:
    """Start a host with this engine on a loopback address of its own, and end it; RuntimeError has its log.

    `near`: its network is the engine's, as that of a real host is, so the ports of containers are its own. `docker` is where it has the docker command, empty for nowhere; `without` are commands in /usr/bin that it lacks;
    `settings` are keywords of sshd_config, such as MaxStartups="1" or SetEnv="PATH=/bin".
    """
    directory = tempfile.mkdtemp(prefix="dockerutils-host-", dir="/tmp")
    os.chmod(directory, 0o755)  # there are the homes of its users
    try:
        with free_address(port) as address, tempfile.TemporaryFile("w+") as log, contextlib.ExitStack() as stack:
            _configure(directory, address, port, settings)
            args = (engine.host.removeprefix("unix://"), os.path.realpath(_DOCKER), docker, *without)
            network = daemon(engine) if near else None
            with _keeper([directory, *args], log, network) as keeper:
                own = _await(keeper, log, directory)
                sshd = next(pid for pid in own if _is_sshd(pid))
                host = Host(engine, address, port, directory, keeper.pid, sshd, own)
                if near:
                    relay = stack.enter_context(relaying(address, port, server=network))
                    host = host.at(relay.address, relay.port)
                yield host
    finally:
        # The keeper has done that too, for the case that this process was killed.
        shutil.rmtree(directory, ignore_errors=True)


def at_home(home: str) -> dict[str, str]:
    """Return the variables that make ssh look for its files in this home; it heeds not HOME but the user's entry.

    nss_wrapper(1) makes it see an entry of ours, in a file beside `home`. An identity is put in `home`/.ssh.
    """
    os.makedirs(f"{home}/.ssh", 0o700, exist_ok=True)
    _generate(f"{home}/.ssh/id_ed25519")
    entries = [line.split(":") for line in _read("/etc/passwd").splitlines()]
    for entry in entries:
        if entry[2] == str(os.getuid()):
            entry[5] = home
    users = f"{home}.passwd"
    with open(users, "w", encoding="utf-8") as file:
        file.writelines(":".join(entry) + "\n" for entry in entries)
    return {"LD_PRELOAD": _WRAPPER, "NSS_WRAPPER_PASSWD": users, "NSS_WRAPPER_GROUP": "/etc/group"}


def _configure(directory: str, address: str, port: int, settings: dict[str, str]) -> None:
    _generate(f"{directory}/host_key")
    _generate(f"{directory}/id_ed25519")
    shutil.copy(f"{directory}/id_ed25519.pub", f"{directory}/authorized_keys")
    os.mkdir(f"{directory}/home")
    # The first value of a keyword is the one that counts.
    lines = [f"{keyword} {value}\n" for keyword, value in settings.items()]
    lines += f"""\
ListenAddress {address}
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
LogLevel VERBOSE
PrintMotd no
Subsystem sftp internal-sftp
"""
    with open(f"{directory}/sshd_config", "w", encoding="utf-8") as file:
        file.writelines(lines)


def _generate(path: str) -> None:
    """Make a pair of keys, in the place of the one that is there."""
    for old in (path, f"{path}.pub"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(old)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", path], check=True)


@contextlib.contextmanager
def free_address(port: int) -> Iterator[str]:
    """Give the first address after 127.0.0.1 where nothing listens on the port, and nobody else is about to."""
    for number in range(2, 255):
        address = f"127.0.0.{number}"
        # The name in the abstract namespace is this process's as long as the socket lives.
        with socket.socket(socket.AF_UNIX) as reservation, socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reservation.bind(f"\0dockerutils-host-{address}:{port}")
                free.bind((address, port))
            except OSError:
                continue
            free.close()
            yield address
            return
    raise RuntimeError(f"no loopback address has port {port} free")


def _keeper(args: list[str], log: IO[str], network: int | None) -> subprocess.Popen[bytes]:
    """Start the script that runs a host; to leave it as a context ends its standard input, and waits for it.

    In a session of its own a Ctrl-C does not reach it.
    """
    return subprocess.Popen(
        [*inside(network), "bash", _SCRIPT, *args],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={"PATH": _PATH},
        start_new_session=True,
    )


def _await(keeper: subprocess.Popen[bytes], log: IO[str], directory: str) -> frozenset[int]:
    """Return the processes of the host when its sshd listens."""
    deadline = time.monotonic() + _DEADLINE
    while "Server listening on " not in _read(f"{directory}/log", missing_ok=True):
        if keeper.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"no host came up; its log:\n{log.read()}")
        time.sleep(0.01)
    return frozenset((keeper.pid, *_descendants(keeper.pid)))


def _descendants(pid: int) -> list[int]:
    return [each for child in _children(pid) for each in (child, *_descendants(child))]


def _children(pid: int) -> list[int]:
    # Each thread has its own.
    files = glob.glob(f"/proc/{pid}/task/*/children")
    return [int(each) for file in files for each in _read(file, missing_ok=True).split()]


def _is_sshd(pid: int) -> bool:
    """Tell whether a process is sshd's, by its name; that of a connection is sshd-session in newer versions."""
    return _read(f"/proc/{pid}/comm", missing_ok=True).startswith("sshd")


def _pause(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(what)
    time.sleep(0.01)


def _read(path: str, *, missing_ok: bool = False) -> str:
    """Return a text; of a file that is not there, or of a process that ends meanwhile, nothing when this is alright."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        if missing_ok:
            return ""
        raise
