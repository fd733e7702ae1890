"""Print what the environment of a shell that is docked differs in; source dock reads it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.docks import inventory

_EXAMPLES = """\
  source dock gpu              dock this shell; castoff ends it
  dock-environment gpu         a line NAME=value for each variable to set, NAME for each to unset"""


def parser() -> program.Parser:
    """Return the parser of dock-environment, which speaks for source dock."""
    parser = program.Parser(
        "dock",
        f"{__doc__}",
        _EXAMPLES,
        environment="  DOCKERUTILS_DISABLE_PROMPT   when set, source dock leaves the prompt alone",
    )
    parser.add_dock()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Find the dock, and see that ssh knows it."""
    variables = inventory.docked(inventory.find(args.dock, os.path.expanduser("~")))
    for name in inventory.CHANGED:
        print(f"{name}={variables[name]}" if name in variables else name)
