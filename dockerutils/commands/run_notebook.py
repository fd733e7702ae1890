"""Run JupyterLab in a container, here or on the dock, with the project in it, and open it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from dockerutils.cli import program
from dockerutils.commands import build_image
from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Command
from dockerutils.docker import engine, invocation, references
from dockerutils.docks import forwarding, inventory, records, sync
from dockerutils.docks.records import Dock
from dockerutils.images.run import Request, configure
from dockerutils.notebooks import server
from dockerutils.notebooks.server import Visit
from dockerutils.project.project import CONFIGURED, Image, Project

_EXAMPLES = """\
  run-notebook                     the project in JupyterLab; the browser opens, Ctrl-C ends it
  run-notebook -g                  with the GPUs
  run-notebook -p 9000             at port 9000; --no-browser only prints the URL"""
_ENVIRONMENT = """\
  DOCKER_DS_DONT_PULL                     when set, the image is not pulled
  RESERO_JUPYTER_DIFFS, DOCKER_DS_DIFFS   either is passed on: the image writes .py and .html beside the notebooks"""

_NAME = "notebook"
_DEFAULT = "resero-labs/docker-ds"
_DONT_PULL = "DOCKER_DS_DONT_PULL"
_DIFFS = ("RESERO_JUPYTER_DIFFS", "DOCKER_DS_DIFFS")
_HOME = "/home/jovyan"  # of the image's user, in the images of jupyter/docker-stacks and those like them
_CHOICE = (
    "write docker/notebook/Dockerfile, or name another image in [notebook] of docker/dockerutils.cfg: prefix = False "
    "and, for one of jupyter/docker-stacks, name = jupyter/scipy-notebook"
)

# What a dock is asked: where something listens, and what there is to be mounted.
_SURVEY = """\
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
for each in /data "$HOME/.aws"; do [ ! -d "$each" ] || printf '%s\\n' "$each"; done
"""


class Cut(CommandFailed):
    """The connection to the dock has ended, and the container has not."""


class Place(NamedTuple):
    """Where the container is to run: the ports in use there, and the directories to mount beside the project."""

    listening: set[int]
    directories: list[str]


def parser() -> program.Parser:
    """Return the parser of run-notebook."""
    parser = program.Parser("run-notebook", f"{__doc__}", _EXAMPLES, environment=_ENVIRONMENT)
    parser.add_argument(
        "-g", "--use-gpu", action="store_true", help="use the GPUs; of an image that is pulled, tag gpu"
    )
    parser.add_argument(
        "-p", "--port", metavar="PORT", help="port of this machine; else 8888, or the next that is free"
    )
    parser.add_no_browser()
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Build or pull the image, and run it where the shell's docker commands go."""
    if args.port is not None and (fault := records.fault_in_port(args.port)):
        raise UserError(f"-p: {fault}")
    project = here()
    image = chosen(project, use_gpu=args.use_gpu)
    for warning in project.config.unknown_keys(_NAME):
        console.warn("run-notebook", warning)
    dock = inventory.choose(None, project.environ, os.path.expanduser("~")) if project.docked else None
    if dock and not args.dry_run and resumed(project, dock, args):
        return
    place = surveyed(dock, dry_run=args.dry_run)
    port = server.free_port(int(args.port) if args.port else None, place.listening)
    run = facts(project, image, port, place, use_gpu=args.use_gpu)
    provide(project, image, dry_run=args.dry_run)
    visit = Visit("run-notebook", port, server.token())
    if dock:
        on_dock(project, dock, run, visit, args)
    else:
        serve(invocation.run(run, project.root), run.name, visit, args)


def here() -> Project:
    """Return the project of the current directory, the directory itself where it belongs to none."""
    try:
        return program.project()
    except UserError:
        directory = os.getcwd()
        return Project(directory, directory, os.environ)


def chosen(project: Project, *, use_gpu: bool) -> Image:
    """Return the image that is the project's notebook, the default one when it has none."""
    newest = "gpu" if use_gpu else "latest"
    if _NAME not in project.names():
        return Image(_NAME, CONFIGURED, None, _DEFAULT, newest)
    settings = project.settings(_NAME)
    is_tagged = settings.value("tag") or references.split(settings.text("name"))[1]
    is_pulled = _NAME not in {*project.directories(), *project.synthetic()}
    return project.image(_NAME, newest if is_pulled and not is_tagged else None)


