"""Bring what has changed in the copy of the project on a dock back here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.docks import inventory, sync

_EXAMPLES = """\
  sync-down                     fetch what has changed on the dock that this shell is docked to
  sync-down --dock gpu          from another one"""


def parser() -> program.Parser:
    """Return the parser of sync-down."""
    parser = program.Parser("sync-down", f"{__doc__}", _EXAMPLES, environment=sync.ENVIRONMENT)
    parser.add_argument("--delete", action="store_true", help="delete here what is not there; it is listed first")
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
    sync.down(project, dock, delete=args.delete, dry_run=args.dry_run)
