"""A slow link for the tests: a relay in front of a server that adds delay and limits the rate.

It runs in a process of its own, which is this file, so that it and the tests do not wait for each other.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

# One counter for each direction, in memory shared by the two processes.
_COUNTER = struct.Struct("=Q")
# A chunk holds 5 ms of the link's rate, but at least one packet.
_PIECE_SECONDS, _LEAST_PIECE, _MOST_PIECE = 0.005, 1500, 1 << 18
# Queued chunks are sent without a gap, however late this process wakes up.
_AHEAD_SECONDS = 0.02
# Creates a listening socket and passes it on.
_LISTENER = """\
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as us, socket.create_server((sys.argv[2], int(sys.argv[3]))) as listener:
    socket.send_fds(us, [b"-"], [listener.fileno()])
"""
_CLONE_NEWNET = 0x40000000  # sched.h
# The limit of bytes in flight per connection and direction: 800 MB/s with a delay of 20 ms.
_UNDER_WAY = 1 << 24


class Relay(NamedTuple):
    """A running relay: its address, counters and process."""

    address: str
    port: int
    counters: mmap.mmap
    pid: int

    @property
    def sent(self) -> int:
        """The number of bytes from clients to the server."""
        return self._count(0)

    @property
    def received(self) -> int:
        """The number of bytes from the server to clients."""
        return self._count(1)

    def _count(self, number: int) -> int:
        counter: int = _COUNTER.unpack_from(self.counters, number * _COUNTER.size)[0]
        return counter


@contextlib.contextmanager
def relaying(
    address: str,
    port: int,
    *,
    rate: float | None = None,
    delay: float = 0,
    clients: int | None = None,
    server: int | None = None,
    listen: int | tuple[str, int] = 0,
) -> Iterator[Relay]:
    """Start a relay to a server on a free port of 127.0.0.1, or on `listen`, and stop it with its connections.

    `rate` is in bytes a second in each direction, which all connections share; `delay` is in seconds, one way. To
    connect takes a round trip. `clients` and `server` are processes in whose networks those are, if not in this one's.
    """
    address_here = ("127.0.0.1", listen) if isinstance(listen, int) else listen
    memory = os.memfd_create("counters")
    with _listening(clients, address_here) as listener, contextlib.closing(os.fdopen(memory, "r+b", 0)):
        os.ftruncate(memory, 2 * _COUNTER.size)
        numbers = (listener.fileno(), memory, address, port, rate or 0, delay)
        # In its own session, so that Ctrl-C does not reach it; it ends when its stdin does.
        with (
            mmap.mmap(memory, 0) as counters,
            subprocess.Popen(
                [*inside(server), sys.executable, "-I", __file__, *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(listener.fileno(), memory),
                start_new_session=True,
            ) as child,
        ):
            assert child.stdout is not None
            if not child.stdout.readline():
                raise RuntimeError("no relay came up")
            yield Relay(address_here[0], listener.getsockname()[1], counters, child.pid)


def _listening(pid: int | None, address: tuple[str, int]) -> socket.socket:
    """Return a listening socket that belongs to the network of a process."""
    if pid is None:
        return socket.create_server(address)
    ours, its = socket.socketpair()
    with ours, its:
        command = [*inside(pid), sys.executable, "-I", "-c", _LISTENER, str(its.fileno()), *map(str, address)]
        subprocess.run(command, pass_fds=[its.fileno()], check=True)
        return socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0])


def inside(pid: int | None) -> list[str]:
    """Return the command prefix that runs a command in the network of a process; empty for None."""
    return ["nsenter", f"--target={pid}", "--net"] if pid else []


@contextlib.contextmanager
def within(pid: int) -> Iterator[None]:
    """Move this thread, and what it starts, to the network of a process during the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before, open(f"/proc/{pid}/ns/net", "rb") as network:
        try:
            if libc.setns(network.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            libc.setns(before.fileno(), _CLONE_NEWNET)


class _Link:
    """One direction of the link: it computes arrival times and counts bytes."""

    def __init__(self, rate: float, delay: float, counters: mmap.mmap, number: int) -> None:
        self.piece = int(min(_MOST_PIECE, max(_LEAST_PIECE, rate * _PIECE_SECONDS))) if rate else _MOST_PIECE
        self._rate, self._delay = rate, delay
        self._counters, self._offset = counters, number * _COUNTER.size
        self._free = 0.0  # when the link becomes idle
        self._count = 0
        self._lock = threading.Lock()

    def put(self, size: int) -> float:
        """Return the arrival time, after waiting until the link is nearly free."""
        with self._lock:
            self._count += size
            _COUNTER.pack_into(self._counters, self._offset, self._count)
            now = time.monotonic()
            self._free = left = max(self._free, now) + (size / self._rate if self._rate else 0)
        time.sleep(max(0, left - now - _AHEAD_SECONDS))
        return left + self._delay


class _Stream:
    """Chunks in flight from one socket to another, in order; an empty chunk is the last."""

    def __init__(self) -> None:
        self._pieces: collections.deque[tuple[float, bytes]] = collections.deque()
        self._size = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, arrival: float, piece: bytes) -> bool:
        """Wait for room; return whether the receiver still accepts data."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _UNDER_WAY or self._closed)
            self._pieces.append((arrival, piece))
            self._size += len(piece)
            self._changed.notify_all()
            return not self._closed

    def get(self) -> bytes:
        """Wait for the arrival of the next chunk and return it."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces)
            arrival, piece = self._pieces.popleft()
            self._size -= len(piece)
            self._changed.notify_all()
        time.sleep(max(0, arrival - time.monotonic()))
        return piece

    def close(self) -> None:
        """Signal that the receiver accepts no more data."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _read(source: socket.socket, link: _Link, stream: _Stream) -> None:
    """Put everything from a socket on the link; an error counts as its end."""
    piece = b"-"
    while piece:
        try:
            piece = source.recv(link.piece)
        except OSError:
            piece = b""
        if not stream.put(link.put(len(piece)), piece):
            return


def _write(stream: _Stream, target: socket.socket, source: socket.socket) -> None:
    """Send arriving chunks to a socket; if it accepts no more, tell the source."""
    try:
        while piece := stream.get():
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        stream.close()
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)


def _connect(client: socket.socket, server: tuple[str, int], links: tuple[_Link, _Link], delay: float) -> None:
    """Relay one connection until it ends."""
    time.sleep(2 * delay)
    with client, contextlib.suppress(OSError), socket.create_connection(server) as upstream:
        threads = []
        for source, target, link in ((client, upstream, links[0]), (upstream, client, links[1])):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = _Stream()
            threads.append(threading.Thread(target=_read, args=(source, link, stream), daemon=True))
            threads.append(threading.Thread(target=_write, args=(stream, target, source), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _serve(listener: socket.socket, server: tuple[str, int], links: tuple[_Link, _Link], delay: float) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_connect, args=(client, server, links, delay), daemon=True).start()


def main() -> None:
    """Relay until stdin ends."""
    listener, memory, address, port, rate, delay = sys.argv[1:]
    counters = mmap.mmap(int(memory), 0)
    links = (_Link(float(rate), float(delay), counters, 0), _Link(float(rate), float(delay), counters, 1))
    args = (socket.socket(fileno=int(listener)), (address, int(port)), links, float(delay))
    threading.Thread(target=_serve, args=args, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)  # without waiting for threads


if __name__ == "__main__":
    main()
