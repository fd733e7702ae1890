"""Probes: children whose output is read, not shown. Their output and their time are limited."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.core.process import spawn
from dockerutils.core.process.spawn import DEVNULL, PIPE, Streams

if TYPE_CHECKING:
    from dockerutils.core.process.pipes import Events, Exchange

    Begin = Callable[[int, Events], Exchange]  # starts the probe with this number

# Limit of the output of a probe: bytes of stdout, and as many of stderr.
LIMIT = 16 << 20
# The statuses of probes that were ended: that of timeout(1), and that of a child that was killed.
TIMED_OUT, TOO_LONG = 124, 137
# Seconds before a probe is repeated, and that a probe gets to end after SIGTERM.
_PAUSE, _GRACE = 0.2, 0.5


class Captured(NamedTuple):
    """The result of a probe: its exit status, and its output as text."""

    status: int
    stdout: str
    stderr: str


def capture(
    argv: Sequence[str],
    *,
    directory: str | None = None,
    stdin: str = "",
    limit: int = LIMIT,
    seconds: float | None = None,
) -> Captured:
    """Run a probe and return its result; it reads `stdin`, never ours.

    A probe that writes more than `limit` bytes to a stream is killed, and its status is TOO_LONG. One that runs longer
    than `seconds` is ended, and its status is TIMED_OUT. The last line of its stderr says so.
    """
    begin = _beginning([argv], limit, directory, stdin=stdin.encode())
    return _in_time(_run(1, begin, seconds, lambda _: False), seconds)[0]


def capture_all(
    argvs: Sequence[Sequence[str]],
    *,
    directory: str | None = None,
    seconds: float | None = None,
    environs: Sequence[Mapping[str, str]] = (),
) -> list[Captured]:
    """Run several probes at once and return their results; see `capture`.

    `environs` are the whole environments of the probes, by default ours.
    """
    begin = _beginning(argvs, LIMIT, directory, environs)
    return _in_time(_run(len(argvs), begin, seconds, lambda _: False), seconds)


def _in_time(answers: Sequence[Captured | None], seconds: float | None) -> list[Captured]:
    """Return the results, with one that says so in the place of each that did not come in time."""
    late = Captured(TIMED_OUT, "", f"no answer in {seconds or 0:g} s\n")
    return [answer or late for answer in answers]


def capture_within(
    argvs: Sequence[Sequence[str]], seconds: float, again: Callable[[Captured], bool], *, limit: int = LIMIT
) -> list[Captured | None]:
    """Run several probes at once and return their results, None for those that have not ended in `seconds`.

    A probe is repeated, while there is time, if `again` is true of its result; the last result counts.
    """
    return _run(len(argvs), _beginning(argvs, limit), seconds, again)


def _run(count: int, begin: Begin, seconds: float | None, again: Callable[[Captured], bool]) -> list[Captured | None]:
    from dockerutils.core.process.pipes import Events  # late: it imports selectors, and many commands probe nothing

    deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
    answers: list[Captured | None] = [None] * count
    due = dict.fromkeys(range(count), 0.0)
    running: dict[int, Exchange] = {}
    with closing(Events()) as events:
        try:
            while (due or running) and (now := time.monotonic()) < deadline:
                for number in [number for number, when in due.items() if when <= now]:
                    del due[number]
                    with spawn.deferred_signals():
                        running[number] = begin(number, events)
                events.wait(deadline - now)
                for number in [number for number, each in running.items() if each.child.poll() is not None]:
                    answers[number] = answer = _captured(running.pop(number))
                    if again(answer):
                        due[number] = now + _PAUSE
        finally:
            spawn.end((each.child for each in running.values()), _GRACE)
            for each in running.values():
                each.outputs()
    return answers


def _beginning(
    argvs: Sequence[Sequence[str]],
    limit: int,
    directory: str | None = None,
    environs: Sequence[Mapping[str, str]] = (),
    stdin: bytes = b"",
) -> Begin:
    """Return what starts each of the probes."""
    from dockerutils.core.process.pipes import Exchange

    streams = Streams(PIPE if stdin else DEVNULL, PIPE, PIPE)

    def begin(number: int, events: Events) -> Exchange:
        environ = environs[number] if environs else None
        child = spawn.start(argvs[number], streams, directory=directory, environ=environ)
        return Exchange(child, stdin, limit, events)

    return begin


def _captured(exchange: Exchange) -> Captured:
    stdout, stderr = (_text(each) for each in exchange.outputs())
    if exchange.too_long:
        return Captured(TOO_LONG, stdout, "its output is too long\n")
    return Captured(spawn.status(exchange.child), stdout, stderr)


def _text(output: bytes) -> str:
    return output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
