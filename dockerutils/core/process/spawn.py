"""The only place that starts a child or replaces this process. It also ends children, and defers signals."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from dockerutils.core.errors import DockerutilsError, Terminated

if TYPE_CHECKING:
    from subprocess import Popen
    from typing import TypeAlias

    Process: TypeAlias = Popen[bytes]

# The signals that end a command, and its children with it.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Seconds that a child gets to end by itself after Ctrl-C, which the terminal sends to both of us.
GRACE = 0.5
# Seconds that a child gets to end after a signal, before SIGKILL.
PATIENCE = 10.0
# subprocess.PIPE and DEVNULL: constants, so that -h does not import subprocess. The descriptors of stdout and stderr.
PIPE, DEVNULL = -1, -3
STDOUT, STDERR = 1, 2


class Streams(NamedTuple):
    """Where a child's streams lead: each is a file, a descriptor, PIPE, DEVNULL, or None for ours."""

    stdin: Any = None
    stdout: Any = None
    stderr: Any = None


def start(
    argv: Sequence[str],
    streams: Streams,
    *,
    directory: str | None = None,
    environ: Mapping[str, str] | None = None,
    detached: Collection[int] | None = None,
) -> Process:
    """Start a child; DockerutilsError says why it cannot be started and what to do.

    `environ` is the child's whole environment, by default ours. A `detached` child gets a session of its own
    and inherits these file descriptors.
    """
    import subprocess  # late, as threading and TimeoutExpired: -h and commands that docker replaces start no child

    try:
        return subprocess.Popen(
            argv,
            -1,
            None,
            *streams,
            cwd=directory,
            env=environ,
            start_new_session=detached is not None,
            pass_fds=detached or (),
        )
    except OSError as error:
        raise not_started(argv[0], error) from error


def become(argv: list[str], *, directory: str | None, environ: Mapping[str, str]) -> NoReturn:
    """Replace this process; DockerutilsError says why that is not possible and what to do."""
    # Python ignores SIGPIPE, and a signal that is ignored stays ignored in the program that replaces us.
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        if directory is not None:
            os.chdir(directory)
        os.execvpe(argv[0], argv, environ)  # noqa: S606
    except OSError as error:
        signal.signal(signal.SIGPIPE, before)
        raise not_started(argv[0], error) from error


def status(child: Process) -> int:
    """Return the exit status of a child that has ended: 128 plus the signal's number for one that a signal ended."""
    code = child.returncode
    return code if code >= 0 else 128 - code


def end(children: Iterable[Process], patience: float | None = None) -> None:
    """Terminate children and wait for them; kill those that still run after `patience` seconds, by default PATIENCE."""
    from subprocess import TimeoutExpired

    running = [each for each in children if each.poll() is None]
    with deferred_signals():  # a second Ctrl-C would leave some of them behind
        for each in running:
            each.terminate()
        for each in running:
            try:
                each.wait(PATIENCE if patience is None else patience)
            except TimeoutExpired:
                each.kill()
                each.wait()


def end_after(interruption: BaseException, child: Process) -> None:
    """Pass the signal that ended our wait to the child, and wait for its end; a second signal kills it."""
    from subprocess import TimeoutExpired

    try:
        if isinstance(interruption, Terminated):
            child.send_signal(interruption.signum)
        else:
            try:
                child.wait(GRACE)
            except TimeoutExpired:
                child.send_signal(signal.SIGINT)
        child.wait(PATIENCE)
    except (TimeoutExpired, KeyboardInterrupt, Terminated):
        child.kill()
        child.wait()


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer SIGINT, SIGTERM, SIGHUP and SIGQUIT to the end of the block, where one of them would leave a child behind.

    If the block raises, they come too: what failed can have failed because its child got the same signal. Signals that
    are ignored stay ignored. Python handles signals in the main thread; elsewhere there is nothing to do.
    """
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handled = [each for each in SIGNALS if callable(signal.getsignal(each))]
    before = {each: signal.signal(each, lambda signum, _: arrived.append(signum)) for each in handled}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for signum in arrived:
            signal.raise_signal(signum)


def not_started(program: str, error: OSError) -> DockerutilsError:
    """Return what an error of exec(3) means: what is wrong; what to do."""
    if error.errno == errno.E2BIG:
        return DockerutilsError(
            f"{program} cannot be started: the arguments and environment variables are too long; shorten them"
        )
    if isinstance(error, FileNotFoundError):
        where = "was not found" if os.sep in program else "was not found on PATH"
        return DockerutilsError(f"{program} {where}; {_remedy(program)}")
    return DockerutilsError(f"{program} cannot be started: {error.strerror}; {_remedy(program)}")


def _remedy(program: str) -> str:
    if program == "docker":
        return "install the docker command-line client, or add its directory to PATH"
    if program == "ssh":
        return "install the OpenSSH client, or add its directory to PATH"
    if program == "rsync":
        return "install rsync (3.1 or newer), or add its directory to PATH"
    return "correct its path, or make it executable (chmod +x)"