def surveyed(dock: Dock | None, *, dry_run: bool) -> Place:
    """Return what is known of where the container is to run; a dry run asks no dock."""
    if dry_run and dock:
        return Place(set(), [])
    if dock:
        lines = server.ask(dock, _SURVEY)
        return Place(server.listening(lines), [line for line in lines if line.startswith("/")])
    return Place(set(), [each for each in ("/data", os.path.expanduser("~/.aws")) if os.path.isdir(each)])


def facts(project: Project, image: Image, port: int, place: Place, *, use_gpu: bool) -> invocation.Run:
    """Gather what `docker run` is told: what run-image would tell it, and what makes it a notebook at that port."""
    run = configure(project, image, Request(use_gpu=use_gpu))
    root = sync.path(project) if project.docked else project.root
    mounts = {f"{_HOME}/project": root}
    mounts |= {f"{_HOME}/.aws" if each.endswith("/.aws") else each: each for each in place.directories}
    own = [word for there, here in mounts.items() if not _mounts(run, there) for word in ("-v", f"{here}:{there}")]
    passed = [server.TOKEN, *(name for name in _DIFFS if project.environ.get(name))]
    return run._replace(
        environment=[*run.environment, *(word for name in passed for word in ("-e", name))],
        interactive=[],
        volumes=[*own, *run.volumes],
        ports=["-p", f"{server.LOOPBACK}:{port}:{server.PORT}", *invocation.without_port(run.ports, server.PORT)],
        keep=False,
    )


def _mounts(run: invocation.Run, there: str) -> bool:
    """Tell whether the section has something mounted there already."""
    return any(there in word.replace("=", ":").replace(",", ":").split(":") for word in (*run.volumes, *run.args))


def provide(project: Project, image: Image, *, dry_run: bool) -> None:
    """Build the image, or pull it; DockerutilsError says what to configure when there is none in the end."""
    if image.directory is not None:
        tag = ["-t", image.tag] if image.tag != project.image(image.directory).tag else []
        with on_stderr(dry_run=dry_run):
            build_image.handle(
                build_image.parser().parse([image.directory, "-f", *tag, *(["--dry-run"] if dry_run else [])])
            )
    elif not project.environ.get(_DONT_PULL):
        pull(project, image, dry_run=dry_run)
    elif not (dry_run or engine.has_image(image.reference, project.environ)):
        raise DockerutilsError(f"{image.reference} is not here, and {_DONT_PULL} is set; unset it, or {_CHOICE}")


def pull(project: Project, image: Image, *, dry_run: bool) -> None:
    """Pull the image; one that is here will do when that fails."""
    if not dry_run:
        engine.require()
    try:
        process.run(Command(["docker", "pull", image.reference]), dry_run=dry_run, to_stderr=True)
    except CommandFailed as failure:
        if not engine.has_image(image.reference, project.environ):
            raise CommandFailed(
                failure.status, f"{image.reference} cannot be pulled, and is not here; {_CHOICE}"
            ) from None
        console.warn("run-notebook", f"{image.reference} cannot be pulled; the one that is here is run")


@contextmanager
def on_stderr(*, dry_run: bool) -> Iterator[None]:
    """Let what children write on stdout go to stderr: stdout is the URL's."""
    if dry_run:
        yield
        return
    sys.stdout.flush()
    before = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def serve(command: Command, container: str, visit: Visit, args: argparse.Namespace, dock: Dock | None = None) -> None:
    """Run what starts the container, or joins it, and tell when Jupyter answers; the container ends with this.

    It goes on when the connection to the dock has ended: that is Cut.
    """
    if args.dry_run:
        process.run(command, dry_run=True)
        return
    status = 0
    try:
        with server.awaited(visit, browser=not args.no_browser, environ=os.environ, late=_is_late) as there:
            process.run(command, unshown={server.TOKEN: visit.token}, to_stderr=True)
    except CommandFailed as failure:
        status = failure.status
    except BaseException:
        with process.deferred_signals():
            process.capture(["docker", "stop", container])  # it may have heeded the signal
        raise
    if dock and is_running(container):
        raise Cut(
            status or 1,
            f"the connection to dock {dock.moniker} was cut, and the notebook runs on there; run run-notebook again: "
            "it joins it, and brings its files here when it ends",
        )
    if not there.is_set():
        raise CommandFailed(
            status or 1,
            f"docker ended with status {status} before Jupyter answered, and what was said last stands above; the "
            f"image is to start Jupyter at port {server.PORT}",
        )
    if status:
        raise CommandFailed(status)


