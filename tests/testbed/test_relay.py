"""The relay carries all bytes, holds its rate and its delay, and pushes back."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import first_line, wait_for
from tests.testbed import registry
from tests.testbed.engine import command_line
from tests.testbed.images import BUSYBOX
from tests.testbed.relay import Relay, relaying


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while piece := self.request.recv(1 << 16):
            self.request.sendall(piece)


class _Sink(socketserver.BaseRequestHandler):
    """It answers with the count of what it got."""

    def handle(self) -> None:
        count = 0
        while piece := self.request.recv(1 << 16):
            count += len(piece)
        self.request.sendall(b"%d" % count)


@contextlib.contextmanager
def _listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[tuple[str, int]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            host, port = server.server_address[:2]
            yield str(host), port
        finally:
            server.shutdown()


def _all(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.read()


def _send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def _send(relay: Relay, size: int) -> bytes:
    """Send this many bytes, and return the answer."""
    with socket.create_connection((relay.address, relay.port)) as connection:
        _send_all(connection, bytes(size))
        return _all(connection)


def test_bytes_come_through_in_order_and_are_counted() -> None:
    data = os.urandom(3_000_000)
    with _listening(_Echo) as server, relaying(*server, delay=0.002) as relay:
        with socket.create_connection((relay.address, relay.port)) as connection:
            sender = threading.Thread(target=_send_all, args=(connection, data))
            sender.start()
            assert _all(connection) == data
            sender.join()
        assert (relay.sent, relay.received) == (len(data), len(data))


def test_rate_is_held() -> None:
    with _listening(_Sink) as server, relaying(*server, rate=10e6) as relay:
        start = time.monotonic()
        assert _send(relay, 5_000_000) == b"5000000"
        # What it lets through is exact; how long this machine lets it wait is not.
        assert 0.5 <= time.monotonic() - start < 30


def test_rate_is_shared_by_connections() -> None:
    with _listening(_Sink) as server, relaying(*server, rate=10e6) as relay:
        start = time.monotonic()
        threads = [threading.Thread(target=_send, args=(relay, 2_500_000)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.5 <= time.monotonic() - start < 30
        assert (relay.sent, relay.received) == (5_000_000, 14)


def test_delay_is_held() -> None:
    with _listening(_Echo) as server, relaying(*server, delay=0.025) as relay:
        start = time.monotonic()
        with socket.create_connection((relay.address, relay.port)) as connection:
            for trips in range(2, 7):
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"
                # To connect took one.
                assert time.monotonic() - start >= 0.05 * trips
        assert time.monotonic() - start < 30


def test_delay_does_not_hold_the_rate_up() -> None:
    with _listening(_Sink) as server, relaying(*server, rate=12.5e6, delay=0.02) as relay:
        start = time.monotonic()
        assert _send(relay, 6_250_000) == b"6250000"
        assert 0.5 + 4 * 0.02 <= time.monotonic() - start < 30


def test_relay_pushes_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, relaying(*server.getsockname()) as relay:
        with socket.create_connection((relay.address, relay.port)) as connection:
            accepted, _ = server.accept()
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.sendall(bytes(200_000_000))
            # A server that does not read fills the relay, and the kernel's buffers.
            assert relay.sent < 50_000_000
        accepted.close()


def test_end_of_one_side_is_the_end_of_the_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, relaying(*server.getsockname()) as relay:
        with socket.create_connection((relay.address, relay.port)) as connection:
            accepted, _ = server.accept()
            accepted.close()
            assert _all(connection) == b""
        with socket.create_connection((relay.address, relay.port)):
            accepted, _ = server.accept()
        assert _all(accepted) == b""
        accepted.close()


def test_server_that_is_away_is_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with relaying(*address) as relay, socket.create_connection((relay.address, relay.port)) as connection:
        assert _all(connection) == b""


def test_relay_joins_two_networks(engine, modern_engine) -> None:
    networks = {"clients": registry.daemon(modern_engine), "server": registry.daemon(engine)}
    with (
        registry.serving(engine, "localhost") as far,
        relaying("127.0.0.1", int(far.host.partition(":")[2]), **networks) as relay,
    ):
        name = f"127.0.0.1:{relay.port}/carried:1"
        modern_engine.docker("tag", BUSYBOX, name)
        modern_engine.docker("push", name)
        modern_engine.docker("image", "rm", name)
        assert far.digest("carried", "1")
        assert relay.sent > 500_000
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((relay.address, relay.port))  # nobody listens here


def test_relay_ends_with_its_context() -> None:
    with _listening(_Echo) as server:
        with relaying(*server, delay=5) as relay:
            connection = socket.create_connection((relay.address, relay.port))
        with connection, pytest.raises(ConnectionRefusedError):
            socket.create_connection((relay.address, relay.port))


def test_relay_ends_with_its_tests() -> None:
    port = str(os.getpid() % 60000 + 1)  # of this run of the tests alone
    program = f"""
import time
from tests.testbed.relay import relaying
with relaying("127.0.0.9", {port}):
    print("ready", flush=True)
    time.sleep(600)
"""

    def relays() -> list[str]:
        lines = [command_line(pid) for pid in os.listdir("/proc") if pid.isdigit()]
        return [line for line in lines if "relay.py" in line and f" 127.0.0.9 {port} " in line]

    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as tests:
        try:
            first_line(tests)
            assert len(relays()) == 1
        finally:
            tests.kill()
    wait_for(lambda: not relays())
