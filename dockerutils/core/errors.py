"""Errors, as exceptions that carry the exit status of the command."""

from __future__ import annotations


class DockerutilsError(Exception):
    """A failure with a message of one line: what is wrong; what to do."""

    status = 1
    # Whether the action that raised this certainly changed nothing.
    is_final = False


class UserError(DockerutilsError):
    """Bad usage or configuration, found before anything ran."""

    status = 2


class CommandFailed(DockerutilsError):
    """A child failed with an exit status. The message is empty if the child has printed its own.

    `stderr` is the end of what the child wrote there, if it was shown escaped or held (see process.run) or by jobs.
    """

    def __init__(self, status: int, message: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.stderr = stderr


class Terminated(BaseException):
    """SIGTERM, SIGHUP or SIGQUIT arrived; raised in the main thread, so that every `finally` runs."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def remedy_for_reading(error: OSError) -> str:
    """Return what to do about a file that cannot be read."""
    return "change its permissions" if isinstance(error, PermissionError) else "remove or replace it"
