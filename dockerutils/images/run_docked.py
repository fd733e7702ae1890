"""Run an image on the dock of the shell: with the project's files, and its ports on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.docker import invocation
from dockerutils.docks import forwarding, inventory, project_copy, sync
from dockerutils.docks.project_copy import Copy
from dockerutils.project.project import Image, Project


class Syncing(NamedTuple):
    """How a run syncs the project.

    `up`: None to sync up if the run mounts the project, and the key `sync` of its section does not say no. `down`: also
    sync down at the end. `adopt`: take over the copy of another checkout. `yes`: send much data without a question.
    """

    up: bool | None = None
    down: bool = False
    adopt: bool = False
    yes: bool = False


def start(project: Project, image: Image, run: invocation.Run, syncing: Syncing, *, dry_run: bool = False) -> None:
    """Sync the project up if the run mounts it, run the container, and sync down if that is wanted.

    The published ports are forwarded to this machine. Docker replaces this process, unless there is something to do
    afterwards. A failure of docker raises CommandFailed with its status, one of a sync what `sync` raises.
    """
    dock = inventory.choose(None, project.environ, os.path.expanduser("~"))
    ports = invocation.published(run.options)
    detached = invocation.is_detached(run)
    if not dry_run:
        forwarding.require_free(dock, ports)
    _provide_files(Copy(project, dock), image, run, syncing, dry_run=dry_run)
    command = invocation.run(run, project.root)
    if not (ports or syncing.down):
        process.replace(command, dry_run=dry_run)
        return
    try:
        with forwarding.forwarded(dock, ports, container=run.name if detached else "", dry_run=dry_run):
            process.run(command, dry_run=dry_run)
    finally:
        if syncing.down and not detached:  # a detached container still writes its files
            sync.after_run(project, dock, run.name, dry_run=dry_run)
    if syncing.down and detached and not dry_run:
        console.note("run-image", f"to see its log and to fetch its files at its end, run: attach-image {image.name}")


@contextmanager
def synced(
    project: Project, image: Image, run: invocation.Run, syncing: Syncing, *, dry_run: bool = False
) -> Iterator[None]:
    """Sync the project up before the block if `run` mounts it, and down after the block if that is wanted.

    Containers whose names begin with that of `run` and a dash can run in the block. Raise what `sync` raises.
    """
    copy = Copy(project, inventory.choose(None, project.environ, os.path.expanduser("~")))
    _provide_files(copy, image, run, syncing, dry_run=dry_run)
    try:
        yield
    finally:
        if syncing.down:
            sync.after_run(project, copy.dock, run.name, dry_run=dry_run)


def _provide_files(copy: Copy, image: Image, run: invocation.Run, syncing: Syncing, *, dry_run: bool) -> None:
    """Make sure that the dock has what the run mounts of the project."""
    project, dock = copy
    wanted = sync.Run(run.name if syncing.down else "", *mounted(project, run))
    is_mounted = any(_below_copy(project, invocation.bound(run.options)))
    does_sync = project.settings(image.name).boolean("sync") if syncing.up is None else syncing.up
    if syncing.down or (is_mounted and does_sync):
        sync.before_run(project, dock, wanted, sync.Options(yes=syncing.yes, adopt=syncing.adopt, dry_run=dry_run))
    elif is_mounted and not dry_run:
        sync.require(project, dock, wanted, f"run-image {image.name} --sync")


def mounted(project: Project, run: invocation.Run) -> tuple[list[str], list[str]]:
    """Return the paths of the project, from the root, that a run mounts, and those of them that `-v` mounts."""

    def below(paths: Iterable[str]) -> list[str]:
        return [path for path in dict.fromkeys(_below_copy(project, paths)) if path != os.curdir]

    return below(invocation.bound(run.options)), below(invocation.bound_by_volume(run.options))


def local_mounts(project: Project, run: invocation.Run) -> Iterator[str]:
    """Yield the mounted paths that exist on this machine: on a dock, other files or none have these paths."""
    for path in invocation.bound(run.options):
        if os.path.exists(path) and not any(_below_copy(project, [path])):
            yield path


def _below_copy(project: Project, paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that are in the project's copy, from its root, `.` for the copy itself."""
    copy = project_copy.path(project)
    for path in map(os.path.normpath, paths):
        if f"{path}/".startswith(f"{copy}/"):
            yield os.path.relpath(path, copy)
