"""What stands between a command and a registry, and plays one where no real one would do: web servers, and a proxy."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import NamedTuple

_PATIENCE = 20.0  # seconds that one may say nothing


class Asked(NamedTuple):
    """A request; its path has the query in it."""

    method: str
    path: str
    headers: Message
    body: bytes


class Reply(NamedTuple):
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Proxy(NamedTuple):
    """A proxy for CONNECT, and the places, `host:port`, that it was asked for."""

    url: str
    asked: list[str]


@contextlib.contextmanager
def serving(answer: Callable[[Asked], Reply], tls: Mapping[str, str] | None = None) -> Iterator[int]:
    """Serve on a port of 127.0.0.1, with the certificate and key of registry.certificate if they are given."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            reply = answer(Asked(self.command, self.path, self.headers, self.rfile.read(length)))
            with contextlib.suppress(OSError):  # whoever asked has heard enough
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

        do_GET = do_POST = _answer  # noqa: N815 - their names there

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls["certificate"], tls["key"])
            server.socket = context.wrap_socket(server.socket, server_side=True)
        with _serving(server) as port:
            yield port


@contextlib.contextmanager
def proxying(routes: Mapping[str, int]) -> Iterator[Proxy]:
    """Serve as a proxy that knows the places in `routes`, `host:port`, each at a port of 127.0.0.1, and no others."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        timeout = _PATIENCE

        def handle(self) -> None:
            place = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            asked.append(place)
            if place not in routes:
                self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", routes[place]), _PATIENCE) as there:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_pump, args=(there, self.connection))
                back.start()
                _pump(self.connection, there)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server, _serving(server) as port:
        yield Proxy(f"http://127.0.0.1:{port}", asked)


@contextlib.contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until no more does."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
