"""Other hosts for the tests: a private sshd in front of an engine, with its own users and files."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.testbed.engine import Engine, children, command_line, descendants
from tests.testbed.registry import daemon
from tests.testbed.relay import inside, relaying

# The users of a host: one can use docker, one only with `sudo -n docker`, one not at all.
USERS = ("dock", "nodock", "plain")

_SCRIPT = os.path.join(os.path.dirname(__file__), "host.sh")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Prefer Debian's. Looked up now, because a test can put another docker on PATH.
_DOCKER = shutil.which("docker", path=_PATH) or shutil.which("docker") or "docker"
_DEADLINE = 60.0
_WRAPPER = "libnss_wrapper.so"


@dataclass(frozen=True)
class Host:
    """A running host: its engine, the address of its sshd, its directory and its own processes."""

    engine: Engine
    address: str
    port: int
    directory: str
    keeper: int
    sshd: int
    own: frozenset[int]

    @property
    def key(self) -> str:
        """The file of an identity that all of its users accept."""
        return f"{self.directory}/id_ed25519"

    @property
    def known_hosts_line(self) -> str:
        """Its line in a known_hosts file."""
        kind, key = _read(f"{self.directory}/host_key.pub").split()[:2]
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return f"{name} {kind} {key}\n"

    def destination(self, user: str = "dock") -> str:
        """Return a user of it as a destination: `dock@127.0.0.2:2222`."""
        return f"{user}@{self.address}:{self.port}"

    def at(self, address: str, port: int) -> Host:
        """Return the same host at another address, that of a relay."""
        return replace(self, address=address, port=port)

    def path(self, path: str) -> str:
        """Return the path on this machine of a file of the host."""
        return f"/proc/{self.sshd}/root{path}"

    def home(self, user: str = "dock") -> str:
        """Return the home directory of a user; the path is the same here, on the host and for its engine."""
        return f"{self.directory}/home/{user}"

    def admit(self, home: str) -> None:
        """Authorize the identity in this home directory, and add the host's key to its known hosts."""
        with open(self.path("/etc/ssh/authorized_keys"), "a", encoding="utf-8") as authorized:
            authorized.write(_read(f"{home}/.ssh/id_ed25519.pub"))
        with open(f"{home}/.ssh/known_hosts", "a", encoding="utf-8") as known:
            known.write(self.known_hosts_line)

    def run(self, command: str, user: str = "root") -> str:
        """Run a shell command line on the host, without ssh, and return stdout; RuntimeError contains stderr."""
        inside = ["nsenter", f"--target={self.sshd}", "--mount", "--pid", "--net", "--root", "--wd"]
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

    def wrap_docker(self, script: str) -> None:
        """Put a docker command before the host's own: a script of sh, in which `real` is the host's own."""
        path = self.path("/usr/local/bin/docker")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(f'#!/bin/sh\nreal() {{ /usr/bin/docker "$@"; }}\n{script}\nreal "$@"\n')
        os.chmod(path, 0o755)

    def alter_answers(self, before: str, after: str) -> None:
        """Replace some text in what the engine's API answers through ssh by another one of the same length."""
        assert len(before) == len(after)
        code = f"import os\nwhile d := os.read(0, 1 << 20): os.write(1, d.replace({before.encode()!r}, {after.encode()!r}))"
        command = shlex.join(["python3", "-c", code])
        self.wrap_docker(f'[ "$1 $2" != "system dial-stdio" ] || {{ real "$@" | {command}; exit; }}')

    def log(self) -> str:
        """Return the log of sshd."""
        return _read(f"{self.directory}/log")

    def authentications(self) -> int:
        """Return the number of accepted logins since the start."""
        return self.log().count("Accepted publickey for ")

    def sessions(self) -> list[int]:
        """Return the pids of sshd's connections, including those not yet authenticated."""
        return children(self.sshd)

    def processes(self) -> dict[int, str]:
        """Return the command lines, by pid, of processes that connections started."""
        lines = {pid: command_line(pid) for pid in descendants(self.keeper) if pid not in self.own}
        return {pid: line for pid, line in lines.items() if line}  # ended meanwhile

    def cut(self) -> None:
        """Break all connections, as a crash would, by killing their processes; the host keeps running."""
        held = {pid for session in self.sessions() for pid in (session, *descendants(session)) if _is_sshd(pid)}
        for pid in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _DEADLINE
        while any(map(command_line, held)):
            _pause(deadline, "the connections did not end")

    def rotate_host_key(self) -> None:
        """Replace the host key, as after a reinstallation, and wait until sshd uses it."""
        before = self.log().count("Server listening on ")
        _generate(f"{self.directory}/host_key")
        os.kill(self.sshd, signal.SIGHUP)
        deadline = time.monotonic() + _DEADLINE
        while self.log().count("Server listening on ") == before:
            _pause(deadline, "sshd did not restart")


