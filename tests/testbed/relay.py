"""A slow link for the tests: a relay before a server, that adds delay and holds a rate.

It runs in a process of its own, which is this file, so that it and the tests do not wait for each other.
"""

from __future__ import annotations

import collections
import contextlib
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

# One counter for each direction, in memory that the two processes share.
_COUNTER = struct.Struct("=Q")
# A piece is what a link carries at a time: 5 ms of what it can, but a packet at least.
_PIECE_SECONDS, _LEAST_PIECE, _MOST_PIECE = 0.005, 1500, 1 << 18
# What waits before a link is sent without a gap, however late this process wakes up.
_AHEAD_SECONDS = 0.02
# Makes a socket that listens, and hands it over.
_LISTENER = """\
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as us, socket.create_server(("127.0.0.1", 0)) as listener:
    socket.send_fds(us, [b"-"], [listener.fileno()])
"""
# What may be under way on a connection in a direction: 800 MB/s with a delay of 20 ms.
_UNDER_WAY = 1 << 24


class Relay(NamedTuple):
    """A relay that runs, where it listens, and its counters."""

    address: str
    port: int
    counters: mmap.mmap

    @property
    def sent(self) -> int:
        """The bytes that clients have sent to the server."""
        return self._count(0)

    @property
    def received(self) -> int:
        """The bytes that the server has sent to clients."""
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
) -> Iterator[Relay]:
    """Start a relay to a server on a free port of 127.0.0.1, and end it, with its connections.

    `rate` is in bytes a second in each direction, which all connections share; `delay` is in seconds, one way. To
    connect takes a round trip. `clients` and `server` are processes in whose networks those are, if not in this one's.
    """
    memory = os.memfd_create("counters")
    with _listening(clients) as listener, contextlib.closing(os.fdopen(memory, "r+b", 0)):
        os.ftruncate(memory, 2 * _COUNTER.size)
        numbers = (listener.fileno(), memory, address, port, rate or 0, delay)
        # In a session of its own a Ctrl-C does not reach it: it ends with its standard input.
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
            yield Relay("127.0.0.1", listener.getsockname()[1], counters)


def _listening(pid: int | None) -> socket.socket:
    """Return a socket that listens in the network of a process: it stays there, whoever has it."""
    if pid is None:
        return socket.create_server(("127.0.0.1", 0))
    ours, its = socket.socketpair()
    with ours, its:
        command = [*inside(pid), sys.executable, "-I", "-c", _LISTENER, str(its.fileno())]
        subprocess.run(command, pass_fds=[its.fileno()], check=True)
        return socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0])


def inside(pid: int | None) -> list[str]:
    """Return what a command line begins with to run in the network of a process, in this one's for None."""
    return ["nsenter", f"--target={pid}", "--net"] if pid else []


class _Link:
    """One direction of the link: it tells when what is put on it now arrives, and counts."""

    def __init__(self, rate: float, delay: float, counters: mmap.mmap, number: int) -> None:
        self.piece = int(min(_MOST_PIECE, max(_LEAST_PIECE, rate * _PIECE_SECONDS))) if rate else _MOST_PIECE
        self._rate, self._delay = rate, delay
        self._counters, self._offset = counters, number * _COUNTER.size
        self._free = 0.0  # the time when all that was put on it has left
        self._count = 0
        self._lock = threading.Lock()

    def put(self, size: int) -> float:
        """Return the time of arrival, at once or when the link is about to get to it."""
        with self._lock:
            self._count += size
            _COUNTER.pack_into(self._counters, self._offset, self._count)
            now = time.monotonic()
            self._free = left = max(self._free, now) + (size / self._rate if self._rate else 0)
        time.sleep(max(0, left - now - _AHEAD_SECONDS))
        return left + self._delay


class _Stream:
    """What is under way from one socket to another, in order; the empty piece is the last."""

    def __init__(self) -> None:
        self._pieces: collections.deque[tuple[float, bytes]] = collections.deque()
        self._size = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, arrival: float, piece: bytes) -> bool:
        """Wait for room, and tell whether there is still somebody to send to."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _UNDER_WAY or self._closed)
            self._pieces.append((arrival, piece))
            self._size += len(piece)
            self._changed.notify_all()
            return not self._closed

    def get(self) -> bytes:
        """Return the next piece, when it arrives."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces)
            arrival, piece = self._pieces.popleft()
            self._size -= len(piece)
            self._changed.notify_all()
        time.sleep(max(0, arrival - time.monotonic()))
        return piece

    def close(self) -> None:
        """Say that nobody is left to send to."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _read(source: socket.socket, link: _Link, stream: _Stream) -> None:
    """Put all that comes from a socket on the link; an error is an end too."""
    piece = b"-"
    while piece:
        try:
            piece = source.recv(link.piece)
        except OSError:
            piece = b""
        if not stream.put(link.put(len(piece)), piece):
            return


def _write(stream: _Stream, target: socket.socket, source: socket.socket) -> None:
    """Give a socket what arrives; when it takes no more, the source learns that too."""
    try:
        while piece := stream.get():
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        stream.close()
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)


def _connect(client: socket.socket, server: tuple[str, int], links: tuple[_Link, _Link], delay: float) -> None:
    """Carry one connection to its end."""
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
    """Be the relay until standard input ends."""
    listener, memory, address, port, rate, delay = sys.argv[1:]
    counters = mmap.mmap(int(memory), 0)
    links = (_Link(float(rate), float(delay), counters, 0), _Link(float(rate), float(delay), counters, 1))
    args = (socket.socket(fileno=int(listener)), (address, int(port)), links, float(delay))
    threading.Thread(target=_serve, args=args, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)  # whatever its threads wait for


if __name__ == "__main__":
    main()
