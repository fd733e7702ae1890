"""Ports of a dock on this machine, through the dock's shared connection: `ssh -O forward` and `ssh -O cancel`.

ssh opens a port once, however many ask for it, and one `cancel` closes it for all. So each port has a file,
`~/.docker/dock-forward-<port>`, and each process that uses the port has a shared lock on it: the last one closes the
port. The kernel releases the lock of a process that was killed.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import STDERR, STDOUT, Command
from dockerutils.core.process.children import spawn_detached
from dockerutils.docker.invocation import Port
from dockerutils.docks import inventory, remote, ssh_config
from dockerutils.docks.records import Dock
from dockerutils.docks.remote import RemoteHost

_LOOPBACK = "127.0.0.1"
_LOCK = "dock.forwards.lock"
_ANSWER = 10.0  # seconds, for a host to open a port


class _Forward(NamedTuple):
    """A port here, the value of ssh's option -L, and the file descriptor that holds the lock."""

    port: int
    specification: str
    lock: int = -1


@contextmanager
def forwarded(
    dock: Dock, ports: Sequence[Port], *, container: str = "", here: int | None = None, dry_run: bool = False
) -> Iterator[None]:
    """Make ports of a dock answer on localhost during the block, at the same numbers, or one port at `here`.

    With `container`, which the block starts detached, they answer until that container ends. DockerutilsError if a port
    is in use here, CommandFailed if the dock is not reached.
    """
    wanted = [_Forward(here or port.number, _specification(port, here or port.number)) for port in ports]
    if not wanted:
        yield
        return
    host = remote.of(dock)
    if dry_run:
        print(Command(_argv(host, "forward", wanted)))
        yield
        print(Command(_argv(host, "cancel", wanted)))
        return
    held = _open(host, dock, wanted)
    try:
        yield
    except BaseException:
        container = ""
        raise
    finally:
        if container:
            _hand_over(dock, container, held)
        else:
            _close(host, held)


@contextmanager
def forwarded_back(host: RemoteHost, port: int) -> Iterator[int]:
    """Make a port of this machine answer on the loopback address of a host during the block; yield its number there.

    The host chooses the number. It needs the shared connection. DockerutilsError if sshd does not allow it.
    """
    words = ["-R", f"{_LOOPBACK}:0:{_LOOPBACK}:{port}"]
    [answer] = process.capture_within([host.control("forward", *words)], _ANSWER, lambda _: False)
    try:
        if answer is None or not answer.stdout.strip().isdecimal():
            raise DockerutilsError(
                f"{host.name} forwards no port back to this machine (AllowTcpForwarding of its sshd)"
            )
        yield int(answer.stdout)
    finally:
        if host.dock:  # that of another host ends with its connection, which nothing uses afterwards
            process.capture_within([host.control("cancel", *words)], remote.CHECK, lambda _: False)


def require_free(dock: Dock, ports: Sequence[Port]) -> None:
    """Raise DockerutilsError if a port is in use on this machine, by something else than a forward to a dock.

    Also if ssh can forward none, because it can share no connection to the dock.
    """
    if ports:
        _require_shared_connection(dock)
    for port in ports:
        if not os.path.exists(_file(port.number)):
            _require_free(port.number)


def _require_shared_connection(dock: Dock) -> None:
    home = os.path.expanduser("~")
    if ssh_config.socket(dock, home) is None:
        raise DockerutilsError(
            f"ssh cannot forward ports: {home} is too long for the path of a shared connection; publish no port, or "
            "use a home directory with a shorter path"
        )


def _open(host: RemoteHost, dock: Dock, wanted: Sequence[_Forward]) -> list[_Forward]:
    """Forward the ports and return them with their locks."""
    _require_shared_connection(dock)
    held: list[_Forward] = []
    try:
        with inventory.locked(os.path.expanduser("~"), _LOCK):
            held.extend(forward._replace(lock=_locked(dock, forward)) for forward in wanted)
        host.connect()
        # Also a port that another process has opened: its connection is possibly gone. Otherwise ssh ignores it.
        process.run(Command(_argv(host, "forward", wanted)), escaped=[STDOUT, STDERR])
    except BaseException as error:
        _close(host, held)
        if isinstance(error, CommandFailed) and not str(error):
            numbers = ", ".join(str(each.port) for each in wanted)
            raise CommandFailed(
                error.status, f"ssh cannot forward {numbers}, see above; free that port, or publish another one"
            ) from None
        raise
    return held


