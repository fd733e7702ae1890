"""Attach to a run on the dock of the shell: show its log, return its exit status, and fetch its files."""

from __future__ import annotations

import os

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import Captured, Command
from dockerutils.core.process.children import children
from dockerutils.docks import copy_state, inventory, runs, sync
from dockerutils.docks.runs import Run
from dockerutils.project.project import Project

_COMMAND = "attach-image"
_PATIENCE = 10.0  # seconds for the engine to say how a run has ended


def attach(project: Project, image: str, container: str | None, tail: str | None, *, dry_run: bool = False) -> None:
    """Show the log of a run of an image until the run ends; then fetch its files, if it was started with --sync.

    `container` names one of several runs; the default is the newest, first of those started in this checkout. `tail`:
    begin with that many last lines. CommandFailed carries the exit status of the container, if that is not 0, or says
    that the connection ended. DockerutilsError if there is no such run.
    """
    dock = inventory.choose(None, project.environ, os.path.expanduser("~"))
    run = _chosen(project, dock.moniker, image, container)
    tailing = ["--tail", tail] if tail else []
    command = Command(["docker", "logs", "--follow", *tailing, run.container])
    if dry_run:
        process.run(command, dry_run=True)
        return
    status = _follow(command, run, image, dock.moniker)
    sync.fetch_if_marked(project, dock, run.container)
    if status is None:
        raise DockerutilsError(f"{run.container} has ended and was removed, so its exit status is not known")
    console.note(_COMMAND, f"{run.container} ended with status {status}")
    if status:
        raise CommandFailed(status)


def _follow(command: Command, run: Run, image: str, moniker: str) -> int | None:
    """Show the log until the container ends, and return its exit status, None if it has been removed.

    CommandFailed if the connection ended and the container still runs.
    """
    is_complete = True
    with children() as family:
        # For a container that docker removes at its end, and that has no status afterwards.
        waiting = family.start(["docker", "wait", run.container])
        try:
            process.run(command)
        except KeyboardInterrupt:
            console.note(_COMMAND, f"{run.container} is still running; to follow it again, run: attach-image {image}")
            raise
        except CommandFailed:
            is_complete = False
        state = ["docker", "container", "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", run.container]
        [answer] = process.capture_within([state], _PATIENCE, lambda answer: is_complete and _is_running(answer))
        if answer and answer.stdout.startswith("false "):
            return int(answer.stdout.split()[1])
        if answer and "no such container" in answer.stderr.lower():
            status = waiting.finish().decode(errors="replace").strip()
            return int(status) if status.isdecimal() else None
    raise CommandFailed(
        1,
        f"the connection to dock {moniker} ended, but the run continues; to follow it again, run: attach-image {image}",
    )


def _is_running(answer: Captured) -> bool:
    return answer.stdout.startswith("true ")


def _chosen(project: Project, moniker: str, image: str, container: str | None) -> Run:
    found = [run for run in runs.of_project(project) if run.image == image and container in (None, run.container)]
    if not found:
        what = f"{image} with the name {container}" if container else image
        raise DockerutilsError(
            f"dock {moniker} has no run of {what}; to list the runs, run: ls-image; to start one, "
            f"run: run-image {image} -k --sync"
        )
    here = copy_state.origin(project.root)
    first = min(found, key=lambda run: (run.origin != here, not run.is_running))
    others = [run.container for run in found if run.is_running and run != first]
    if others:
        console.note(_COMMAND, f"attaching to {first.container}; --name chooses another run: {', '.join(others)}")
    if first.origin != here:
        console.note(_COMMAND, f"{first.container} was started in {first.origin}, not in {here}")
    return first
