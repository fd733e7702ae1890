"""Print the newest version of an image."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docker import engine, references, version_tags
from dockerutils.registries import credentials

_EXAMPLES = """\
  find-image org/tools                                  org/tools:26.11.20
  find-image org/tools --remote                         also ask Docker Hub
  docker run --rm "$(find-image org/tools)" ls          run the newest version"""

_warn = partial(console.warn, "find-image")


def parser() -> program.Parser:
    """Return the parser of find-image."""
    parser = program.Parser("find-image", f"{__doc__}", _EXAMPLES, environment=credentials.ENVIRONMENT)
    parser.add_argument("name", metavar="NAME", help="image name without a tag")
    parser.add_argument("--remote", action="store_true", help="also ask the registry in the name (default: docker.io)")
    parser.add_argument("--all", action="store_true", help="print all versions, newest first")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Print the newest version, or all of them; other tags, such as `latest`, do not count."""
    if fault := references.fault_in_repository(args.name):
        raise UserError(fault)
    found = version_tags.newest_first(everywhere(args.name) if args.remote else local(args.name))
    if not found:
        if args.remote:
            raise DockerutilsError(f"neither the registry nor the engine has a version of {args.name}; publish one")
        raise DockerutilsError(f"the engine has no version of {args.name}; build, pull or transfer one")
    for version in found if args.all else found[:1]:
        print(f"{args.name}:{version}")


def everywhere(name: str) -> set[str]:
    """Return the tags of the registry, and those of the engine if one answers."""
    found = set(remote(name))
    try:
        found.update(local(name))
    except DockerutilsError as error:
        _warn(f"{str(error).partition(';')[0]}; only the registry was searched")
    return found


def local(name: str) -> list[str]:
    """Return the tags that the engine has."""
    host, path = references.split_registry(name)
    return engine.tags(path if host == references.HUB else name)


def remote(name: str) -> list[str]:
    """Return the tags that the registry has."""
    # Late: a search of the engine alone needs neither these nor urllib, which Client imports.
    from dockerutils.aws import ecr as aws
    from dockerutils.aws.session import Session

    host, path = references.split_registry(name)
    if ecr := aws.registry(host):
        return aws.tags(Session(os.environ, dry_run=False), ecr, path)
    login = credentials.find(host, os.environ)  # before the slow import: it reports bad usage
    from dockerutils.registries.client import Client

    return Client(host, path, login, _warn).tags()
