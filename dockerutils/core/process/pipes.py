"""Pipes to and from children, read and written without blocking.

What a child starts in the background, an ssh master for example, can keep its pipes open. So the end of the child ends
reading and writing too: what it wrote before is read, and nothing more is waited for.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from dockerutils.core.process.spawn import Process

_CHUNK = 1 << 20
# Seconds between two looks at children whose pipes are silent: the first pause and the longest one.
_SHORTEST, _LONGEST = 0.0005, 0.05


class Events:
    """Wait for pipes to be ready, for short times at first: a child that has closed its output is about to end."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._pause = _SHORTEST

    def watch(self, stream: IO[bytes], transfer: Callable[[], object], *, write: bool = False) -> None:
        """Watch a pipe, which becomes non-blocking; call `transfer` when it is ready."""
        os.set_blocking(stream.fileno(), False)
        self._selector.register(stream, selectors.EVENT_WRITE if write else selectors.EVENT_READ, transfer)

    def forget(self, stream: IO[bytes]) -> None:
        """Watch a pipe no longer."""
        self._selector.unregister(stream)

    def wait(self, limit: float = _LONGEST) -> bool:
        """Transfer what is ready; return False after a pause of at most `limit` seconds if nothing is."""
        ready = self._selector.select(max(0.0, min(self._pause, limit)))
        self._pause = _SHORTEST if ready else min(2 * self._pause, _LONGEST)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def close(self) -> None:
        """Watch nothing any more."""
        self._selector.close()


def is_open(stream: IO[bytes] | None) -> TypeGuard[IO[bytes]]:
    """Return whether there is such a stream and it is not closed yet."""
    return stream is not None and not stream.closed


class Exchange:
    """What a child has yet to read from its stdin, and what it has written so far, where these are pipes.

    A child that writes more than `limit` bytes to a stream is killed; `too_long` is true then.
    """

    def __init__(self, child: Process, data: bytes, limit: int, events: Events) -> None:
        self.child = child
        self.too_long = False
        self._data = memoryview(data)
        self._limit = limit
        self._events = events
        self._received = {stream: bytearray() for stream in (child.stdout, child.stderr) if is_open(stream)}
        for stream in self._received:
            events.watch(stream, partial(self.transfer, stream))
        if is_open(child.stdin):
            events.watch(child.stdin, partial(self.transfer, child.stdin), write=True)

    def transfer(self, stream: IO[bytes]) -> bool:
        """Read from or write to a pipe; return whether more can follow at once. The pipe is closed at its end."""
        try:
            more = self._write(stream) if stream is self.child.stdin else self._read(stream)
        except BlockingIOError:
            return False
        except BrokenPipeError:
            more = False
        if not more:
            self._close(stream)
        return more

    def outputs(self) -> list[bytes]:
        """Close the pipes of a child that has ended; return what it wrote to stdout, to stderr, or to the only pipe."""
        for stream in self._received:
            while is_open(stream) and self.transfer(stream):
                pass
        for each in filter(is_open, (self.child.stdin, *self._received)):
            self._close(each)
        return [bytes(each[: self._limit]) for each in self._received.values()]

    def _read(self, stream: IO[bytes]) -> bool:
        chunk = os.read(stream.fileno(), _CHUNK)
        self._received[stream] += chunk
        if len(self._received[stream]) > self._limit:
            self.too_long = True
            self.child.kill()
            return False
        return bool(chunk)

    def _write(self, stream: IO[bytes]) -> bool:
        self._data = self._data[os.write(stream.fileno(), self._data[:_CHUNK]) :]
        return bool(self._data)

    def _close(self, stream: IO[bytes]) -> None:
        self._events.forget(stream)
        stream.close()
