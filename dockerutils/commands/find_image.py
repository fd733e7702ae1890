"""Print the newest version of an image that the engine has."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dockerutils import cli, engine, references, versions
from dockerutils.errors import DockerutilsError, UserError

_EXAMPLES = """\
  find-image org/tools                                  org/tools:26.11.20
  docker run --rm "$(find-image org/tools)" ls          run the newest"""


def parser() -> cli.Parser:
    """Return the parser of find-image."""
    parser = cli.Parser("find-image", f"{__doc__}", _EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="the image's name, without a tag")
    parser.add_argument("--all", action="store_true", help="print every version, the newest first")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return cli.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Look through the tags; those that are no version, as `latest`, do not count."""
    if fault := references.fault_in_repository(args.name):
        raise UserError(fault)
    found = versions.newest_first(engine.tags(args.name))
    if not found:
        raise DockerutilsError(f"the engine has no version of {args.name}; build, pull or transfer one")
    for version in found if args.all else found[:1]:
        print(f"{args.name}:{version}")
