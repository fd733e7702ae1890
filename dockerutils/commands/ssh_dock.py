"""Open a shell on a dock, or run a command there."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import process
from dockerutils.docks import inventory

_EXAMPLES = """\
  ssh-dock                            a shell where this one is docked
  ssh-dock gpu                        a shell on another dock
  ssh-dock gpu -- nvidia-smi          a command; -- sh -c 'cd /data && ls' for a line of shell"""


def parser() -> program.Parser:
    """Return the parser of ssh-dock."""
    parser = program.Parser("ssh-dock", f"{__doc__}", _EXAMPLES, passes_on="COMMAND [ARG ...]")
    parser.add_dock(here=True)
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, if ssh has not taken this process's place."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Become ssh."""
    dock = inventory.choose(args.dock, os.environ, os.path.expanduser("~"))
    argv = ["ssh", dock.host]
    if args.rest:
        # ssh gives no terminal to a command by itself; and its words are one line to the shell on the other side.
        terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
        argv = ["ssh", *terminal, dock.host, "--", shlex.join(args.rest)]
    process.replace(process.Command(argv), dry_run=args.dry_run)
