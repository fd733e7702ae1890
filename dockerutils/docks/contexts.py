"""The docker contexts of docks: `docker --context dock-gpu` and editors reach the engine that a docked shell has."""

from __future__ import annotations

from dockerutils.core import process
from dockerutils.docks.records import Dock


def keep(dock: Dock, *, dry_run: bool) -> None:
    """Create the context of a dock, or correct it; CommandFailed or DockerutilsError when docker cannot."""
    endpoint = _endpoint(dock)
    if endpoint != dock.docker_host:
        verb = "create" if endpoint is None else "update"
        argv = ["docker", "context", verb, "--docker", f"host={dock.docker_host}", dock.host]
        process.run(process.Command(argv), dry_run=dry_run, to_stderr=True)


def drop(dock: Dock, *, dry_run: bool) -> None:
    """Remove the context of a dock, though it may be the current one; one that leads elsewhere is not ours."""
    if _endpoint(dock) == dock.docker_host:
        process.run(process.Command(["docker", "context", "rm", "--force", dock.host]), dry_run=dry_run, to_stderr=True)


def _endpoint(dock: Dock) -> str | None:
    """Return where the context of that name leads to, None when there is none."""
    answer = process.capture(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}", dock.host])
    return None if answer.status else answer.stdout.strip()
