"""The only place that starts a child. What is printed and what is executed come from one `Command`, so they agree."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from dockerutils import console, words
from dockerutils.errors import CommandFailed, DockerutilsError, Terminated

if TYPE_CHECKING:
    from subprocess import Popen

# How long a child has to end by itself after a Ctrl-C, which the terminal has sent to it as well as to us, and then
# after the signal that we send. Seconds.
_GRACE, _PATIENCE = 0.5, 10.0
_STDERR = 2


class Input(NamedTuple):
    """What a child reads from its stdin, a password for one: never shown.

    `source` is the `sh` command line that writes the same, and is shown; `read` gives the text, and is called when
    the command has been shown and is about to run.
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
        line = words.render(self.argv, self.env, self.directory if elsewhere else None)
        return f"{self.stdin.source} | {line}" if self.stdin else line


class Captured(NamedTuple):
    """What a probe left: its exit status, and its output as text."""

    status: int
    stdout: str
    stderr: str


def run(
    command: Command, *, dry_run: bool = False, unshown: Mapping[str, str] | None = None, to_stderr: bool = False
) -> None:
    """Print `command`, execute it and wait for it; CommandFailed carries its status when that is not 0.

    SIGINT and SIGTERM are passed on, and the child has ended when this returns or raises. `unshown` are variables for
    the child that the printed line does without, because what they name is gone before anybody pastes it. With
    `to_stderr` the child's stdout goes where its stderr goes.
    """
    if _announce(command, dry_run=dry_run):
        return
    import subprocess

    text = command.stdin.read().encode() if command.stdin else None
    child = None
    try:
        with _signals_held():
            child = subprocess.Popen(
                command.argv,
                env={**os.environ, **command.env, **(unshown or {})},
                cwd=command.directory,
                stdin=subprocess.PIPE if command.stdin else None,
                stdout=_STDERR if to_stderr else None,
            )
        child.communicate(text)
        status = child.returncode
    except OSError as error:
        raise _not_started(command, error) from error
    except (KeyboardInterrupt, Terminated) as interruption:
        if child:
            _end(child, interruption)
        raise
    if status:
        raise CommandFailed(status if status > 0 else 128 - status)


def replace(command: Command, *, dry_run: bool = False) -> None:
    """Print `command`, then become it: its signals, terminal and status are from then on those of this process."""
    if _announce(command, dry_run=dry_run):
        return
    sys.stdout.flush()
    # Python ignores SIGPIPE, and an ignored signal would stay ignored in what takes our place.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        if command.directory is not None:
            os.chdir(command.directory)
        os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})  # noqa: S606
    except OSError as error:
        raise _not_started(command, error) from error


def capture(argv: Sequence[str], *, directory: str | None = None) -> Captured:
    """Run a probe, in silence, and return what it said; nothing is read from our stdin."""
    return capture_all([argv], directory=directory)[0]


def capture_all(argvs: Sequence[Sequence[str]], *, directory: str | None = None) -> list[Captured]:
    """Run several probes at once, and return what each one said."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        probes = [stack.enter_context(_probe(argv, directory)) for argv in argvs]
        outputs = [probe.communicate() for probe in probes]
    return [Captured(probe.returncode, *output) for probe, output in zip(probes, outputs, strict=True)]


def _probe(argv: Sequence[str], directory: str | None) -> Popen[str]:
    import subprocess

    try:
        return subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise _not_started(Command([*argv], directory=directory), error) from error


def _announce(command: Command, *, dry_run: bool) -> bool:
    if dry_run:
        print(command, flush=True)
    else:
        console.echo(str(command))
    return dry_run


def _not_started(command: Command, error: OSError) -> DockerutilsError:
    program = command.argv[0]
    if isinstance(error, FileNotFoundError):
        where = "was not found" if os.sep in program else "was not found on PATH"
        return DockerutilsError(f"{program} {where}; {_remedy(program)}")
    return DockerutilsError(f"{program} cannot be executed: {error.strerror}; {_remedy(program)}")


def _remedy(program: str) -> str:
    if program == "docker":
        return "install the docker command-line client, or add its directory to PATH"
    return "correct its path, or make it executable (chmod +x)"


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals that we heed while a child is started: one that came just then would leave it behind."""
    came: list[int] = []
    heeded = [each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if callable(signal.getsignal(each))]
    before = {each: signal.signal(each, lambda signum, _: came.append(signum)) for each in heeded}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    for signum in came:
        signal.raise_signal(signum)


def _end(child: Popen[bytes], interruption: BaseException) -> None:
    """Hand the signal that ended our wait to the child and see it end."""
    from subprocess import TimeoutExpired

    try:
        if isinstance(interruption, Terminated):
            child.send_signal(interruption.signum)
        else:
            try:
                child.wait(_GRACE)
            except TimeoutExpired:
                child.send_signal(signal.SIGINT)
        child.wait(_PATIENCE)
    except (TimeoutExpired, KeyboardInterrupt, Terminated):
        child.kill()
        child.wait()
