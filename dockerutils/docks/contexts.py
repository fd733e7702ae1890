"""The docker contexts of docks: `docker --context dock-gpu` and editors reach the same engine as a docked shell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.docks.records import Dock

# For docker context: docker 20.10 first connects to DOCKER_HOST, and would open the connection to a dock again.
_UNDOCKED = {"DOCKER_HOST": ""}


def keep(dock: Dock, *, dry_run: bool, command: str) -> None:
    """Create the context of a dock, or correct it; CommandFailed if docker refuses. Without docker, `command` warns."""
    with _optional(command, f"no docker context {dock.host}"):
        endpoint = _endpoint(dock)
        if endpoint != dock.docker_host:
            verb = "create" if endpoint is None else "update"
            argv = ["docker", "context", verb, "--docker", f"host={dock.docker_host}", dock.host]
            process.run(process.Command(argv), dry_run=dry_run, unshown=_UNDOCKED, to_stderr=True)


def drop(dock: Dock, *, dry_run: bool, command: str) -> None:
    """Remove the context of a dock, even the current one; CommandFailed if docker refuses.

    One with another endpoint is the user's own. Without docker, `command` warns.
    """
    with _optional(command, f"the docker context {dock.host} may still exist"):
        if _endpoint(dock) == dock.docker_host:
            argv = ["docker", "context", "rm", "--force", dock.host]
            process.run(process.Command(argv), dry_run=dry_run, unshown=_UNDOCKED, to_stderr=True)


@contextmanager
def _optional(command: str, problem: str) -> Iterator[None]:
    try:
        yield
    except CommandFailed:
        raise
    except DockerutilsError as error:
        console.warn(command, f"{problem}: {error}")


def _endpoint(dock: Dock) -> str | None:
    """Return the endpoint of the context with a dock's name, None if there is no such context."""
    argv = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}", dock.host]
    [answer] = process.capture_all([argv], environs=[{**os.environ, **_UNDOCKED}])
    return None if answer.status else answer.stdout.strip()