def _locked(dock: Dock, forward: _Forward) -> int:
    """Return a file descriptor with a shared lock on the file of a port; DockerutilsError if the port is in use."""
    purpose = f"{dock.moniker} {forward.specification}"
    lock = os.open(_file(forward.port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        before = os.pread(lock, 4096, 0).decode(errors="replace")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process uses the port
            if before != purpose:
                other = f"it is forwarded to dock {before.partition(' ')[0]}"
                raise DockerutilsError(
                    f"port {forward.port} is in use on this machine: {other}; stop that run, or publish another port"
                ) from None
        else:
            _cancel_left(before)
            _require_free(forward.port)
            os.truncate(lock, 0)
            os.pwrite(lock, purpose.encode(), 0)
        fcntl.flock(lock, fcntl.LOCK_SH)
    except BaseException:
        with suppress(FileNotFoundError):
            if not _is_used(lock):
                os.unlink(_file(forward.port))
        os.close(lock)
        raise
    return lock


def _cancel_left(purpose: str) -> None:
    """Close a port whose processes were killed."""
    moniker, _, specification = purpose.partition(" ")
    dock = inventory.lookup(moniker, os.path.expanduser("~")) if specification else None
    if dock and (host := remote.of(dock)).is_connected:
        _cancel(host, [_Forward(0, specification)])


def _close(host: RemoteHost, held: Sequence[_Forward]) -> None:
    """Release the locks, and close the ports that no other process uses."""
    with inventory.locked(os.path.expanduser("~"), _LOCK):
        unused = [each for each in held if not _is_used(each.lock)]
        for each in unused:
            with suppress(FileNotFoundError):
                os.unlink(_file(each.port))
        for each in held:
            os.close(each.lock)
        if unused and host.is_connected:
            _cancel(host, unused)


def _is_used(lock: int) -> bool:
    """Return whether another process has the lock too; ours is gone then."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _cancel(host: RemoteHost, forwards: Sequence[_Forward]) -> None:
    process.capture_within([_argv(host, "cancel", forwards)], remote.CHECK, lambda _: False)


def _hand_over(dock: Dock, container: str, held: Sequence[_Forward]) -> None:
    """Leave the ports to a process that closes them when the container has ended."""
    words = [f"{each.lock} {each.port} {each.specification}" for each in held]
    argv = [sys.executable, "-m", __name__, container, dock.moniker, *words]
    spawn_detached(argv, pass_fds=[each.lock for each in held])
    for each in held:
        os.close(each.lock)


def _require_free(port: int) -> None:
    import socket  # late, for the start of commands that forward no port

    with socket.socket() as trial:
        # Connections that have ended linger on a port, and do not matter.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((_LOOPBACK, port))
        except PermissionError:
            return  # a port below 1024: ssh says so
        except OSError:
            raise DockerutilsError(
                f"port {port} is in use on this machine; stop the program that uses it, or publish another port"
            ) from None


def _argv(host: RemoteHost, operation: str, forwards: Sequence[_Forward]) -> list[str]:
    return host.control(operation, *(word for each in forwards for word in ("-L", each.specification)))


def _specification(port: Port, here: int) -> str:
    there = "localhost" if port.address in ("", "0.0.0.0", "::") else port.address  # noqa: S104 - the dock's addresses
    return f"{_LOOPBACK}:{here}:{f'[{there}]' if ':' in there else there}:{port.number}"


def _file(port: int) -> str:
    return os.path.join(os.path.expanduser("~"), ".docker", f"dock-forward-{port}")


def main(container: str, moniker: str, *words: str) -> None:
    """Wait for a container to end and close its ports: `words` are file descriptor, port and specification of each."""
    forwards = [_Forward(int(port), text, int(lock)) for lock, port, text in (word.split(" ", 2) for word in words)]
    process.capture(["docker", "wait", container])
    if dock := inventory.lookup(moniker, os.path.expanduser("~")):
        _close(remote.of(dock), forwards)


if __name__ == "__main__":
    main(*sys.argv[1:])
