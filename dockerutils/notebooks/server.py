"""A Jupyter server as this machine reaches it: its port, its token, and the wait until it answers.

The API: https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html, `GET /api/status`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError
from dockerutils.notebooks import browser

PORT = 8888  # Jupyter's default
TOKEN = "JUPYTER_TOKEN"  # noqa: S105 - the variable that Jupyter reads its token from
LOOPBACK = "127.0.0.1"

PATIENCE = 60.0  # seconds until Jupyter counts as late
_TICK = 0.1  # seconds between two requests
_TIMEOUT = 5.0  # seconds to wait for an answer
_NOT_READY = 500  # HTTP statuses from here on mean that a server cannot answer yet
_LISTENS = "0A"  # in /proc/net/tcp, proc(5)


class Visit(NamedTuple):
    """A Jupyter server at a port of this machine, its token, and the command that announces it."""

    command: str
    port: int
    token: str

    @property
    def url(self) -> str:
        """The URL to open, with the token."""
        return f"http://{LOOPBACK}:{self.port}/?token={self.token}"

    def status(self) -> int:
        """Request the server's state and return the HTTP status; 0 without an answer."""
        # Not urllib, which would send requests to this machine through a proxy; late, for -h.
        from http.client import HTTPConnection, HTTPException

        connection = HTTPConnection(LOOPBACK, self.port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/api/status", headers={"Authorization": f"token {self.token}"})
            status = connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
        return status if status < _NOT_READY else 0


def new_token() -> str:
    """Return a random token."""
    return os.urandom(24).hex()


def free_port(wanted: int | None, taken: Collection[int] = ()) -> int:
    """Return the port `wanted`, or for None the first free one from 8888 on.

    `taken` are ports in use on a dock, where the same number must be free. DockerutilsError if `wanted` is in use.
    """
    if wanted is None:
        return next(port for port in range(PORT, 1 << 16) if port not in taken and _is_free(port))
    if wanted in taken:
        raise DockerutilsError(f"port {wanted} is in use on the dock; choose another one, or omit -p")
    if not _is_free(wanted):
        raise DockerutilsError(f"port {wanted} is in use on this machine; choose another one, or omit -p")
    return wanted


def _is_free(port: int) -> bool:
    import socket  # late, for -h

    with socket.socket() as trial:
        # Closed connections linger on a port and do not matter.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except PermissionError:
            return True  # a port below 1024, which the docker daemon can open
        except OSError:
            return False
    return True


def listening(table: Sequence[str]) -> set[int]:
    """Return the ports that something listens on, from lines of /proc/net/tcp; other lines are ignored."""
    rows = [line.split() for line in table]
    ports = (row[1].rpartition(":")[2] for row in rows if len(row) > 3 and row[3] == _LISTENS)  # noqa: PLR2004
    return {int(port, 16) for port in ports if len(port) == 4 and set(port) <= set("0123456789ABCDEF")}  # noqa: PLR2004


@contextmanager
def announced(
    visit: Visit, *, open_browser: bool, environ: Mapping[str, str], late: Callable[[], None]
) -> Iterator[threading.Event]:
    """While the block runs, wait until Jupyter answers; then print its URL and, on a terminal, open it.

    The yielded event is set when Jupyter answers. After PATIENCE seconds without an answer, `late` is called once, and
    the wait continues.
    """
    answered, ended = threading.Event(), threading.Event()

    def wait() -> None:
        deadline = time.monotonic() + PATIENCE
        while not ended.wait(_TICK):
            if status := visit.status():
                answered.set()
                with suppress(BrokenPipeError):  # the reader of stdout is gone
                    _announce(visit, status)
                if open_browser and sys.stdout.isatty() and browser.has_display(environ):
                    browser.open_url(visit.url, ended)
                return
            if time.monotonic() > deadline:
                deadline = float("inf")
                late()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield answered
    finally:
        ended.set()
        thread.join()


def _announce(visit: Visit, status: int) -> None:
    if status in (401, 403):
        console.warn(visit.command, "Jupyter uses its own token or password; see its output above")
    where = "in a browser, or in VS Code: Select Kernel > Existing Jupyter Server"
    console.note(visit.command, f"Jupyter is ready; open this URL {where}; Ctrl-C stops it")
    print(visit.url, flush=True)