@contextlib.contextmanager
def serving(
    engine: Engine,
    *,
    port: int = 2222,
    docker: str = "/usr/bin/docker",
    without: tuple[str, ...] = (),
    near: bool = False,
    inner: str = "",
    **settings: str,
) -> Iterator[Host]:
    """Start a host with this engine on its own loopback address, and stop it; RuntimeError contains its log.

    `near`: the host shares the network of its engine, like a real one, so containers publish ports on it; `inner` is the
    address of its sshd there, a relay leads to it. `docker` is the path of its docker command, empty for none; `without` lists commands in /usr/bin that it does not have; `settings` are
    keywords of sshd_config, such as MaxStartups="1" or SetEnv="PATH=/bin".
    """
    directory = tempfile.mkdtemp(prefix="dockerutils-host-", dir="/tmp")
    os.chmod(directory, 0o755)  # the home directories of its users are in it
    try:
        with free_address(port) as free, tempfile.TemporaryFile("w+") as log, contextlib.ExitStack() as stack:
            address = inner or free
            _configure(directory, address, port, settings)
            args = (engine.host.removeprefix("unix://"), os.path.realpath(_DOCKER), docker, *without)
            network = daemon(engine) if near else None
            with _keeper([directory, *args], log, network) as keeper:
                own = _await(keeper, log, directory)
                sshd = next(pid for pid in own if _is_sshd(pid))
                host = Host(engine, address, port, directory, keeper.pid, sshd, own)
                if near:
                    listen = (free, 0) if inner else 0
                    relay = stack.enter_context(relaying(address, port, server=network, listen=listen))
                    host = host.at(relay.address, relay.port)
                yield host
    finally:
        # The keeper script does the same, in case this process is killed.
        shutil.rmtree(directory, ignore_errors=True)


def at_home(home: str) -> dict[str, str]:
    """Return the variables that make ssh use this home directory, and create an identity in `home`/.ssh.

    ssh ignores HOME and reads the passwd entry. nss_wrapper(1) shows it a modified entry, in a file next to `home`.
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
    # The first value of a keyword takes effect.
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
# The default key exchange takes several times as long.
KexAlgorithms curve25519-sha256
Subsystem sftp internal-sftp
"""
    with open(f"{directory}/sshd_config", "w", encoding="utf-8") as file:
        file.writelines(lines)


def _generate(path: str) -> None:
    """Create a key pair, replacing an existing one, as ssh-keygen does, but without a process."""
    pair = Ed25519PrivateKey.generate()
    private = pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" tests\n"
    for name, content, mode in ((path, private, 0o600), (f"{path}.pub", public, 0o644)):
        with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)


@contextlib.contextmanager
def free_address(port: int) -> Iterator[str]:
    """Reserve and yield the first address after 127.0.0.1 whose port is free."""
    for number in range(2, 255):
        address = f"127.0.0.{number}"
        # The abstract socket name reserves the address for as long as the socket exists.
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
    """Start the script that runs a host. Leaving the context closes its stdin, which stops it, and waits.

    It runs in its own session, so that Ctrl-C does not reach it.
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
    """Wait until sshd listens, and return the pids of the host."""
    deadline = time.monotonic() + _DEADLINE
    while "Server listening on " not in _read(f"{directory}/log", missing_ok=True):
        if keeper.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"the host did not start; its log:\n{log.read()}")
        time.sleep(0.01)
    return frozenset((keeper.pid, *descendants(keeper.pid)))


def _is_sshd(pid: int) -> bool:
    """Whether a process belongs to sshd, by its name; newer versions name connections sshd-session."""
    return _read(f"/proc/{pid}/comm", missing_ok=True).startswith("sshd")


def _pause(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(what)
    time.sleep(0.01)


def _read(path: str, *, missing_ok: bool = False) -> str:
    """Return the text of a file; with `missing_ok`, an empty string if the file or its process is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        if missing_ok:
            return ""
        raise
