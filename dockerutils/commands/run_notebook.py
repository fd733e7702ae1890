"""Open the project in JupyterLab, in a container."""

from __future__ import annotations

import argparse
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from dockerutils.cli import program
from dockerutils.core import console, files, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Command
from dockerutils.docker import engine, invocation, references
from dockerutils.docks import forwarding, inventory, project_copy, records, remote, sync
from dockerutils.docks.records import Dock
from dockerutils.images import build, run_docked
from dockerutils.images.run import Request, configure, require_image
from dockerutils.notebooks import server
from dockerutils.notebooks.server import Visit
from dockerutils.project.project import CONFIGURED, Image, Project

_EXAMPLES = """\
  run-notebook                  open the project in JupyterLab; Ctrl-C stops it
  run-notebook -g               give the container the GPUs
  run-notebook --port 9000      use port 9000 of this machine"""
_ENVIRONMENT = """\
  DOCKER_DS_DONT_PULL      if set, do not pull the image
  RESERO_JUPYTER_DIFFS     passed on: the image saves .py and .html copies
  DOCKER_DS_DIFFS          the same"""

_COMMAND = "run-notebook"
_NAME = "notebook"
_DEFAULT = "resero-labs/docker-ds"
# What is used instead where these cannot be pulled: the images that the Jupyter project maintains.
_FALLBACKS = {
    f"{_DEFAULT}:latest": "quay.io/jupyter/scipy-notebook:latest",
    f"{_DEFAULT}:gpu": "quay.io/jupyter/pytorch-notebook:cuda12-latest",
}
_DONT_PULL = "DOCKER_DS_DONT_PULL"
_DIFFS = ("RESERO_JUPYTER_DIFFS", "DOCKER_DS_DIFFS")
_HOME = "/home/jovyan"  # the home directory in images of jupyter/docker-stacks and similar ones
_ADVICE = (
    "write docker/notebook/Dockerfile, or choose an image in [notebook] of docker/dockerutils.cfg, for example: "
    "name = quay.io/jupyter/scipy-notebook, prefix = False"
)

# Run by sh on a dock: the ports in use, and the home directory.
_SURVEY = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; echo HOME $HOME"


class ConnectionLost(CommandFailed):
    """The connection to the dock ended, and the container is still running."""


def parser() -> program.Parser:
    """Return the parser of run-notebook."""
    parser = program.Parser(_COMMAND, f"{__doc__}", _EXAMPLES, environment=_ENVIRONMENT)
    parser.add_argument(
        "-g", "--use-gpu", action="store_true", help="use the GPUs; a pulled image gets the tag gpu by default"
    )
    parser.add_argument(
        "-p", "--port", metavar="PORT", help="port on this machine (default: 8888, or the next free one)"
    )
    parser.add_argument(
        "--aws", action="store_true", help="mount ~/.aws, and on a dock pass the AWS variables of this shell"
    )
    parser.add_no_browser()
    parser.add_yes("do not ask before sending 1 GB or more of data to a dock")
    parser.add_dry_run()
    parser.add_quiet()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Build or pull the image, and run it on the engine of this shell."""
    if args.port is not None and (fault := records.fault_in_port(args.port)):
        raise UserError(f"-p: {fault}")
    project = here()
    image = choose_image(project, use_gpu=args.use_gpu)
    for warning in project.config.unknown_keys(_NAME):
        console.warn(_COMMAND, warning)
    dock = inventory.choose(None, project.environ, os.path.expanduser("~")) if project.docked else None
    if dock and not args.dry_run and resume(project, dock, args):
        return
    answer = remote.of(dock).capture(_SURVEY).stdout.splitlines() if dock and not args.dry_run else []
    used = server.listening(answer)
    port = server.free_port(int(args.port), used) if args.port else None
    home = next((line[5:] for line in answer if line.startswith("HOME /")), "~" if dock else os.path.expanduser("~"))
    run = provide(project, image, compose(project, image, args, home), dry_run=args.dry_run)
    # Now, because another program can take a port while the image is built or pulled.
    port = port or server.free_port(None, used)
    run = publish(run, port)
    visit = Visit(_COMMAND, port, server.new_token())
    if dock:
        run_on_dock(project, dock, run, visit, args)
    else:
        serve(invocation.run(run, project.root), run.name, visit, args)


def here() -> Project:
    """Return the project of the current directory; outside projects, treat the directory itself as one."""
    try:
        return program.project()
    except UserError:
        directory = os.getcwd()
        return Project(directory, directory, os.environ)


def choose_image(project: Project, *, use_gpu: bool) -> Image:
    """Return the project's notebook image, or the default one."""
    newest = "gpu" if use_gpu else "latest"
    if _NAME not in project.names():
        return Image(_NAME, CONFIGURED, None, _DEFAULT, newest)
    settings = project.settings(_NAME)
    is_tagged = settings.value("tag") or references.split(settings.text("name"))[1]
    is_pulled = _NAME not in {*project.directories(), *project.synthetic()}
    return project.image(_NAME, newest if is_pulled and not is_tagged else None)


