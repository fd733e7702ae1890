"""Output of shards that run at the same time: a log of each, live lines on a terminal, elsewhere prefixed lines."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from io import FileIO
from types import TracebackType
from typing import TYPE_CHECKING

from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import STDOUT, Command
from dockerutils.core.process.jobs import Failure, Job
from dockerutils.core.progress import Lines
from dockerutils.images.build_output import PrefixedLines, last_line

if TYPE_CHECKING:
    from typing_extensions import Self

_TAIL = 4096  # bytes that are kept of the end of each shard's output
_SHOWN = 10  # lines of a shard that has failed, on a terminal
_TOTAL = "total"  # the key of the line with the numbers of shards


class Results:
    """The report of shards: writes their logs and shows their output. The names of the jobs are the indices.

    `succeeded` has the indices of the shards that succeeded, `failed` the exit statuses of those that failed. The logs
    are `<index>.log` in `directory`, readable by the user only, and each is written while its shard runs.
    """

    def __init__(self, directory: str, total: int) -> None:
        self.directory = os.path.abspath(directory)
        self.succeeded: set[int] = set()
        self.failed: dict[int, int] = {}
        self._shown = LiveShards(total) if sys.stderr.isatty() else PrefixedLines(to_stderr=False)
        self._logs: dict[str, FileIO] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        try:
            os.makedirs(self.directory, 0o700, exist_ok=True)
        except OSError as error:
            raise DockerutilsError(
                f"no logs in {self.directory}: {error.strerror}; choose another directory: --logs DIRECTORY"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """The time since the first shard began."""
        return time.monotonic() - self._began

    def log(self, index: int | str) -> str:
        """Return the path of the log of a shard."""
        return os.path.join(self.directory, f"{index}.log")

    def begin(self, job: Job, command: Command) -> None:
        """Print a command that is about to run, and create its log."""
        descriptor = os.open(self.log(job.name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._logs[job.name] = FileIO(descriptor, "w")
        self._shown.begin(job, command)

    def write(self, job: Job, stream: int, data: bytes) -> None:
        """Add to the log of a shard, and show it."""
        left = memoryview(data)
        while left:
            left = left[self._logs[job.name].write(left) :]
        self._shown.write(job, stream, data)

    def end(self, job: Job, failure: Failure | None) -> None:
        """Note how a shard has ended, and close its log."""
        self._logs.pop(job.name).close()
        if failure:
            self.failed[int(job.name)] = failure.error.status
        else:
            self.succeeded.add(int(job.name))
        self._shown.end(job, failure)

    def refresh(self) -> None:
        """Redraw the live lines."""
        self._shown.refresh()

    def close(self) -> None:
        """Close the logs of shards that were interrupted, and remove the live lines."""
        while self._logs:
            self._logs.popitem()[1].close()
        if isinstance(self._shown, LiveShards):
            self._shown.close()


class LiveShards:
    """A line with the numbers of shards, and one per running shard with its last line of output.

    When a shard fails, the end of its output is printed. The stdout of shards is printed if stdout is not a terminal.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._lines = Lines()
        self._prefixed = PrefixedLines(to_stderr=False)
        self._prints = not sys.stdout.isatty()
        self._began = time.monotonic()
        self._begun: dict[str, float] = {}
        self._tails: dict[str, bytes] = {}
        self._done = self._failed = 0

    def begin(self, job: Job, command: Command) -> None:
        """Print a command that is about to run, above the live lines."""
        self._begun[job.name] = time.monotonic()
        self._tails[job.name] = b""
        self._lines.above(lambda: console.echo(str(command)))

    def write(self, job: Job, stream: int, data: bytes) -> None:
        """Keep the end of what a shard writes."""
        self._tails[job.name] = (self._tails[job.name] + data)[-_TAIL:]
        if self._prints and stream == STDOUT:
            self._prefixed.write(job, stream, data)

    def end(self, job: Job, failure: Failure | None) -> None:
        """Replace the live line of a shard by its result."""
        took = f"{time.monotonic() - self._begun.pop(job.name):.1f} s"
        tail = self._tails.pop(job.name)
        self._done += 1
        self._failed += failure is not None
        self._prefixed.end(job, failure)
        if failure:
            result = f"shard {job.name}: failed with status {failure.error.status} after {took}"
        else:
            result = f"shard {job.name}: done in {took}"
        self._lines.end(job.name, result)
        if failure:
            self._lines.above(lambda: _print_end(tail))

    def refresh(self) -> None:
        """Redraw the live lines."""
        now = time.monotonic()
        failed = f", {self._failed} failed" if self._failed else ""
        numbers = f"{self._done} of {self._total} shards done{failed}, {len(self._begun)} running"
        self._lines.update(_TOTAL, f"{numbers}, {now - self._began:.0f} s")
        for name, begun in self._begun.items():
            self._lines.update(name, f"shard {name}: {now - begun:.0f} s  {last_line(self._tails[name])}")

    def close(self) -> None:
        """Remove the live lines."""
        for name in (_TOTAL, *self._begun):
            self._lines.end(name)


def _print_end(tail: bytes) -> None:
    sys.stderr.flush()
    lines = tail.splitlines(keepends=True)[-_SHOWN:]
    with suppress(IndexError):
        lines[-1] = lines[-1].rstrip(b"\r\n") + b"\n"
    sys.stderr.buffer.write(b"".join(lines))
    sys.stderr.buffer.flush()
