"""Children that run beside us: several threads start them, and they end together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import IO, Any

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import spawn
from dockerutils.core.process.spawn import DEVNULL, PIPE, Streams

# Bytes of stdout that `finish` takes by default.
LIMIT = 256 << 20
_CHUNK = 1 << 20


class Child:
    """A child that runs beside us; its stderr goes to an unnamed temporary file.

    One thread at a time reads or writes; another one can end the child meanwhile, which ends reading and writing.
    """

    def __init__(self, argv: Sequence[str], stdin: Any, stdout: Any, environ: Mapping[str, str] | None) -> None:
        # Late, as in spawn.
        import tempfile
        import threading

        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        try:
            self._popen = spawn.start(argv, Streams(stdin, stdout, self._errors), environ=environ)
        except DockerutilsError:
            self._errors.close()
            raise
        self.stdin = self._popen.stdin
        # Held while a pipe is in use, so that it is not closed then.
        self._in_use = threading.Lock()
        self._unread = b""
        self._output: bytes | None = None

    def write(self, data: bytes) -> None:
        """Write to its stdin, a pipe; BrokenPipeError when it reads no more."""
        left = memoryview(data)
        with self._in_use:
            stdin = self.stdin
            if not stdin or stdin.closed:
                raise BrokenPipeError
            os.set_blocking(stdin.fileno(), False)
            while left:
                has_ended = self._popen.poll() is not None
                try:
                    left = left[os.write(stdin.fileno(), left) :]
                except BlockingIOError:
                    if has_ended:
                        raise BrokenPipeError from None
                    self._await(stdin, write=True)

    def close_stdin(self) -> None:
        """Close our end of its stdin: it reads to the end then, or another child writes on."""
        assert self.stdin
        self.stdin.close()

    def read(self, size: int = _CHUNK) -> bytes:
        """Return what it writes next to its stdout, a pipe: at most `size` bytes, none at the end."""
        with self._in_use:
            if self._unread:
                data, self._unread = self._unread[:size], self._unread[size:]
                return data
            stdout = self._popen.stdout
            if not stdout or stdout.closed:
                return b""
            os.set_blocking(stdout.fileno(), False)
            while True:
                has_ended = self._popen.poll() is not None
                try:
                    return os.read(stdout.fileno(), size)
                except BlockingIOError:
                    if has_ended:
                        return b""
                    self._await(stdout)

    def _await(self, stream: IO[bytes], *, write: bool = False) -> None:
        """Return when a pipe is ready, or the child has ended."""
        from dockerutils.core.process.pipes import Events

        with closing(Events()) as events:
            events.watch(stream, bool, write=write)
            while not events.wait() and self._popen.poll() is None:
                pass

    def await_line(self, line: bytes) -> None:
        """Return when it has written this line to stdout, or has ended."""
        while line not in self._unread.splitlines(keepends=True):
            unread, self._unread = self._unread, b""
            data = self.read()
            self._unread = unread + data
            if not data:
                return
        self._unread = self._unread.partition(line)[2]

    def finish(self, data: bytes = b"", *, limit: int = LIMIT) -> bytes:
        """Write `data` to its stdin, if that is a pipe, and end it; return the rest of its stdout when it has ended.

        A second call returns the same. A child that writes more than `limit` bytes is killed.
        """
        from dockerutils.core.process.pipes import Events, Exchange

        if self._output is not None:
            return self._output
        with self._in_use, closing(Events()) as events:
            exchange = Exchange(self._popen, data, limit, events)
            while self._popen.poll() is None:
                events.wait()
            self._output = self._unread + b"".join(exchange.outputs())
        return self._output

    def wait(self) -> int:
        """Wait for it and return its exit status, 128 plus the signal's number if a signal ended it."""
        self._popen.wait()
        return spawn.status(self._popen)

    @property
    def stderr(self) -> str:
        """What it has written to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def terminate(self) -> None:
        """Make it end, if it has not ended."""
        self._popen.terminate()

    def close(self) -> None:
        """Close its streams when it has ended."""
        with self._in_use:
            for stream in (self._popen.stdin, self._popen.stdout, self._errors):
                if stream:
                    stream.close()


class Children:
    """Children that several threads start, and that end together."""

    def __init__(self) -> None:
        import threading

        self._started: list[Child] = []
        self._closers: list[Callable[[], object]] = []
        self._is_open = True
        self._lock = threading.Lock()

    def end(self) -> None:
        """End all children, and start none from now on."""
        with self._lock:
            self._is_open = False
        with spawn.deferred_signals():
            for close in self._closers:
                close()
            spawn.end(child._popen for child in self._started)  # noqa: SLF001 - a part of Child
            for child in self._started:
                child.close()

    def at_end(self, close: Callable[[], object]) -> None:
        """Call a function when the children end, for what threads wait for that is no child."""
        with self._lock:
            self._require_open()
            self._closers.append(close)

    def _require_open(self) -> None:
        if not self._is_open:
            raise DockerutilsError("interrupted; run the command again")

    def start(
        self, argv: Sequence[str], *, stdin: Any = None, stdout: Any = None, environ: Mapping[str, str] | None = None
    ) -> Child:
        """Start a child. It reads `stdin`, by default nothing, and writes to `stdout`, by default a pipe.

        `environ` is its whole environment, by default ours.
        """
        with self._lock, spawn.deferred_signals():
            self._require_open()
            child = Child(argv, DEVNULL if stdin is None else stdin, stdout or PIPE, environ)
            self._started.append(child)
        return child


@contextmanager
def children() -> Iterator[Children]:
    """Start children that have all ended when the block has, however it ends: also by Ctrl-C."""
    family = Children()
    try:
        yield family
    finally:
        family.end()


def spawn_detached(argv: Sequence[str], *, pass_fds: Sequence[int] = ()) -> None:
    """Start a child that outlives us, in a session of its own; its streams are /dev/null.

    It inherits the file descriptors `pass_fds`.
    """
    child = spawn.start(argv, Streams(DEVNULL, DEVNULL, DEVNULL), directory="/", detached=pass_fds)
    child.returncode = 0  # nobody waits for it; without this Python warns
