"""Run an image of a project: combine its section with a request, and start the container here or on the dock."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dockerutils.core import process, shell_words
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import engine, invocation
from dockerutils.project.config import GPU, Fields
from dockerutils.project.project import CONFIGURED, Image, Project


class Request(NamedTuple):
    """A request for one run. None leaves a setting to the image's section.

    `command` and `args` are words, `environment` holds `NAME` or `NAME=VALUE`. `aws` passes the AWS variables to a
    container on a dock; `terminal` tells whether stdin and stdout are a terminal.
    """

    command: Sequence[str] | None = None
    environment: Sequence[str] = ()
    args: Sequence[str] | None = None
    network: str | None = None
    use_gpu: bool = False
    keep: bool = False
    aws: bool = False
    terminal: bool = False


def configure(project: Project, image: Image, request: Request) -> invocation.Run:
    """Return the options of `docker run` for an image: the request's before the section's.

    UserError names the file, line and key of a wrong setting.
    """
    settings = project.settings(image.name)
    interactive = settings.options("interactive") or ["-it"]
    gpu = settings.options("gpu")
    return invocation.Run(
        reference=image.reference,
        name=container_name(image.name, project),
        init=settings.options("init"),
        environment=_environment(project, image, request),
        interactive=interactive if request.terminal else invocation.without_terminal(interactive),
        gpu=shell_words.split(GPU) if request.use_gpu and settings.value("gpu") is None else gpu,
        network=settings.word("network") if request.network is None else request.network,
        volumes=settings.options("volumes", _fields_on_dock(project) if project.docked else None),
        ports=settings.options("ports"),
        args=settings.options("args") if request.args is None else request.args,
        cmd=settings.command("cmd") if request.command is None else request.command,
        keep=request.keep or settings.boolean("keep_container"),
    )


def require_image(project: Project, image: Image) -> None:
    """Raise DockerutilsError, with the command that builds the image, if the engine does not have it.

    Docker pulls a configuration-only image itself.
    """
    if not engine.has_image(image.reference, project.environ) and image.kind != CONFIGURED:
        raise DockerutilsError(f"{image.reference} is not built yet; run: {project.build_command(image)}")


def start(project: Project, run: invocation.Run, *, sync_project: bool = False, dry_run: bool = False) -> None:
    """Run the container. Docker replaces this process, unless there is something to do afterwards on a dock.

    On a dock the published ports are forwarded to this machine. With `sync_project` the project is synced up before
    and down after the run. A failure of docker raises CommandFailed with its status.
    """
    command = invocation.run(run, project.root)
    ports = invocation.published(run.options)
    if not project.docked or not (ports or sync_project):
        process.replace(command, dry_run=dry_run)
        return
    from dockerutils.docks import forwarding, inventory, sync  # late, for the start of a run that is not docked

    dock = inventory.choose(None, project.environ, os.path.expanduser("~"))
    detached = invocation.is_detached(run)
    if not dry_run:
        forwarding.require_free(dock, ports)
    if sync_project:
        sync.before_run(project, dock, run.name, dry_run=dry_run)
    try:
        with forwarding.forwarded(dock, ports, container=run.name if detached else "", dry_run=dry_run):
            process.run(command, dry_run=dry_run)
    finally:
        if sync_project and not detached:  # a detached container still writes its files
            sync.after_run(project, dock, run.name, dry_run=dry_run)


def local_mounts(project: Project, run: invocation.Run) -> Iterator[str]:
    """Yield the mounted paths that exist on this machine: on a dock, other files or none have these paths."""
    from dockerutils.docks import sync  # late, as in start

    copy = sync.path(project)
    for path in invocation.bound(run.options):
        if os.path.exists(path) and not f"{path}/".startswith(f"{copy}/"):
            yield path


def container_name(image: str, project: Project) -> str:
    """Return `<user>_<image>_<yy-mm-dd_HH.MM.SS>` in local time, with microseconds so that two runs differ."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    now = time.strftime("%y-%m-%d_%H.%M.%S", time.localtime(seconds))
    name = f"{project.user}_{image}_{now}.{nanoseconds // 1000:06}"
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip("_.-")


def _fields_on_dock(project: Project) -> Fields:
    """Return the fields of local paths as paths of the project's copy on a dock."""
    from dockerutils.docks import sync  # late, as in start

    root = sync.path(project)
    below = os.path.relpath(project.workdir, project.root)
    workdir = root if below == os.curdir else f"{root}/{below}"
    return {"project_root": lambda: root, "root": lambda: root, "workdir": lambda: workdir}


def _environment(project: Project, image: Image, request: Request) -> list[str]:
    """Return the `-e` options: the AWS variables by name, then the section's, then the request's.

    Other users of a dock's engine can read what a container is given, so AWS variables go there on request only.
    """
    settings = project.settings(image.name)
    section = settings.value("env")
    aws = invocation.AWS_VARIABLES if request.aws or not project.docked else ()
    variables = [
        *(name for name in aws if project.environ.get(name)),
        *(invocation.assign(name, value) for name, value in (project.variables(section) if section else {}).items()),
    ]
    return [*_each(variables), *settings.options("environment"), *_each(request.environment)]


def _each(variables: Sequence[str]) -> list[str]:
    return [word for variable in variables for word in ("-e", variable)]
