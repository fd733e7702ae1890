"""Run an image with its configured options.

All other options go to docker run, such as --shm-size 1g.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dockerutils.cli import arguments, program
from dockerutils.core import console, shell_words
from dockerutils.core.errors import UserError
from dockerutils.docker import options
from dockerutils.images import run
from dockerutils.project.project import Image, Project, renamed

if TYPE_CHECKING:
    from dockerutils.docker.invocation import Run
    from dockerutils.images.shards import Shards

_EXAMPLES = """\
  run-image dev                               run it as its section says
  run-image dev -e DEBUG=1 -v ~/data:/data    add options of docker run
  run-image dev pytest -x                     run another command in it
  run-image train --shards 20 -j 4            run 20 containers, 4 at a time
  run-image web --replicas 3                  on a swarm: start or update it
  run-image train -k --sync                   on a dock: then attach-image train"""

_RULE = """\
All options of docker run work, and add to those of the section. The command
line wins if both set the same variable, path or port of the container, or an
option that docker takes once."""


_LOGS = "~/.local/state/dockerutils/shards/CONTAINER"

_NOT_FOR_SERVICES = {"attach", "detach", "interactive", "rm", "tty"}


def parser() -> program.Parser:
    """Return the parser of run-image."""
    parser = program.Parser(
        "run-image",
        f"{__doc__}",
        _EXAMPLES,
        docker=options.RUN,
        environment="  AWS_ACCESS_KEY_ID, AWS_REGION ...  passed on if set; on a dock with --aws",
    )
    parser.add_image()
    parser.add_command("COMMAND [ARG ...]", "run it instead of the key cmd, with all words after it")
    parser.add_argument("--build", action="store_true", help="build the image first, with missing bases")
    parser.add_argument("--shards", metavar="K", help="run K containers that share the work")
    parser.add_argument("--replicas", metavar="N", help="run or update a service on a swarm; 0 removes it")
    parser.add_argument("-t", "--tag", metavar="TAG", help="run the image with this tag (-it: a terminal)")
    parser.add_argument("-k", "--keep", action="store_true", help="keep the container and run it detached")
    section = parser.add_more("instead of keys of the section")
    section.add_argument("-c", "--command", metavar="COMMAND", help="run COMMAND, one argument; no shell reads it")
    section.add_argument("-a", "--args", metavar="ARGS", help="use these options instead of the key args")
    added = parser.add_argument_group("docker run options")
    add = program.add_docker_option
    add(added, "-e", "--env", metavar="NAME[=VALUE]", several=True, what="set an environment variable")
    add(added, "-v", "--volume", metavar="SOURCE:PATH", several=True, what="mount a directory, file or volume")
    add(added, "-p", "--publish", metavar="PORT:PORT", several=True, what="publish a port of the container")
    add(added, "-n", "--network", metavar="NETWORK", what="join NETWORK")
    added.add_argument("-g", "--use-gpu", action="store_true", help="use GPUs: those of the key gpu, or all")
    container = parser.add_more("more docker run options", _RULE)
    add(container, "-d", "--detach", what="run detached and print the container's id")
    add(container, "-u", "--user", metavar="USER[:GROUP]", what="run as this user")
    add(container, "-w", "--workdir", metavar="PATH", what="run the command in this directory")
    add(container, "--platform", metavar="PLATFORM", what=f"run the image {program.FOR_PLATFORM}")
    add(container, "--name", metavar="NAME", what="set the container's name")
    shards = parser.add_more("with --shards")
    shards.add_argument("--shard", metavar="I[,I-I...]", help="run only these of the K shards, such as 3,7-9")
    shards.add_argument("-j", "--jobs", metavar="N", help="run at most N at a time (default: as build-image)")
    shards.add_argument("--logs", metavar="DIRECTORY", help=f"write the logs there (default: {_LOGS})")
    dock = parser.add_more("in a docked shell")
    dock.add_argument(
        "--aws", action="store_true", help="pass the AWS variables; other users of that engine can read them"
    )
    syncing = dock.add_mutually_exclusive_group()
    syncing.add_argument("--sync", action="store_true", help="sync the project up before the run and down after it")
    syncing.add_argument("--no-sync", action="store_true", help="do not sync the project up, even if the run mounts it")
    dock.add_argument("--adopt", action="store_true", help="take over the copy of another checkout")
    dock.add_argument("-y", "--yes", action="store_true", help="do not ask before sending 1 GB or more of data")
    swarm = parser.add_more("with --replicas")
    swarm.add_argument(
        "--with-registry-auth", action="store_true", help="let the nodes pull publication_tag, with your login"
    )
    parser.add_dry_run()
    parser.add_quiet()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, if docker has not replaced this process."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Compose `docker run`, and run it."""
    project = program.project()
    if args.tag in (names := project.names()) and args.image not in names:
        raise UserError(f"-t takes a tag here, and {args.image!r} is not an image; for a terminal, write -it")
    image = renamed(project.image(args.image, args.tag), None, args.tag)
    for warning in _warnings(project, image, args):
        console.warn("run-image", warning)
    if args.replicas is not None or args.with_registry_auth:
        _serve(project, image, args)
        return
    container = run.configure(project, image, request(args))
    wanted = _shards(container, args)
    _provide(project, image, container, args)
    if project.docked:
        _start_docked(project, image, container, wanted, args)
    elif wanted:
        _start_shards(project, container, wanted, dry_run=args.dry_run)
    else:
        run.start(project, container, dry_run=args.dry_run)


