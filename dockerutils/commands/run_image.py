"""Run an image of the project, as docker/dockerutils.cfg configures it."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console, process, shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.process import Command
from dockerutils.docker import engine, invocation
from dockerutils.project.config import GPU, Fields
from dockerutils.project.project import CONFIGURED, Image, Project

_EXAMPLES = """\
  run-image dev                       run <project>-dev:<user> with its section's options
  run-image dev -c 'pytest -x'        run another command in it
  run-image dev -e DEBUG=1 -- env     everything behind -- is the command"""

_ELSEWHERE = "mount what is in the project, or a path of the dock that is not here"


def parser() -> program.Parser:
    """Return the parser of run-image."""
    parser = program.Parser(
        "run-image",
        f"{__doc__} What stands behind -- is its command.",
        _EXAMPLES,
        passes_on="COMMAND [ARG ...]",
        environment="  AWS_ACCESS_KEY_ID, AWS_REGION ...   those of AWS that are set, the container is given too",
    )
    parser.add_image()
    what = parser.add_argument_group("what runs")
    what.add_argument("-c", "--command", metavar="COMMAND", help="command to run, in the place of the key cmd")
    what.add_argument(
        "-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="add an environment variable"
    )
    what.add_argument("-k", "--keep", action="store_true", help="keep the container, and run it detached")
    docker_run = parser.add_argument_group("how docker runs it")
    docker_run.add_argument("-a", "--args", metavar="ARGS", help="docker run options, in the place of the key args")
    docker_run.add_argument(
        "-n", "--network", metavar="NETWORK", help="network to join, in the place of the key network"
    )
    docker_run.add_argument("-g", "--use-gpu", action="store_true", help=f"use the GPUs: the key gpu, or {GPU}")
    dock = parser.add_argument_group("the dock, in a docked shell")
    dock.add_argument("--sync", action="store_true", help="sync the project up before, and down after")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, if docker has not taken this process's place."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Compose `docker run` and become it."""
    project = program.project()
    image = project.image(args.image)
    for warning in project.config.unknown_keys(image.name):
        console.warn("run-image", warning)
    run = facts(project, image, args)
    command = invocation.run(run, project.root)
    # Asked for any image, because no engine may be there to run it; one that is not built here, docker will pull.
    if not (args.dry_run or engine.has_image(image.reference, project.environ) or image.kind == CONFIGURED):
        raise DockerutilsError(f"{image.reference} is not built yet; run: {build_command(project, image)}")
    if project.docked:
        on_dock(project, run, command, sync=args.sync, dry_run=args.dry_run)
    else:
        process.replace(command, dry_run=args.dry_run)


def on_dock(project: Project, run: invocation.Run, command: Command, *, sync: bool, dry_run: bool) -> None:
    """Run on the dock of the shell: its ports answer here too; with `sync` the project goes there, and comes back."""
    from dockerutils.docks import forwarding, inventory
    from dockerutils.docks import sync as syncing

    dock = inventory.choose(None, project.environ, os.path.expanduser("~"))
    options = [*run.interactive, *run.volumes, *run.ports, *run.args]
    for path in invocation.bound(options):
        if os.path.exists(path) and not f"{path}/".startswith(f"{syncing.path(project)}/"):
            console.warn("run-image", f"{path} is that of dock {dock.moniker}, not the one here; {_ELSEWHERE}")
    ports = invocation.published(options)
    if not (ports or sync):
        process.replace(command, dry_run=dry_run)
        return
    detached = run.keep or not {"-d", "--detach"}.isdisjoint(options)
    if sync:
        syncing.up(project, dock, dry_run=dry_run, to_stderr=True)
    try:
        with forwarding.forwarded(dock, ports, container=run.name if detached else "", dry_run=dry_run):
            process.run(command, dry_run=dry_run)
    finally:
        if sync and not detached:  # what runs on is not through with its files
            syncing.down(project, dock, dry_run=dry_run, to_stderr=True)


def facts(project: Project, image: Image, args: argparse.Namespace) -> invocation.Run:
    """Gather what `docker run` is told: the command line's options before the section's."""
    settings = project.settings(image.name)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    interactive = settings.options("interactive") or ["-it"]
    gpu = settings.options("gpu")
    cmd = settings.command("cmd") if args.command is None else _split("-c", args.command)
    return invocation.Run(
        reference=image.reference,
        name=container_name(image.name, project),
        init=settings.options("init"),
        environment=_environment(project, image, args.env),
        interactive=interactive if terminal else invocation.without_terminal(interactive),
        gpu=shell_words.split(GPU) if args.use_gpu and settings.value("gpu") is None else gpu,
        network=settings.word("network") if args.network is None else args.network,
        volumes=settings.options("volumes", _on_dock(project) if project.docked else None),
        ports=settings.options("ports"),
        args=settings.options("args") if args.args is None else _split("-a", args.args),
        cmd=cmd if args.rest is None else args.rest,
        keep=args.keep or settings.boolean("keep_container"),
    )


def _on_dock(project: Project) -> Fields:
    """Return what the names of local paths mean on a dock: the copy of the project there."""
    from dockerutils.docks import sync

    root = sync.path(project)
    below = os.path.relpath(project.workdir, project.root)
    workdir = root if below == os.curdir else f"{root}/{below}"
    return {"project_root": lambda: root, "root": lambda: root, "workdir": lambda: workdir}


def container_name(image: str, project: Project) -> str:
    """Return `<user>_<image>_<yy-mm-dd_HH.MM.SS>` in local time; the microseconds behind it tell two runs apart."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    now = time.strftime("%y-%m-%d_%H.%M.%S", time.localtime(seconds))
    name = f"{project.user}_{image}_{now}.{nanoseconds // 1000:06}"
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip("_.-")


def _environment(project: Project, image: Image, extra: Sequence[str]) -> list[str]:
    """Return the `-e` options: AWS's by name, the section's, the command line's; of two of one name the last counts."""
    settings = project.settings(image.name)
    section = settings.value("env")
    variables = project.variables(section) if section else {}
    before = [
        *(name for name in invocation.AWS_VARIABLES if project.environ.get(name)),
        *(invocation.assign(name, value) for name, value in variables.items()),
    ]
    return invocation.environment([*_each(before), *settings.options("environment"), *_each(extra)])


def _each(variables: Sequence[str]) -> list[str]:
    return [word for variable in variables for word in ("-e", variable)]


def _split(option: str, text: str) -> list[str]:
    try:
        return shell_words.split(text)
    except ValueError as error:
        raise UserError(f"{option}: {str(error).lower()}; close the quote or escape it with a backslash") from None


def build_command(project: Project, image: Image) -> str:
    """Return the build-image command that makes an image; without it docker would look in a public registry."""
    assert image.directory is not None
    tag = "" if image.tag == project.image(image.directory).tag else f" -t {image.tag}"
    return f"build-image {image.directory}{tag}"
