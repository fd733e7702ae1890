"""Copy the project to a dock."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.docks import inventory, project_copy, sync

_EXAMPLES = """\
  sync-up                       send what has changed to the dock of this shell
  sync-up --dock gpu --delete   to another dock; delete what is gone here"""


def parser() -> program.Parser:
    """Return the parser of sync-up."""
    parser = program.Parser("sync-up", f"{__doc__}", _EXAMPLES, environment=project_copy.ENVIRONMENT)
    parser.add_argument("--delete", action="store_true", help="also delete files on the dock that are not here")
    parser.add_yes("do not ask before --delete; required for it without a terminal")
    parser.add_argument("--adopt", action="store_true", help="take over the copy of another checkout")
    parser.add_dock_option()
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Find the project and the dock, and sync up."""
    project = program.project()
    dock = inventory.choose(args.dock, project.environ, os.path.expanduser("~"))
    sync.up(project, dock, sync.Options(args.delete, args.yes, args.adopt, dry_run=args.dry_run))
