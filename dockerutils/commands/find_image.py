"""Print the newest version of an image that the engine has, or a registry."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docker import engine, references, version_tags
from dockerutils.registries import credentials

_EXAMPLES = """\
  find-image org/tools                                  org/tools:26.11.20
  find-image org/tools --remote                         look into Docker Hub too
  docker run --rm "$(find-image org/tools)" ls          run the newest"""


def parser() -> program.Parser:
    """Return the parser of find-image."""
    parser = program.Parser("find-image", f"{__doc__}", _EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="the image's name, without a tag")
    parser.add_argument("--remote", action="store_true", help="look into the registry that the name leads to, too")
    parser.add_argument("--all", action="store_true", help="print every version, the newest first")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Look through the tags; those that are no version, as `latest`, do not count."""
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
    """Return the tags of the registry and those of the engine, if there is one, which a job of CI may do without."""
    found = set(remote(name))
    try:
        found.update(local(name))
    except DockerutilsError as error:
        console.warn("find-image", f"{str(error).partition(';')[0]}; only the registry was looked into")
    return found


def local(name: str) -> list[str]:
    """Return the tags that the engine has; it knows the images of Docker Hub by their short names alone."""
    host, path = credentials.place(name)
    return engine.tags(path.removeprefix("library/") if host == credentials.HUB else name)


def remote(name: str) -> list[str]:
    """Return the tags that the registry has, asked with the login that publish-image would use."""
    from dockerutils.aws import api

    host, path = credentials.place(name)
    if ecr := api.registry(host):
        return api.Session(os.environ, dry_run=False).tags(ecr, path)
    # What is half a login is bad usage, and told before the network is.
    login = credentials.given(os.environ) or credentials.stored(host, os.environ)
    from dockerutils.registries import client

    return client.tags(host, path, login)
