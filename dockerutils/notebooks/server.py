"""What run-notebook and nb-dock share: the port, the token, the wait until Jupyter answers, and the browser.

What Jupyter is asked: https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html, `GET /api/status`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.docks import remote
from dockerutils.docks.records import Dock

if TYPE_CHECKING:
    import socket

PORT = 8888  # Jupyter's
TOKEN = "JUPYTER_TOKEN"  # noqa: S105 - the variable that Jupyter takes its token from
LOOPBACK = "127.0.0.1"

PATIENCE = 60.0  # seconds that Jupyter may take to start
_TICK = 0.1  # seconds between two questions
_TIMEOUT = 5.0  # seconds that an answer may take
_PICKED_UP = 30.0  # seconds that a browser may take to start
_PREPARING = 500  # and above: what HTTP says when a server cannot answer yet
_LISTENS = "0A"  # in the kernel's tables: proc(5), /proc/net/tcp

Answered = Callable[[int], None]


class Visit(NamedTuple):
    """A Jupyter as this machine reaches it: its port here, its token, and who tells of it."""

    command: str
    port: int
    token: str

    @property
    def url(self) -> str:
        """What to open."""
        return f"http://{LOOPBACK}:{self.port}/?token={self.token}"

    def status(self) -> int:
        """Ask for Jupyter's state, and return the status of the answer; 0 when there is none yet."""
        # No proxy stands between a machine and itself, whatever the environment says: urllib would ask it.
        from http.client import HTTPConnection, HTTPException

        connection = HTTPConnection(LOOPBACK, self.port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/api/status", headers={"Authorization": f"token {self.token}"})
            status = connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
        return status if status < _PREPARING else 0


def token() -> str:
    """Return a new token, which nobody can guess."""
    return os.urandom(24).hex()


def free_port(wanted: int | None, taken: Collection[int] = ()) -> int:
    """Return the port `wanted`, DockerutilsError when it is in use; for None the first one from 8888 on that is free.

    `taken` are those that are in use on another machine, where the same one is needed.
    """
    if wanted is None:
        return next(port for port in range(PORT, 1 << 16) if port not in taken and _is_free(port))
    if wanted in taken:
        raise DockerutilsError(f"port {wanted} is in use on the dock; name another one, or leave out -p")
    if not _is_free(wanted):
        raise DockerutilsError(f"port {wanted} is in use here; name another one, or leave out -p")
    return wanted


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as trial:
        # Connections that have ended linger on a port, and do not matter.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except PermissionError:
            return True  # that is for docker to do, which may
        except OSError:
            return False
    return True


def ask(dock: Dock, script: str) -> list[str]:
    """Have a dock's `sh` run a script, and return the lines that it wrote; CommandFailed tells why it could not."""
    with process.children() as family:
        child = family.start(["ssh", dock.host, "sh"], stdin=process.PIPE)
        with suppress(BrokenPipeError):
            output = child.finish(script.encode())
        if status := child.wait():
            raise CommandFailed(status, remote.of(dock).explain(child.stderr))
    return os.fsdecode(output).splitlines()


def listening(table: list[str]) -> set[int]:
    """Return the ports on which something listens, of lines as /proc/net/tcp has them."""
    rows = [line.split() for line in table]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == _LISTENS}  # noqa: PLR2004


@contextmanager
def awaited(
    visit: Visit, *, browser: bool, environ: Mapping[str, str], late: Callable[[], None]
) -> Iterator[threading.Event]:
    """Wait, beside the block, until Jupyter answers; then print its URL and, on a terminal, open it.

    The event is set when it has answered. `late` is called when it has not after PATIENCE seconds; the wait goes on.
    """
    there, over = threading.Event(), threading.Event()

    def wait() -> None:
        deadline = time.monotonic() + PATIENCE
        while not over.wait(_TICK):
            if status := visit.status():
                there.set()
                with suppress(BrokenPipeError):  # who read it has gone
                    _tell(visit, status)
                if browser and sys.stdout.isatty() and _has_display(environ):
                    _open(visit.url, over)
                return
            if time.monotonic() > deadline:
                deadline = float("inf")
                late()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield there
    finally:
        over.set()
        thread.join()


def _tell(visit: Visit, status: int) -> None:
    if status in (401, 403):
        console.warn(visit.command, "Jupyter has a token or password of its own; see what it says of it above")
    console.note(visit.command, "Jupyter answers; open this, and end it with Ctrl-C:")
    print(visit.url, flush=True)


def _has_display(environ: Mapping[str, str]) -> bool:
    """Tell whether a browser would have a window: one in this terminal would be in the way."""
    return sys.platform == "darwin" or any(environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def _open(url: str, over: threading.Event) -> None:
    """Open the browser, without the token in the arguments of a process.

    Those have an address that leads to the URL, for the first one of this user that asks.
    """
    import socket
    import webbrowser

    path = f"/{token()}"
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(_TICK)
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}{path}"
        # Some browsers keep who opens them waiting until they are closed.
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        deadline = time.monotonic() + _PICKED_UP
        while not over.is_set() and time.monotonic() < deadline:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if _lead(connection, path, url):
                        return


def _lead(connection: socket.socket, path: str, url: str) -> bool:
    """Answer a request for `path`, and no other, by leading to `url`; tell whether it was one. OSError as ever."""
    connection.settimeout(1)
    asked = connection.recv(4096).split(b" ", 2)[:2] == [b"GET", path.encode()]
    if not (asked and _is_ours(connection.getpeername()[1])):
        connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")
        return False
    headers = f"Location: {url}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer"
    connection.sendall(f"HTTP/1.0 302 Found\r\n{headers}\r\n\r\n".encode())
    return True


def _is_ours(port: int) -> bool:
    """Tell whether the connection from a port of this machine is this user's, or root's, as far as the kernel tells."""
    try:
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table]
    except OSError:
        return True
    owners = [row[7] for row in rows if row[1] == f"0100007F:{port:04X}"]
    return not owners or owners[0] in ("0", str(os.getuid()))