def compose(project: Project, image: Image, args: argparse.Namespace, home: str) -> invocation.Run:
    """Return the options of `docker run`: those of run-image, plus the project's mount and the token.

    `home` is the user's home directory on the machine of the engine.
    """
    run = configure(project, image, Request(use_gpu=args.use_gpu, aws=args.aws), by=_COMMAND)
    mounts = {f"{_HOME}/project": project_copy.path(project) if project.docked else project.root}
    if args.aws:
        mounts[f"{_HOME}/.aws"] = f"{home}/.aws"
    mount_options = [word for inside, outside in mounts.items() for word in ("-v", f"{outside}:{inside}")]
    passed = [server.TOKEN, *(name for name in _DIFFS if project.environ.get(name))]
    return run._replace(
        environment=[*run.environment, *(word for name in passed for word in ("-e", name))],
        interactive=[],
        volumes=[*invocation.without_overridden(mount_options, [*run.volumes, *run.args]), *run.volumes],
        remove=True,
    )


def publish(run: invocation.Run, port: int) -> invocation.Run:
    """Return the run with Jupyter's port published."""
    option = ["-p", f"{server.LOOPBACK}:{port}:{server.PORT}"]
    return run._replace(ports=[*option, *invocation.without_overridden(run.ports, option)])


def provide(project: Project, image: Image, run: invocation.Run, *, dry_run: bool) -> invocation.Run:
    """Build the image, with the bases that the engine does not have, or pull it for the platform of the run.

    Return the run, with the image of FALLBACKS if the default one is not available. DockerutilsError if there is no
    image in the end; its message names the setting to change. So also if it is for another platform than the dock.
    """
    if image.directory is not None:
        build.build_to_run(project, image, by=_COMMAND, dry_run=dry_run)
    elif not project.environ.get(_DONT_PULL):
        run = run._replace(reference=pull(project, image.reference, run.platform, dry_run=dry_run))
    elif not dry_run:
        run = run._replace(reference=local(project, image.reference))
    if project.docked and not dry_run:
        repository, _, tag = run.reference.rpartition(":")
        used = image._replace(repository=repository, tag=tag)
        require_image(project, used, run, emulation=f"set args = --platform {{}} in [{_NAME}]")
    return run


def local(project: Project, reference: str) -> str:
    """Return the reference of an image that the engine has, or of its fallback; DockerutilsError if it has neither."""
    for each in filter(None, (reference, _FALLBACKS.get(reference))):
        if engine.has_image(each, project.environ):
            return each
    raise DockerutilsError(f"the engine does not have {reference}, and {_DONT_PULL} is set; unset it, or {_ADVICE}")


def pull(project: Project, reference: str, platform: Sequence[str], *, dry_run: bool) -> str:
    """Pull an image and return its reference; if that fails, use the local one, or pull the fallback."""
    if not dry_run:
        engine.require(project.environ)
    fallback = _FALLBACKS.get(reference)
    command = Command(["docker", "pull", *platform, reference])
    try:
        process.run(command, dry_run=dry_run, to_stderr=True, hold_errors=fallback is not None)
    except CommandFailed as failure:
        if engine.has_image(reference, project.environ):
            console.warn(_COMMAND, f"docker cannot pull {reference}; using the local image")
        elif fallback:
            console.note(_COMMAND, f"docker cannot pull {reference}; using {fallback}")
            return pull(project, fallback, platform, dry_run=dry_run)
        else:
            raise CommandFailed(
                failure.status, f"docker cannot pull {reference}, and it is not on this engine; {_ADVICE}"
            ) from None
    return reference


def serve(command: Command, container: str, visit: Visit, args: argparse.Namespace, dock: Dock | None = None) -> None:
    """Run the command that starts or joins the container, and announce Jupyter; the container ends with the command.

    ConnectionLost if the container continues after the connection to the dock ended.
    """
    if args.dry_run:
        process.run(command, dry_run=True)
        return
    status = 0
    try:
        with server.announced(visit, open_browser=not args.no_browser, environ=os.environ, late=_warn_late) as answered:
            process.run(command, unshown={server.TOKEN: visit.token}, to_stderr=True)
    except CommandFailed as failure:
        status = failure.status
    except BaseException:
        with process.deferred_signals():
            process.capture(["docker", "stop", container])  # in case it ignored the signal
        raise
    if dock and is_running(container):
        raise ConnectionLost(
            status or 1,
            f"the connection to dock {dock.moniker} ended, and the notebook is still running there; run "
            "run-notebook again to join it",
        )
    if not answered.is_set():
        raise CommandFailed(
            status or 1,
            f"docker exited with status {status} before Jupyter answered; see the output above, and make sure that the "
            f"image starts Jupyter on port {server.PORT}",
        )
    if status:
        raise CommandFailed(status)