def _is_late() -> None:
    console.warn("run-notebook", f"Jupyter has not answered for {server.PATIENCE:.0f} s; see above, or press Ctrl-C")


def is_running(container: str) -> bool:
    """Tell whether the container runs, as far as one can tell: yes, when the engine is out of reach."""
    answer = process.capture(["docker", "container", "inspect", "--format", "{{.State.Running}}", container])
    return answer.stdout.strip() == "true" if not answer.status else "no such container" not in answer.stderr.lower()


def on_dock(project: Project, dock: Dock, run: invocation.Run, visit: Visit, args: argparse.Namespace) -> None:
    """Run on the dock, with its port here: the project goes there before, and comes back in the end."""
    sync.before_run(project, dock, dry_run=args.dry_run)
    if not args.dry_run:
        _remember(project, dock, run.name)
    ports = invocation.published([*run.ports, *run.args])
    with ended(project, dock, args), forwarding.forwarded(dock, ports, dry_run=args.dry_run):
        serve(invocation.run(run, project.root), run.name, visit, args, dock)


@contextmanager
def ended(project: Project, dock: Dock, args: argparse.Namespace) -> Iterator[None]:
    """Bring the project back when the block has ended, however it has; not when the container runs on."""
    try:
        yield
    except Cut:
        raise
    except BaseException:
        fetch(project, dock, dry_run=args.dry_run)
        raise
    fetch(project, dock, dry_run=args.dry_run)


def fetch(project: Project, dock: Dock, *, dry_run: bool = False) -> None:
    """Bring the project back from the dock; it is to be done again if it fails."""
    sync.after_run(project, dock, dry_run=dry_run)
    if not dry_run:
        with suppress(FileNotFoundError):
            os.unlink(_memory(project, dock))


def resumed(project: Project, dock: Dock, args: argparse.Namespace) -> bool:
    """Take up what an earlier run has left on the dock; tell whether that was a notebook, which has now ended.

    One that runs on is joined; the files of one that has ended are brought here.
    """
    try:
        with open(_memory(project, dock), encoding="utf-8") as stream:
            container = stream.read().strip()
    except FileNotFoundError:
        return False
    engine.require()
    if not is_running(container):
        console.note("run-notebook", f"the last notebook on dock {dock.moniker} was cut off; its files come first")
        fetch(project, dock)
        return False
    token, there = _inspected(container)
    port = server.free_port(int(args.port) if args.port else None)
    console.note("run-notebook", f"the last notebook on dock {dock.moniker} runs on; this joins it")
    # Not docker attach, which may wait for ever when the container ends just then.
    command = Command(["docker", "logs", "--follow", "--tail", "20", container])
    published = invocation.Port(server.LOOPBACK, there)
    with ended(project, dock, args), forwarding.forwarded(dock, [published], here=port):
        serve(command, container, Visit("run-notebook", port, token), args, dock)
    return True


def _inspected(container: str) -> tuple[str, int]:
    """Return the token of a container that runs, and the port of its host at which it is published."""
    import json

    form = '{"env": {{json .Config.Env}}, "ports": {{json .HostConfig.PortBindings}}}'
    answer = process.capture(["docker", "container", "inspect", "--format", form, container])
    if answer.status:
        raise engine.refusal(answer.stderr)
    record = json.loads(answer.stdout)
    variables = dict(each.partition("=")[::2] for each in record["env"])
    return variables.get(server.TOKEN, ""), int(record["ports"][f"{server.PORT}/tcp"][0]["HostPort"])


def _memory(project: Project, dock: Dock) -> str:
    """Return the path of the file that stands as long as what a notebook has written on a dock is not back here."""
    return os.path.join(os.path.expanduser("~"), ".docker", dock.address, f"notebook-{project.name}")


def _remember(project: Project, dock: Dock, container: str) -> None:
    from dockerutils.core import files

    files.write(_memory(project, dock), f"{container}\n", mode=0o600)
