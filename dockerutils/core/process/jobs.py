"""Jobs: commands that run at the same time, each job after those that it needs. Their output goes to a report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import IO, NamedTuple, Protocol

from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import spawn
from dockerutils.core.process.command import Command
from dockerutils.core.process.pipes import Events, is_open
from dockerutils.core.process.spawn import DEVNULL, PIPE, STDERR, STDOUT, Streams

_CHUNK = 1 << 16
# Runs of a command that fails for a temporary cause, at most.
_ATTEMPTS = 3
# Size in bytes of the end of stderr, which shows the cause.
_TAIL = 4096


class Job(NamedTuple):
    """Commands that run one after the other, after the jobs with the names in `needs` have succeeded.

    While a job that is `exclusive` runs, no other one does.
    """

    name: str
    commands: Sequence[Command]
    needs: Collection[str] = ()
    exclusive: bool = False


class Failure(NamedTuple):
    """A job that failed: the number of its command that failed, and why."""

    job: Job
    number: int
    error: DockerutilsError


class Report(Protocol):
    """What receives the progress and the output of jobs. All methods are called in the main thread."""

    def begin(self, job: Job, command: Command) -> None:
        """Show a command that is about to run."""

    def write(self, job: Job, stream: int, data: bytes) -> None:
        """Receive output of a command, in pieces of any length; `stream` is STDOUT or STDERR."""

    def end(self, job: Job, failure: Failure | None) -> None:
        """Show that a job has succeeded or failed."""

    def refresh(self) -> None:
        """Update what is shown; called several times a second."""


def run_jobs(
    jobs: Iterable[Job],
    at_once: int,
    report: Report,
    is_temporary: Callable[[bytes], bool] = lambda _: False,
    *,
    goes_on: Callable[[Failure], bool] = lambda _: False,
) -> tuple[list[Failure], list[Job]]:
    """Run jobs, at most `at_once` at a time; return the failures and the jobs that were not started.

    Of the jobs that can start, the first one in `jobs` starts first. A command that fails is run again, at most twice,
    if `is_temporary` returns True for the end of its stderr. After a failure, running jobs continue to their end, and
    no other job starts, unless `goes_on` returns True for each failure. Commands never read our stdin. If a signal
    interrupts this, all children end first.
    """
    with closing(_Run(jobs, at_once, report, is_temporary, goes_on)) as run:
        try:
            run.run()
        except BaseException as error:
            run.stop(spawn.GRACE if isinstance(error, KeyboardInterrupt) else 0.0)
            raise
        return run.failures, run.waiting


class _Active:
    """A job that runs.

    It has a current command, the child of that, how often it ran, what the child has yet to read from its stdin, and
    the end of what it wrote to stderr.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.number = 0
        self.child: spawn.Process | None = None
        self.attempts = 1
        self.input = memoryview(b"")
        self.tail = b""


