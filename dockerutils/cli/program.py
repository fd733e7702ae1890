"""A command from argv to its exit status.

Commands import this module only: it also has the names of parser.py that they use.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from dockerutils.cli import signals
from dockerutils.cli.parser import AWS_JOBS, FOR_PLATFORM, Parser, add_docker_option, aws_dock_parser
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, Terminated, UserError
from dockerutils.docker import references
from dockerutils.project.project import Project, find

__all__ = [
    "AWS_JOBS",
    "FOR_PLATFORM",
    "Parser",
    "add_docker_option",
    "aws_dock_parser",
    "main",
    "project",
    "reference",
    "seconds",
]


def project() -> Project:
    """Return the project of the current directory; in a docked shell, make sure that docker can connect."""
    found = find(_current_directory(), os.environ)
    if found.docked:
        from dockerutils.docks import remote  # late, for the start of a command that is not docked

        remote.check_docked_shell(os.environ)
    return found


def reference(name: str) -> str:
    """Return the reference of the image `name` of the current project, or `name` itself if it has no such image."""
    try:
        here = project()
    except UserError:
        here = None
    if here and name in here.names():
        return here.image(name).reference
    if fault := references.fault(name):
        raise UserError(fault)
    return name


def seconds(text: str) -> float:
    """Return the seconds given by `-t`; UserError unless they are a positive number."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UserError(f"-t: {text!r} is not a number of seconds; write a number above 0")
    return number


def main(parser: Parser, handle: Callable[[argparse.Namespace], None], argv: Sequence[str] | None) -> int:
    """Run a command: parse, handle, and turn any error into a status and at most one line on stderr."""
    status: object = 0
    _open_standard_streams()
    with signals.as_exceptions():
        try:
            args = parser.parse(sys.argv[1:] if argv is None else argv)
            console.show_commands(not getattr(args, "quiet", False), reads=getattr(args, "verbose", False))
            handle(args)
            sys.stdout.flush()
        except SystemExit as end:  # argparse has shown its help, or what is wrong with the usage
            status = end.code
        except DockerutilsError as error:
            _fail(parser.prog, str(error))
            status = error.status
        except KeyboardInterrupt:
            status = signals.INTERRUPTED
        except Terminated as end:
            status = 128 + end.signum
        except BrokenPipeError:
            # The reader of our output is gone. Python would fail once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = signals.BROKEN_PIPE
        except OSError as error:
            _fail(parser.prog, _explain(error))
            status = 1
    return status if isinstance(status, int) else 0


def _fail(command: str, message: str) -> None:
    """Print what is wrong, if there is a message; the status says it too if stderr is on a full disk."""
    if message:
        with suppress(OSError):
            console.fail(command, message)


def _open_standard_streams() -> None:
    """Replace each standard stream that is closed with /dev/null, before a file takes its descriptor."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise DockerutilsError("the current directory was removed; change to one that exists") from None


def _explain(error: OSError) -> str:
    what = f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"
    return f"{what}; {_REMEDIES.get(error.errno or 0, 'fix this and try again')}"


_REMEDIES = {
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some of your disk quota",
    errno.EACCES: "change its permissions",
    errno.EROFS: "make the file system writable",
    errno.ENOTDIR: "move the file that is in its place",
    errno.EEXIST: "move the file that is in its place",
    errno.EISDIR: "move the directory that is in its place",
}
