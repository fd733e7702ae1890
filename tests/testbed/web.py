"""Web servers and a proxy: stand-ins for registries where a real one cannot produce the case, and what is in front of them."""

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

_PATIENCE = 20.0  # seconds without data
_TLS = b"\x16"  # the first byte of a client that speaks TLS


class Asked(NamedTuple):
    """A request; its path includes the query."""

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
    """A CONNECT proxy and the targets, `host:port`, that clients asked for."""

    url: str
    asked: list[str]


def refuses_tls(connection: socket.socket) -> bool:
    """Whether a client spoke TLS; it was refused as web servers do, so that docker goes on without TLS."""
    if connection.recv(1, socket.MSG_PEEK) != _TLS:
        return False
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
    return True


@contextlib.contextmanager
def serving(answer: Callable[[Asked], Reply], tls: Mapping[str, str] | None = None) -> Iterator[int]:
    """Serve on a port of 127.0.0.1, with TLS if `tls` has the paths from registry.certificate."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def handle(self) -> None:
            if tls or not refuses_tls(self.connection):
                super().handle()

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            reply = answer(Asked(self.command, self.path, self.headers, self.rfile.read(length)))
            with contextlib.suppress(OSError):  # the client closed the connection
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

        do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - their names there

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
    """Serve as a proxy that maps the targets in `routes`, `host:port`, to ports of 127.0.0.1 and refuses all others."""
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
    """Forward data until the connection ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
