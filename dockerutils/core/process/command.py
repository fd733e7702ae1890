"""Commands: what is printed and what is executed come from one `Command`, so they agree."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.core import console, shell_words
from dockerutils.core.errors import CommandFailed, Terminated
from dockerutils.core.process import spawn
from dockerutils.core.process.spawn import PIPE, STDERR, STDOUT, Streams

if TYPE_CHECKING:
    from dockerutils.core.process.relay import Relay


class Input(NamedTuple):
    """What a child reads from its stdin, a password for example: never shown.

    `source` is the `sh` command line that writes the same; it is shown. `read` returns the text, and is called when the
    command has been shown and is about to run.
    """

    source: str
    read: Callable[[], str]


class Command(NamedTuple):
    """A command line: its words, the variables it adds to our environment, its directory (None: ours) and its stdin."""

    argv: list[str]
    env: Mapping[str, str] = {}
    directory: str | None = None
    stdin: Input | None = None

    def __str__(self) -> str:
        elsewhere = self.directory is not None and not os.path.samefile(self.directory, os.curdir)
        line = shell_words.render(self.argv, self.env, self.directory if elsewhere else None)
        return f"{self.stdin.source} | {line}" if self.stdin else line


def run(  # noqa: PLR0913 - keywords, which callers read by name
    command: Command,
    *,
    dry_run: bool = False,
    unshown: Mapping[str, str] | None = None,
    to_stderr: bool = False,
    escaped: Collection[int] = (),
    hold_errors: bool = False,
) -> None:
    """Print `command`, execute it and wait for it; CommandFailed carries its status if that is not 0.

    SIGINT and SIGTERM are passed on, and the child has ended when this returns or raises. `unshown` are variables of
    the child that the printed line omits: what they name is gone before anybody can paste it. With `to_stderr` the
    child's stdout goes to our stderr. What it writes to `escaped`, which is STDERR or both STDOUT and STDERR, goes to
    our stderr with control characters escaped, and CommandFailed carries the end of it. With `hold_errors`, only
    CommandFailed has what the child writes to stderr, for a caller that has another way.
    """
    if _announce(command, dry_run=dry_run):
        return
    text = command.stdin.read().encode() if command.stdin else None
    child = None
    relay = _relay() if escaped else None
    try:
        with spawn.deferred_signals():
            child = spawn.start(
                command.argv,
                Streams(
                    PIPE if command.stdin else None,
                    relay.output if relay and STDOUT in escaped else STDERR if to_stderr else None,
                    relay.output if relay else PIPE if hold_errors else None,
                ),
                environ={**os.environ, **command.env, **(unshown or {})},
                directory=command.directory,
            )
            if relay:
                relay.start()
        held = child.communicate(text)[1]
    except (KeyboardInterrupt, Terminated) as interruption:
        if child:
            spawn.end_after(interruption, child)
        raise
    finally:
        written = relay.finish() if relay else ""
    if status := spawn.status(child):
        raise CommandFailed(status, stderr=held.decode(errors="replace") if hold_errors else written)


def _relay() -> Relay:
    from dockerutils.core.process.relay import Relay  # late: it imports threading

    return Relay()


def replace(command: Command, *, dry_run: bool = False) -> None:
    """Print `command`, then become it: this process has its signals, terminal and status from then on."""
    if _announce(command, dry_run=dry_run):
        return
    sys.stdout.flush()
    spawn.become(command.argv, directory=command.directory, environ={**os.environ, **command.env})


def _announce(command: Command, *, dry_run: bool) -> bool:
    if dry_run:
        print(command, flush=True)
    else:
        console.echo(str(command))
    return dry_run
