"""Copy changed files back from a dock."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.docks import inventory, project_copy, sync

_EXAMPLES = """\
  sync-down                     fetch what has changed on the dock of this shell
  sync-down --dock gpu          fetch from another dock"""


def parser() -> program.Parser:
    """Return the parser of sync-down."""
    parser = program.Parser("sync-down", f"{__doc__}", _EXAMPLES, environment=project_copy.ENVIRONMENT)
    parser.add_argument("--delete", action="store_true", help="also delete files here that the dock does not have")
    parser.add_yes("do not ask before --delete; required for it without a terminal")
    parser.add_argument("--adopt", action="store_true", help="take over the copy of another checkout")
    parser.add_argument(
        "--include-docker",
        action="store_true",
        help="also fetch docker/ and .dockerignore, which control your next build",
    )
    parser.add_dock_option()
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Find the project and the dock, and sync down."""
    project = program.project()
    dock = inventory.choose(args.dock, project.environ, os.path.expanduser("~"))
    sync.down(project, dock, sync.Options(args.delete, args.yes, args.adopt, args.include_docker, args.dry_run))
