"""package_index.py DIRECTORY USER:PASSWORD: serve wheels as a package index does, and print the port.

/simple/NAME/ lists the wheels of a package: https://packaging.python.org/en/latest/specifications/simple-repository-api/.
/private/simple/ does the same for those who log in.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECTORY, LOGIN = sys.argv[1:]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer with a page or a wheel."""
        top, *path = self.path.partition("#")[0].strip("/").split("/")
        if top == "private":
            if self.headers["Authorization"] != f"Basic {base64.b64encode(LOGIN.encode()).decode()}":
                self._answer(401, b"", ("WWW-Authenticate", 'Basic realm="x"'))
                return
            top, *path = path
        wheel = os.path.join(DIRECTORY, path[-1]) if path else ""
        if top == "wheels" and os.path.isfile(wheel):
            self._answer(200, _read(wheel), ("Content-Type", "application/octet-stream"))
        elif top == "simple" and (names := _wheels(path[0] if path else "")):
            # Relative to /simple/NAME/, so that a client stays below /private/.
            links = "".join(f'<a href="../../wheels/{name}#sha256={_digest(name)}">{name}</a>' for name in names)
            self._answer(
                200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), ("Content-Type", "text/html")
            )
        else:
            self._answer(404, b"", ("Content-Type", "text/plain"))

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _wheels(package: str) -> list[str]:
    """Return the wheels of a package."""
    return [name for name in sorted(os.listdir(DIRECTORY)) if _normalized(name.split("-")[0]) == _normalized(package)]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(name: str) -> str:
    return hashlib.sha256(_read(os.path.join(DIRECTORY, name))).hexdigest()


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
