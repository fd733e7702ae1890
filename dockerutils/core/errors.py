"""What can go wrong, as exceptions that carry the exit status of the command."""

from __future__ import annotations


class DockerutilsError(Exception):
    """A failure that a user can cause, told in one line: what is wrong; what to do."""

    status = 1
    # Whether the action that raised this certainly changed nothing.
    is_final = False


class UserError(DockerutilsError):
    """Bad usage or bad configuration, found before anything ran."""

    status = 2


class CommandFailed(DockerutilsError):
    """A child ended with a status other than 0; it has said why itself, so there need be no message of ours."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived; raised in the main thread, so that every `finally` runs on the way out."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
