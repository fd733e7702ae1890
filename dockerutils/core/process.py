"""The only place that starts a child. What is printed and what is executed come from one `Command`, so they agree."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from dockerutils.core import console, shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError, Terminated

if TYPE_CHECKING:
    from subprocess import Popen

# How long a child has to end by itself after a Ctrl-C, which the terminal has sent to it as well as to us, and then
# after the signal that we send. Seconds.
_GRACE, _PATIENCE = 0.5, 10.0
# How often probes are looked at, and how long one that is run again waits before. Seconds.
_TICK, _PAUSE = 0.01, 0.2
STDERR = 2  # the descriptor
# subprocess.PIPE, which is not imported for the sake of a number.
PIPE = -1


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
        line = shell_words.render(self.argv, self.env, self.directory if elsewhere else None)
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
        with signals_held():
            child = subprocess.Popen(
                command.argv,
                env={**os.environ, **command.env, **(unshown or {})},
                cwd=command.directory,
                stdin=subprocess.PIPE if command.stdin else None,
                stdout=STDERR if to_stderr else None,
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
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        if command.directory is not None:
            os.chdir(command.directory)
        os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})  # noqa: S606
    except OSError as error:
        signal.signal(signal.SIGPIPE, before)
        raise _not_started(command, error) from error


def capture(argv: Sequence[str], *, directory: str | None = None, stdin: str = "") -> Captured:
    """Run a probe, in silence, and return what it said; it reads `stdin`, and nothing from ours."""
    return capture_all([argv], directory=directory, stdin=stdin)[0]


def capture_all(argvs: Sequence[Sequence[str]], *, directory: str | None = None, stdin: str = "") -> list[Captured]:
    """Run several probes at once, and return what each one said."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        probes = [stack.enter_context(_probe(argv, directory, has_stdin=bool(stdin))) for argv in argvs]
        outputs = [probe.communicate(stdin or None) for probe in probes]
    return [Captured(probe.returncode, *output) for probe, output in zip(probes, outputs, strict=True)]


def capture_within(
    argvs: Sequence[Sequence[str]], seconds: float, again: Callable[[Captured], bool]
) -> list[Captured | None]:
    """Run several probes at once, and end those that have not ended after some seconds: None stands for what they said.

    One that `again` holds for is run again, as long as there is time; what it said last counts.
    """
    import time

    deadline = time.monotonic() + seconds
    said: list[Captured | None] = [None] * len(argvs)
    due = dict.fromkeys(range(len(argvs)), 0.0)
    probes: dict[int, Popen[str]] = {}
    try:
        while (due or probes) and (now := time.monotonic()) < deadline:
            for number in [number for number, when in due.items() if when <= now]:
                del due[number]
                probes[number] = _probe(argvs[number], None, has_stdin=False)
            for number in [number for number, probe in probes.items() if probe.poll() is not None]:
                probe = probes.pop(number)
                said[number] = answer = Captured(probe.returncode, *probe.communicate())
                if again(answer):
                    due[number] = now + _PAUSE
            time.sleep(_TICK)
    finally:
        for probe in probes.values():
            probe.kill()
            probe.communicate()
    return said


def _probe(argv: Sequence[str], directory: str | None, *, has_stdin: bool) -> Popen[str]:
    import subprocess

    try:
        return subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise _not_started(Command([*argv], directory=directory), error) from error


def leave(argv: Sequence[str]) -> None:
    """Start what goes on when we have ended: in a session of its own, it reads nothing and says nothing."""
    import subprocess

    null = subprocess.DEVNULL
    child = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, cwd="/", start_new_session=True)
    child.returncode = 0  # nobody waits for it: Python is not to mention that


class Child:
    """A child that runs beside us. What it writes to stderr goes to a file without a name, to be looked at later.

    A pipe would not do: what a child leaves in the background, as ssh does a shared connection, may keep it open.
    """

    def __init__(self, argv: Sequence[str], stdin: Any, stdout: Any, environ: Mapping[str, str] | None) -> None:
        import subprocess
        import tempfile

        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until `ended`
        try:
            self._popen = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=self._said, env=environ)
        except OSError as error:
            self._said.close()
            raise _not_started(Command([*argv]), error) from error
        self.stdin, self.stdout = self._popen.stdin, self._popen.stdout
        self._rest: bytes | None = None

    def write(self, data: bytes) -> None:
        """Write to its stdin, a pipe; BrokenPipeError when it reads no more."""
        assert self.stdin
        self.stdin.write(data)
        self.stdin.flush()

    def let_go(self) -> None:
        """Close our end of its stdin: it reads to the end then, or another child writes on."""
        assert self.stdin
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.stdin = self._popen.stdin = None

    def await_line(self, line: bytes) -> None:
        """Return when it has written that line on stdout, or nothing more comes."""
        assert self.stdout
        while self.stdout.readline() not in (line, b""):
            pass

    def finish(self, data: bytes = b"") -> bytes:
        """Write `data` to its stdin, if that is a pipe, and end it; return the rest of its stdout when it has ended.

        When it has been finished before, that is what it returned then.
        """
        if self._rest is None:
            self._rest = self._popen.communicate(data or None)[0] or b""
        return self._rest

    def wait(self) -> int:
        """Wait for it and return its exit status, 128 and its number for a signal."""
        status = self._popen.wait()
        return status if status >= 0 else 128 - status

    @property
    def complaint(self) -> str:
        """What it has written to stderr."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def end(self) -> None:
        """Make it end if it has not ended."""
        self._popen.terminate()

    def ended(self) -> None:
        """See it end, killed if it does not heed `end`, and let go of its streams."""
        from subprocess import TimeoutExpired

        try:
            self._popen.wait(_PATIENCE)
        except TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for stream in (self.stdin, self.stdout, self._said):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()


class Children:
    """Children that several threads start, and that end together."""

    def __init__(self) -> None:
        import threading

        self._started: list[Child] = []
        self._open = True
        self._lock = threading.Lock()

    def end(self) -> None:
        """End those that have not ended, see them end, and let none be started any more."""
        with self._lock:
            self._open = False
        with signals_held():  # a second one, of somebody impatient, would leave some of them behind
            for child in self._started:
                child.end()
            for child in self._started:
                child.ended()

    def start(
        self, argv: Sequence[str], *, stdin: Any = None, stdout: Any = None, environ: Mapping[str, str] | None = None
    ) -> Child:
        """Start a child: `stdin` is what it reads, nothing if not given, `stdout` where it writes, a pipe if not given.

        `environ` is the whole of its environment; ours, if not given.
        """
        import subprocess

        with self._lock:
            if not self._open:
                raise DockerutilsError("it was interrupted; run the command again")
            child = Child(argv, subprocess.DEVNULL if stdin is None else stdin, stdout or PIPE, environ)
            self._started.append(child)
        return child


@contextmanager
def children() -> Iterator[Children]:
    """Give what starts children that have all ended when the block has, however it ends: also by a Ctrl-C."""
    family = Children()
    try:
        yield family
    finally:
        family.end()


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
    if program == "ssh":
        return "install the OpenSSH client, or add its directory to PATH"
    if program == "rsync":
        return "install rsync (3.1 or newer), or add its directory to PATH"
    return "correct its path, or make it executable (chmod +x)"


@contextmanager
def signals_held() -> Iterator[None]:
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
