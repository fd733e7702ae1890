"""Bring the copy of the project on a dock up to date."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.docks import inventory, sync

_EXAMPLES = """\
  sync-up                       send what has changed to the dock that this shell is docked to
  sync-up --dock gpu --delete   to another one, and delete there what is gone here"""


def parser() -> program.Parser:
    """Return the parser of sync-up."""
    parser = program.Parser("sync-up", f"{__doc__}", _EXAMPLES, environment=sync.ENVIRONMENT)
    parser.add_argument("--delete", action="store_true", help="delete there what is not here; it is listed first")
    parser.add_dock_option()
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Find the project and the dock, and call rsync."""
    project = program.project()
    dock = inventory.choose(args.dock, project.environ, os.path.expanduser("~"))
    sync.up(project, dock, delete=args.delete, dry_run=args.dry_run)