def _warn_late() -> None:
    console.warn(_COMMAND, f"no answer from Jupyter after {server.PATIENCE:.0f} s; see above, or press Ctrl-C")


def is_running(container: str) -> bool:
    """Return whether the container runs; True if the engine does not answer."""
    answer = process.capture(["docker", "container", "inspect", "--format", "{{.State.Running}}", container])
    return answer.stdout.strip() == "true" if not answer.status else "no such container" not in answer.stderr.lower()


def run_on_dock(project: Project, dock: Dock, run: invocation.Run, visit: Visit, args: argparse.Namespace) -> None:
    """Sync the project up, run the container on the dock with its port forwarded, and sync down at the end."""
    wanted = sync.Run("", *run_docked.mounted(project, run))
    sync.before_run(project, dock, wanted, sync.Options(yes=args.yes, dry_run=args.dry_run))
    if not args.dry_run:
        files.write(_marker(project, dock), f"{run.name}\n", mode=0o600)
    ports = invocation.published([*run.ports, *run.args])
    with synced_down(project, dock, args), forwarding.forwarded(dock, ports, dry_run=args.dry_run):
        serve(invocation.run(run, project.root), run.name, visit, args, dock)


@contextmanager
def synced_down(project: Project, dock: Dock, args: argparse.Namespace) -> Iterator[None]:
    """Sync the project down after the block, even if it raises, except if the container still runs."""
    try:
        yield
    except ConnectionLost:
        raise
    except BaseException:
        fetch(project, dock, dry_run=args.dry_run)
        raise
    fetch(project, dock, dry_run=args.dry_run)


def fetch(project: Project, dock: Dock, *, dry_run: bool = False) -> None:
    """Sync the project down; the marker stays if that fails."""
    sync.after_run(project, dock, dry_run=dry_run)
    if not dry_run:
        with suppress(FileNotFoundError):
            os.unlink(_marker(project, dock))


def resume(project: Project, dock: Dock, args: argparse.Namespace) -> bool:
    """Continue what an earlier run left on the dock: join a running notebook, or fetch the files of an ended one.

    Return whether a notebook was joined; it has ended then.
    """
    try:
        with open(_marker(project, dock), encoding="utf-8") as stream:
            container = stream.read().strip()
    except FileNotFoundError:
        return False
    engine.require(project.environ)
    if not is_running(container):
        console.note(_COMMAND, f"the last notebook on dock {dock.moniker} was interrupted; fetching its files first")
        fetch(project, dock)
        return False
    token, published = _inspect(container)
    port = server.free_port(int(args.port) if args.port else None)
    console.note(_COMMAND, f"joining the notebook of this project that is running on dock {dock.moniker}")
    # Not docker attach, which can hang if the container ends at that moment.
    command = Command(["docker", "logs", "--follow", "--tail", "20", container])
    ports = [invocation.Port(server.LOOPBACK, published)]
    with synced_down(project, dock, args), forwarding.forwarded(dock, ports, here=port):
        serve(command, container, Visit(_COMMAND, port, token), args, dock)
    return True


def _inspect(container: str) -> tuple[str, int]:
    """Return the token of a running container and its published port."""
    import json  # late: only docked runs need it

    form = '{"env": {{json .Config.Env}}, "ports": {{json .HostConfig.PortBindings}}}'
    answer = process.capture(["docker", "container", "inspect", "--format", form, container])
    if answer.status:
        raise engine.refusal(answer.stderr)
    record = json.loads(answer.stdout)
    variables = dict(each.partition("=")[::2] for each in record["env"])
    return variables.get(server.TOKEN, ""), int(record["ports"][f"{server.PORT}/tcp"][0]["HostPort"])


def _marker(project: Project, dock: Dock) -> str:
    """Return the path of a file that exists while a dock has files of a notebook of this checkout to fetch.

    It contains the name of the container. Another checkout with the same name has another marker.
    """
    checkout = f"{project.name}-{zlib.crc32(os.fsencode(project.root)):08x}"
    return os.path.join(os.path.expanduser("~"), ".docker", dock.address, f"notebook-{checkout}")