class _Run:
    def __init__(
        self,
        jobs: Iterable[Job],
        at_once: int,
        report: Report,
        is_temporary: Callable[[bytes], bool],
        goes_on: Callable[[Failure], bool],
    ) -> None:
        self.waiting = list(jobs)
        self.failures: list[Failure] = []
        self._at_once = at_once
        self._report = report
        self._is_temporary = is_temporary
        self._goes_on = goes_on
        self._goes = True
        self._active: list[_Active] = []
        self._succeeded: set[str] = set()
        self._events = Events()

    def run(self) -> None:
        """Run all jobs, or until one fails that stops the others, and those that run then have ended."""
        while True:
            while self._goes and (job := self._next()):
                self.waiting.remove(job)
                active = _Active(job)
                self._active.append(active)
                self._proceed(active)
            if not self._active:
                return
            self._events.wait()
            self._report.refresh()
            for active in [each for each in self._active if each.child and each.child.poll() is not None]:
                self._finish(active)

    def stop(self, grace: float) -> None:
        """End all children: terminate those that still run after `grace` seconds, and finally kill them."""
        with spawn.deferred_signals():  # a second Ctrl-C would leave some of them behind
            self._await_end(grace)
            for child in self._children():
                child.terminate()
            self._await_end(spawn.PATIENCE)
            spawn.end(self._children(), 0.0)

    def close(self) -> None:
        """Close the pipes of children that have ended."""
        for active in self._active:
            self._drain(active)
        self._events.close()

    def _next(self) -> Job | None:
        """Return a job that can start now."""
        if len(self._active) >= self._at_once or any(each.job.exclusive for each in self._active):
            return None
        ready = (job for job in self.waiting if self._succeeded.issuperset(job.needs))
        return next((job for job in ready if not (job.exclusive and self._active)), None)

    def _proceed(self, active: _Active) -> None:
        """Start the next command of a job, or note that there is none or that it cannot be started."""
        job = active.job
        if active.number == len(job.commands):
            self._active.remove(active)
            self._succeeded.add(job.name)
            self._report.end(job, None)
            return
        command = job.commands[active.number]
        self._report.begin(job, command)
        active.input = memoryview(command.stdin.read().encode() if command.stdin else b"")
        try:
            with spawn.deferred_signals():
                active.child = child = spawn.start(
                    command.argv,
                    Streams(PIPE if command.stdin else DEVNULL, PIPE, PIPE),
                    directory=command.directory,
                    environ={**os.environ, **command.env},
                )
                for stream in filter(is_open, (child.stdout, child.stderr)):
                    self._events.watch(stream, partial(self._transfer, active, stream))
                if is_open(child.stdin):
                    self._events.watch(child.stdin, partial(self._feed, active, child.stdin), write=True)
        except DockerutilsError as error:
            self._fail(active, error)

    def _finish(self, active: _Active) -> None:
        """Read the rest of the output of a command that has ended, then continue its job, or run the command again."""
        assert active.child
        self._drain(active)
        status = spawn.status(active.child)
        if status == 0:
            active.number += 1
            active.attempts = 1
        elif active.attempts < _ATTEMPTS and self._is_temporary(active.tail):
            active.attempts += 1
        else:
            self._fail(active, CommandFailed(status, stderr=active.tail.decode(errors="replace")))
            return
        active.tail = b""
        self._proceed(active)

    def _fail(self, active: _Active, error: DockerutilsError) -> None:
        self._active.remove(active)
        failure = Failure(active.job, active.number, error)
        self.failures.append(failure)
        self._report.end(active.job, failure)
        self._goes = self._goes and self._goes_on(failure)

    def _transfer(self, active: _Active, stream: IO[bytes]) -> bool:
        """Report what can be read from a pipe now; return whether to read again at once. Close the pipe at its end."""
        assert active.child
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if data:
            number = STDOUT if stream is active.child.stdout else STDERR
            if number == STDERR:
                active.tail = (active.tail + data)[-_TAIL:]
            self._report.write(active.job, number, data)
        else:
            self._close(stream)
        return bool(data)

    def _feed(self, active: _Active, stream: IO[bytes]) -> None:
        """Write what a child reads from its stdin now, and close the pipe at the end."""
        try:
            active.input = active.input[os.write(stream.fileno(), active.input[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # its status and its message say why
            active.input = active.input[:0]
        if not active.input:
            self._close(stream)

    def _drain(self, active: _Active) -> None:
        """Report what a child wrote before it ended, and close its pipes: background processes can hold them open."""
        for stream in filter(is_open, (active.child.stdout, active.child.stderr) if active.child else ()):
            while self._transfer(active, stream):
                pass
            if is_open(stream):
                self._close(stream)
        if active.child and is_open(active.child.stdin):
            self._close(active.child.stdin)

    def _close(self, stream: IO[bytes]) -> None:
        self._events.forget(stream)
        stream.close()

    def _children(self) -> list[spawn.Process]:
        return [each.child for each in self._active if each.child and each.child.poll() is None]

    def _await_end(self, seconds: float) -> None:
        """Wait until all children have ended, for a limited time; read their output: a full pipe would block them."""
        deadline = time.monotonic() + seconds
        while self._children() and time.monotonic() < deadline:
            with suppress(OSError):  # the reader of our output is gone
                self._events.wait()
