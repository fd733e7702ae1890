"""A server in front of a registry: it passes requests on, records them, and fails those that a test names."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.testbed import web
from tests.testbed.web import Reply

_TIMEOUT = 20.0  # seconds
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing the connection resets it
# These belong to one connection.
_PER_CONNECTION = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class _Failure:
    pattern: str
    reply: Reply | None
    times: int
    after: str


@dataclass
class Front:
    """Where it listens, `host:port`, and what was asked: lines such as `PUT /v2/x/manifests/1`."""

    host: str
    asked: list[str] = field(default_factory=list)
    _failures: list[_Failure] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, pattern: str, reply: Reply | None, times: int, after: str = "") -> None:
        """Answer requests that match `pattern` with `reply`, or reset their connections for None, some times.

        Begin after a request that matches `after`.
        """
        self._failures.append(_Failure(pattern, reply, times, after))

    def recover(self) -> None:
        """Fail no more requests."""
        with self._lock:
            self._failures.clear()

    def take(self, line: str) -> _Failure | None:
        """Record a request; return how it is to fail, if it is."""
        with self._lock:
            self.asked.append(line)
            for failure in self._failures:
                if (
                    re.search(failure.after, "\n".join(self.asked))
                    and failure.times
                    and re.search(failure.pattern, line)
                ):
                    failure.times -= 1
                    return failure
        return None


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, registry: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.registry = registry
        self.front = Front(f"127.0.0.1:{self.server_address[1]}")


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _TIMEOUT
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(TimeoutError):  # a client that keeps unused connections
            if not web.refuses_tls(self.connection):
                super().handle()

    def _answer(self) -> None:
        body = self._body()
        failure = self.server.front.take(f"{self.command} {self.path}")
        with contextlib.suppress(OSError):
            if failure is None:
                self._pass_on(body)
            elif failure.reply is None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()
            else:
                self._send(failure.reply.status, list(failure.reply.headers.items()), failure.reply.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline() or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _pass_on(self, body: bytes) -> None:
        with contextlib.closing(http.client.HTTPConnection(self.server.registry, timeout=_TIMEOUT)) as registry:
            kept = {name: text for name, text in self.headers.items() if name.lower() not in _PER_CONNECTION}
            registry.request(self.command, self.path, body, kept)
            answer = registry.getresponse()
            headers = [each for each in answer.getheaders() if each[0].lower() not in _PER_CONNECTION]
            length = [("Content-Length", text) for text in answer.headers.get_all("Content-Length", [])]
            self._send(answer.status, headers + length, answer.read())

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def before(host: str) -> Iterator[Front]:
    """Start a front for the registry at `host`, on a free port of 127.0.0.1, and end it."""
    with _Server(host) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.front
        finally:
            server.shutdown()
            thread.join()
