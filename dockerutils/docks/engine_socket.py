"""The socket on this machine that leads to the engine of a dock: DOCKER_HOST of a docked shell.

A process listens there, see proxy.py. It ends after the shells that use it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from dockerutils.core.process.children import spawn_detached
from dockerutils.docks import inventory, ssh_config
from dockerutils.docks.records import Dock

# The first word of the message, one line, with a process that uses the socket and its SSH_AUTH_SOCK; and the answer.
HELLO, WELCOME = b"dockerutils ", b"dockerutils welcomes\n"

LOCK = "dock.sockets.lock"

# The longest path of a socket, in bytes.
_LONGEST = (104 if sys.platform == "darwin" else 108) - 1
_ANSWER = 2.0  # seconds for the listening process to answer
_BACKLOG = 512


def path(dock: Dock, home: str) -> str | None:
    """Return the path of the socket; None if it is too long for a socket, or ssh shares no connection."""
    found = os.path.join(home, ".docker", f"{dock.host}.sock")
    is_valid = len(os.fsencode(found)) <= _LONGEST and found.isprintable() and not set(found) & set(":%?#")
    return found if is_valid and ssh_config.socket(dock, home) else None


def ensure(dock: Dock, home: str, user: int) -> str:
    """Return the engine of a dock as a value of DOCKER_HOST, and make sure that its socket accepts connections.

    It does not connect to the dock. The socket stays while the process `user` runs. If there can be no socket, the
    value is `ssh://dock-…`.
    """
    found = path(dock, home)
    if found is None:
        return dock.docker_host
    with inventory.locked(home, LOCK):
        if not _is_served(found, user):
            try:
                _serve(dock, found, user)
            except OSError:  # a file system without sockets
                return dock.docker_host
    return f"unix://{found}"


def _is_served(path: str, user: int) -> bool:
    """Return whether a process listens, and register a user with it."""
    import socket  # late: only docked shells need it

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER)
            connection.connect(path)
            connection.sendall(HELLO + f"{user} {os.environ.get('SSH_AUTH_SOCK', '')}\n".encode())
            return connection.recv(len(WELCOME)) == WELCOME
    except OSError:
        return False


def _serve(dock: Dock, path: str, user: int) -> None:
    """Start the process that listens. Connections wait until it runs."""
    import socket  # late, as above

    with suppress(FileNotFoundError):
        os.unlink(path)
    before = os.umask(0o177)  # nobody else connects
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(_BACKLOG)
            argv = [sys.executable, "-m", "dockerutils.docks.proxy", dock.moniker, str(listener.fileno()), str(user)]
            spawn_detached(argv, pass_fds=[listener.fileno()])
    finally:
        os.umask(before)
