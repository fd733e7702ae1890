"""Open a URL with a secret in the user's browser, without showing the secret to other users.

Arguments of processes are public, so the browser gets an address of a small server in this process, which redirects the
first request of this user to the URL. A redirect file, as Jupyter writes one, would not do: the browsers that Ubuntu
installs as snaps cannot read files in /tmp or in hidden directories.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_LOOPBACK = "127.0.0.1"
_TICK = 0.1  # seconds between two checks whether to stop
_TIMEOUT = 30.0  # seconds until the browser must have asked
_CONNECTIONS = "/proc/net/tcp"  # proc(5)


def has_display(environ: Mapping[str, str]) -> bool:
    """Return whether a browser has a window to open; one inside this terminal would be in the way."""
    return sys.platform == "darwin" or any(environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def open_url(url: str, ended: threading.Event, *, seconds: float = _TIMEOUT, connections: str = _CONNECTIONS) -> None:
    """Open `url` in the browser. Return when the browser has asked for it, after `seconds`, or when `ended` is set.

    `connections` is the kernel's table of TCP connections.
    """
    # Late: without a browser to open, or for -h, nothing needs them.
    import socket
    import webbrowser

    path = f"/{os.urandom(24).hex()}"
    with socket.create_server((_LOOPBACK, 0)) as listener:
        listener.settimeout(_TICK)
        address = f"http://{_LOOPBACK}:{listener.getsockname()[1]}{path}"
        # In a thread, because some browsers block their caller until they are closed.
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        deadline = time.monotonic() + seconds
        while not ended.is_set() and time.monotonic() < deadline:
            with suppress(OSError):
                connection, (_, port) = listener.accept()
                with connection:
                    if _redirect(connection, path, url, is_allowed=_is_own(port, connections)):
                        return


def _redirect(connection: socket.socket, path: str, url: str, *, is_allowed: bool) -> bool:
    """Redirect an allowed request for `path` to `url`, answer 404 to all others; return whether it was redirected."""
    connection.settimeout(1)
    is_wanted = connection.recv(4096).split(b" ", 2)[:2] == [b"GET", path.encode()]
    if not (is_wanted and is_allowed):
        connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")
        return False
    headers = f"Location: {url}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer"
    connection.sendall(f"HTTP/1.0 302 Found\r\n{headers}\r\n\r\n".encode())
    return True


def _is_own(port: int, connections: str) -> bool:
    """Return whether the connection from a local port belongs to this user or root, or if the kernel does not say."""
    try:
        with open(connections, encoding="ascii") as table:
            rows = [line.split() for line in table]
    except OSError:
        return True
    owners = [row[7] for row in rows if row[1] == f"0100007F:{port:04X}"]
    return not owners or owners[0] in ("0", str(os.getuid()))
