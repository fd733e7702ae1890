"""Output of builds that run at the same time: live lines on a terminal, elsewhere lines prefixed with the image."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import BinaryIO

from dockerutils.core import console
from dockerutils.core.process import STDOUT, Command
from dockerutils.core.process.jobs import Failure, Job
from dockerutils.core.progress import Lines


def output(*, to_stderr: bool) -> PrefixedLines | LiveLines:
    """Return the report for this stderr, a terminal or not; with `to_stderr`, it writes nothing to stdout."""
    return LiveLines(to_stderr=to_stderr) if sys.stderr.isatty() else PrefixedLines(to_stderr=to_stderr)


class PrefixedLines:
    """Complete lines of builds, prefixed with the name of the image, on the stream that the build wrote to."""

    def __init__(self, *, to_stderr: bool) -> None:
        self._to_stderr = to_stderr
        # The beginnings of lines, by image and stream.
        self._unfinished: dict[tuple[str, int], bytes] = defaultdict(bytes)

    def begin(self, job: Job, command: Command) -> None:
        """Print a command that is about to run."""
        self.start(job)
        self.show(command)

    def start(self, job: Job, begun: float | None = None) -> None:  # noqa: ARG002 - as in LiveLines
        """Print a last line of the command before, if it has no line end."""
        self._finish_lines(job)

    def show(self, command: Command) -> None:
        """Print a command."""
        console.echo(str(command))

    def write(self, job: Job, stream: int, data: bytes) -> None:
        """Print the lines that are complete now."""
        *lines, rest = (self._unfinished[job.name, stream] + data).split(b"\n")
        self._unfinished[job.name, stream] = rest
        self._print(job, stream, lines)

    def end(self, job: Job, failure: Failure | None) -> None:  # noqa: ARG002 - part of Report
        """Print a last line without a line end."""
        self._finish_lines(job)

    def cancel(self, job: Job) -> None:
        """Do the same for a build that ended because another one failed."""
        self._finish_lines(job)

    def refresh(self) -> None:
        """Do nothing: lines are printed when they are complete."""

    def _finish_lines(self, job: Job) -> None:
        for name, stream in [key for key in self._unfinished if key[0] == job.name]:
            if rest := self._unfinished.pop((name, stream)):
                self._print(job, stream, [rest])

    def _print(self, job: Job, stream: int, lines: list[bytes]) -> None:
        output = _stream(stream, to_stderr=self._to_stderr)
        name = console.one_line(job.name).encode()
        output.write(b"".join(b"[%s] %s\n" % (name, line.removesuffix(b"\r")) for line in lines))
        output.flush()


class LiveLines:
    """One line per running build, with its last line of output.

    When a build ends, its stdout is printed; if it failed, all output of its last command.
    """

    def __init__(self, *, to_stderr: bool) -> None:
        self._lines = Lines()
        self._prefixed = PrefixedLines(to_stderr=to_stderr)
        self._begun: dict[str, float] = {}
        self._output: dict[str, list[tuple[int, bytes]]] = defaultdict(list)

    def begin(self, job: Job, command: Command) -> None:
        """Print a command that is about to run, above the live lines."""
        self.start(job)
        self.show(command)

    def start(self, job: Job, begun: float | None = None) -> None:
        """Show a live line for a build from now on. It began at `begun`, by default now."""
        if job.name in self._begun:
            self._print_stdout(job)
            del self._output[job.name]
        else:
            self._begun[job.name] = time.monotonic() if begun is None else begun

    def show(self, command: Command) -> None:
        """Print a command above the live lines."""
        self._lines.above(lambda: console.echo(str(command)))

    def write(self, job: Job, stream: int, data: bytes) -> None:
        """Keep what a build writes."""
        self._output[job.name].append((stream, data))

    def end(self, job: Job, failure: Failure | None) -> None:
        """Replace the live line of a build by its result."""
        self._end(job, "failed after" if failure else "done in")
        if failure:
            self._lines.above(lambda: self._print_all(job))
        else:
            self._print_stdout(job)

    def cancel(self, job: Job) -> None:
        """Replace the live line of a build that ended because another one failed."""
        self._end(job, "canceled after")

    def refresh(self) -> None:
        """Redraw the live lines."""
        for name, begun in self._begun.items():
            last = last_line(b"".join(data for _, data in self._output[name][-2:]))
            self._lines.update(name, f"{name}: {time.monotonic() - begun:.0f} s  {last}")

    def _end(self, job: Job, how: str) -> None:
        took = time.monotonic() - self._begun.pop(job.name)
        self._lines.end(job.name, f"{job.name}: {how} {took:.1f} s")

    def _print_stdout(self, job: Job) -> None:
        written = b"".join(data for stream, data in self._output[job.name] if stream == STDOUT)
        if written:
            self._lines.above(lambda: self._prefixed.write(job, STDOUT, written))

    def _print_all(self, job: Job) -> None:
        sys.stderr.flush()
        for _, data in self._output[job.name]:
            sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()


def last_line(output: bytes) -> str:
    """Return the last line of output that is not empty, as text for a live line."""
    return console.one_line(output.rstrip().rpartition(b"\n")[2].decode(errors="replace").strip())


def _stream(stream: int, *, to_stderr: bool) -> BinaryIO:
    text = sys.stdout if stream == STDOUT and not to_stderr else sys.stderr
    text.flush()
    return text.buffer
