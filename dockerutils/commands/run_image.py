"""Run an image with its configured options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console, shell_words
from dockerutils.core.errors import UserError
from dockerutils.docker import options
from dockerutils.images import run
from dockerutils.project.config import GPU

_EXAMPLES = """\
  run-image dev                       run <project>-dev:<user> with the options of its section
  run-image dev -c 'pytest -x'        run another command in it
  run-image dev -e DEBUG=1 -- env     pass everything after -- as the command"""


def parser() -> program.Parser:
    """Return the parser of run-image."""
    parser = program.Parser(
        "run-image",
        f"{__doc__} Arguments after -- are the container's command.",
        _EXAMPLES,
        passes_on="COMMAND [ARG ...]",
        environment="  AWS_ACCESS_KEY_ID, AWS_REGION ...   passed to the container if set; on a dock only with --aws",
    )
    parser.add_image()
    container = parser.add_argument_group("container")
    container.add_argument("-c", "--command", metavar="COMMAND", help="run COMMAND instead of the key cmd")
    container.add_argument(
        "-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set an environment variable"
    )
    container.add_argument("-k", "--keep", action="store_true", help="keep the container and run it detached")
    docker_run = parser.add_argument_group("docker run options")
    docker_run.add_argument("-a", "--args", metavar="ARGS", help="use these options instead of the key args")
    docker_run.add_argument("-n", "--network", metavar="NETWORK", help="join NETWORK instead of the key network")
    docker_run.add_argument(
        "-g", "--use-gpu", action="store_true", help=f"use the GPUs (default without the key gpu: {GPU})"
    )
    dock = parser.add_argument_group("in a docked shell")
    dock.add_argument(
        "--aws", action="store_true", help="pass the AWS variables; other users of that engine can read them"
    )
    dock.add_argument("--sync", action="store_true", help="sync the project up before the run and down after it")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, if docker has not replaced this process."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Compose `docker run`, and run it."""
    project = program.project()
    image = project.image(args.image)
    for warning in project.config.unknown_keys(image.name):
        console.warn("run-image", warning)
    container = run.configure(project, image, request(args))
    if not args.dry_run:
        run.require_image(project, image)
    if project.docked:
        for path in run.local_mounts(project, container):
            console.warn(
                "run-image", f"{path} is mounted from the dock, not from this machine; mount the project instead"
            )
    run.start(project, container, sync_project=args.sync, dry_run=args.dry_run)


def request(args: argparse.Namespace) -> run.Request:
    """Return the options of the command line; words after `--` come before `-c`."""
    command = None if args.command is None else _split("-c", args.command)
    return run.Request(
        command=command if args.rest is None else args.rest,
        environment=args.env,
        args=None if args.args is None else _options("-a", args.args),
        network=args.network,
        use_gpu=args.use_gpu,
        keep=args.keep,
        aws=args.aws,
        terminal=sys.stdin.isatty() and sys.stdout.isatty(),
    )


def _split(option: str, text: str) -> list[str]:
    try:
        return shell_words.split(text)
    except ValueError as error:
        raise UserError(f"{option}: {str(error).lower()}; close the quote or escape it with a backslash") from None


def _options(option: str, text: str) -> list[str]:
    words = _split(option, text)
    if fault := options.fault(words, options.RUN):
        raise UserError(f"{option}: {fault}")
    return words