def _start_docked(
    project: Project, image: Image, container: Run, wanted: Shards | None, args: argparse.Namespace
) -> None:
    from dockerutils.images import run_docked  # late, for the start of a run that is not docked

    for path in run_docked.local_mounts(project, container):
        console.warn("run-image", f"{path} is mounted from the dock, not from this machine; mount the project instead")
    up = True if args.sync else False if args.no_sync else None
    syncing = run_docked.Syncing(up, args.sync, args.adopt, args.yes)
    if wanted:
        with run_docked.synced(project, image, container, syncing, dry_run=args.dry_run):
            _start_shards(project, container, wanted, dry_run=args.dry_run)
    else:
        run_docked.start(project, image, container, syncing, dry_run=args.dry_run)


def _start_shards(project: Project, container: Run, wanted: Shards, *, dry_run: bool) -> None:
    from dockerutils.images import shards  # late, for the start of all other runs

    shards.start(project, container, wanted, dry_run=dry_run)


def _shards(container: Run, args: argparse.Namespace) -> Shards | None:
    """Return the shards to run, if several containers are wanted; UserError for options that then make no sense."""
    if args.shards is None:
        for option, value in (("--shard", args.shard), ("-j", args.jobs), ("--logs", args.logs)):
            if value is not None:
                raise UserError(f"{option} is for several shards; add --shards K, the number of all shards")
        return None
    from dockerutils.images import indices, shards  # late, as above

    size = arguments.number("--shards", args.shards, "shards", indices.MOST) or 0
    if args.keep:
        raise UserError("--shards removes its containers, and keeps their logs; leave out -k")
    shards.require_sense(container, args.docker)
    wanted = range(size) if args.shard is None else shards.parse_list(args.shard, size)
    at_once = arguments.number("-j", args.jobs, "shards")
    return shards.Shards(size, wanted, at_once, args.logs, lambda chosen: _again(args, chosen))


def _again(args: argparse.Namespace, chosen: str) -> str:
    """Return this command line, but for some of the shards only."""
    end = len(args.given) - len(args.rest or ())
    words, rest = args.given[:end], args.given[end:]
    if words[-1:] == ["--"]:
        words, rest = words[:-1], ["--", *rest]
    kept = []
    following = iter(words)
    for word in following:
        if word == "--shard":
            next(following)
        elif not word.startswith("--shard="):
            kept.append(word)
    return shell_words.render(["run-image", *kept, "--shard", chosen, *rest])


def _provide(project: Project, image: Image, container: Run, args: argparse.Namespace) -> None:
    """Build the image if that is wanted; otherwise make sure that the engine has it."""
    if args.build:
        from dockerutils.images import build  # late, for the start of all other runs

        platform = [
            word for value in options.values(args.docker, options.RUN, "platform") for word in ("--platform", value)
        ]
        build.build_to_run(project, image, platform, by="run-image", dry_run=args.dry_run)
    elif not args.dry_run:
        run.require_image(project, image, container)


def _serve(project: Project, image: Image, args: argparse.Namespace) -> None:
    """Start, update or remove the service of an image."""
    from dockerutils.swarm import services  # late, as above

    replicas = _replicas(args)
    name = next(reversed(options.values(args.docker, options.RUN, "name")), None)
    if not replicas:
        services.remove(project, image, name, dry_run=args.dry_run)
        return
    has_gpus = options.values(args.docker, options.RUN, "gpus") or project.settings(image.name).value("gpu")
    given = [*args.docker, *(("--gpus", "1") if args.use_gpu and not has_gpus else ())]
    container = run.configure(project, image, request(args)._replace(options=given, use_gpu=False))
    if not args.with_registry_auth:
        _provide(project, image, container, args)
    wanted = services.Request(replicas, name, given, args.with_registry_auth)
    services.start(project, image, container, wanted, dry_run=args.dry_run)


def _replicas(args: argparse.Namespace) -> int:
    """Return the number of --replicas; UserError if it is none, or if an option makes no sense for a service."""
    if args.replicas is None:
        raise UserError("--with-registry-auth is for a service; add --replicas N")
    replicas = 0 if args.replicas == "0" else arguments.number("--replicas", args.replicas, "replicas")
    own = {"-k": args.keep, "--sync": args.sync, "--no-sync": args.no_sync, "--adopt": args.adopt, "-y": args.yes}
    own |= {"--shards": args.shards, "--shard": args.shard, "-j": args.jobs, "--logs": args.logs}
    given = [option for option, value in own.items() if value]
    for option in options.parse(args.docker, options.RUN):
        given += option.words[:1] if _NOT_FOR_SERVICES.intersection(option.names) else ()
    if given:
        raise UserError(f"--replicas starts a service, which cannot have {given[0]}; leave out {given[0]}")
    return replicas or 0


def _warnings(project: Project, image: Image, args: argparse.Namespace) -> Iterator[str]:
    """Yield what is probably a mistake in the section or the command."""
    yield from project.config.unknown_keys(image.name)
    if args.rest is not None:
        return
    if args.command is None:
        yield from project.settings(image.name).without_shell("cmd")
    elif fault := shell_words.without_shell(args.command, "-c"):
        yield f"-c: {fault}"


def request(args: argparse.Namespace) -> run.Request:
    """Return the options of the command line; a command behind IMAGE comes before `-c`."""
    command = None if args.command is None else _split("-c", args.command)
    return run.Request(
        command=command if args.rest is None else args.rest,
        options=args.docker,
        args=None if args.args is None else _options("-a", args.args),
        use_gpu=args.use_gpu,
        keep=args.keep,
        aws=args.aws,
        terminal=sys.stdin.isatty() and sys.stdout.isatty(),
    )


def _split(option: str, text: str) -> list[str]:
    try:
        return shell_words.split(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def _options(option: str, text: str) -> list[str]:
    words = _split(option, text)
    if fault := options.fault(words, options.RUN):
        raise UserError(f"{option}: {fault}")
    return words
