"""What the socket of a dock's engine does with requests and answers; the engine is a server in this process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from dockerutils.core.errors import DockerutilsError
from dockerutils.docks import tunnel
from dockerutils.docks.proxy import Proxy
from tests.support import wait_for

Handler = Callable[[socket.socket, bytes], None]

PING = b"GET /_ping HTTP/1.0\r\n\r\n"
READ = b"GET /containers/json HTTP/1.1\r\nHost: docker\r\n\r\n"
START = b"POST /containers/x/start HTTP/1.1\r\nHost: docker\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n\r\n"


class Server:
    """An engine at a Unix socket: `handle` gets each connection and its first bytes; it notes these as requests."""

    def __init__(self, path: str, handle: Handler) -> None:
        self.requests: list[bytes] = []
        self._handle = handle
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._attend, args=(self._listener.accept()[0],), daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if request := client.recv(1 << 16):
                self.requests.append(request)
                self._handle(client, request)


def answering(client: socket.socket, request: bytes) -> None:
    """Answer, and pass back what follows until the end."""
    client.sendall(OK)
    while request != PING and (data := client.recv(1 << 16)):
        client.sendall(data)
    client.sendall(b"." if request != PING else b"")


def cutting(client: socket.socket, request: bytes) -> None:
    """Answer nothing but a ping."""
    if request == PING:
        client.sendall(OK)


def silent(client: socket.socket, request: bytes) -> None:
    """Answer nothing, as over a connection that is dead."""
    while client.recv(1 << 16):
        pass


class Bed:
    """A proxy, and engines: each way that its tunnel finds leads to the next one."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.servers: list[Server] = []
        self._directory = directory
        self._found = 0
        self.home = directory / "home"
        (self.home / ".docker").mkdir(parents=True)
        self.path = str(self.home / ".docker" / "p.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        monkeypatch.setattr(tunnel.Tunnel, "_find", lambda _: self._find())
        monkeypatch.setattr(tunnel, "PING", 0.3)
        monkeypatch.setattr("dockerutils.docks.proxy._PATIENCE", 0.3)
        monkeypatch.setattr("dockerutils.docks.proxy._TICK", 0.05)
        self.proxy = Proxy("gpu", listener, {os.getpid()})
        self.thread = threading.Thread(target=self.proxy.serve, daemon=True)
        self.thread.start()

    def add(self, handle: Handler) -> Server:
        """Add an engine."""
        self.servers.append(Server(f"{self._directory}/{len(self.servers)}.sock", handle))
        return self.servers[-1]

    def _find(self) -> tunnel._Forward:
        if self._found == len(self.servers):
            raise DockerutilsError("dock gpu does not answer: no way; check it")
        self._found += 1
        host = type("Host", (), {"is_connected": False, "forget_connection": lambda _: None})()
        return tunnel._Forward(host, f"{self._directory}/{self._found - 1}.sock", "")

    def connect(self) -> socket.socket:
        """Connect as docker does."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        client.connect(self.path)
        return client

    def ask(self, request: bytes, more: bytes = b"") -> bytes:
        """Send a request and what follows, and return all that comes back."""
        with closing(self.connect()) as client:
            client.sendall(request)
            answer = client.recv(1 << 16)
            client.sendall(more)
            client.shutdown(socket.SHUT_WR)
            return answer + everything(client)


def send(client: socket.socket, data: bytes) -> None:
    """Send all of it, and the end."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def everything(client: socket.socket) -> bytes:
    """Return what comes until the end."""
    with client.makefile("rb") as stream:
        return stream.read()


@pytest.fixture
def bed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """Return a proxy without engines."""
    bed = Bed(tmp_path_factory.mktemp("p"), monkeypatch)
    yield bed
    with suppress(FileNotFoundError):
        os.unlink(bed.path)
    bed.thread.join(20)
    for server in bed.servers:
        server.close()


def test_bytes_and_ends_go_both_ways(bed: Bed) -> None:
    server = bed.add(answering)
    data = os.urandom(3_000_000)
    with closing(bed.connect()) as client:
        client.sendall(START)
        assert client.recv(len(OK)) == OK
        sender = threading.Thread(target=send, args=(client, data))
        sender.start()
        assert everything(client) == data + b"."
        sender.join()
    assert server.requests == [START]


def test_a_request_that_only_reads_is_sent_again(bed: Bed) -> None:
    """Over a new way: the first one closes its connections."""
    first, second = bed.add(cutting), bed.add(answering)
    assert bed.ask(READ, b"more") == OK + b"more."
    assert (first.requests, second.requests) == ([READ], [READ])


def test_a_request_that_changes_something_is_sent_once(bed: Bed) -> None:
    first, second = bed.add(cutting), bed.add(answering)
    head, _, body = bed.ask(START).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body) == {"message": "dockerutils: the connection to dock gpu was cut; try again"}
    assert (first.requests, second.requests) == ([START], [])
    assert bed.ask(START) == OK + b"."


def test_a_dead_connection_is_replaced(bed: Bed) -> None:
    """It takes everything and answers nothing: a ping shows that it is dead."""
    first, second = bed.add(silent), bed.add(answering)
    assert bed.ask(READ) == OK + b"."
    assert (first.requests, second.requests) == ([READ, PING], [READ])


def test_an_engine_that_is_slow_is_not_asked_twice(bed: Bed) -> None:
    def slow(client: socket.socket, request: bytes) -> None:
        if request != PING:
            time.sleep(0.9)  # three times as long as the proxy waits before it pings
        answering(client, request)

    server = bed.add(slow)
    assert bed.ask(READ) == OK + b"."
    assert server.requests == [READ, PING]


def test_why_there_is_no_way(bed: Bed) -> None:
    head, _, body = bed.ask(READ).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body) == {"message": "dockerutils: dock gpu does not answer: no way; check it"}


def test_a_large_request_needs_no_answer_before_its_end(bed: Bed) -> None:
    """As a build context, of which only the beginning is kept."""

    def patient(client: socket.socket, request: bytes) -> None:
        received.extend(request)
        while data := client.recv(1 << 16):
            received.extend(data)
        client.sendall(OK)

    received = bytearray()
    bed.add(patient)
    data = os.urandom(1_000_000)
    with closing(bed.connect()) as client:
        client.sendall(START)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1 << 16) == OK
    assert received == START + data


def test_it_ends_when_nobody_uses_it(bed: Bed) -> None:
    bed.add(answering)
    with closing(bed.connect()) as client:
        client.sendall(READ)
        assert client.recv(len(OK)) == OK
        bed.proxy._users = set()
        with pytest.raises(AssertionError):
            wait_for(lambda: not bed.thread.is_alive(), 0.5)
    wait_for(lambda: not bed.thread.is_alive())
    assert not os.path.exists(bed.path)


def test_it_ends_when_the_home_directory_is_removed_and_leaves_nothing_there(bed: Bed) -> None:
    shutil.rmtree(bed.home)
    wait_for(lambda: not bed.thread.is_alive())
    assert not bed.home.exists()
