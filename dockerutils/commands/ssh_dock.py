"""Open a shell on a dock, or run a command there."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import process
from dockerutils.core.errors import UserError
from dockerutils.docks import inventory, remote

_EXAMPLES = """\
  ssh-dock                             open a shell on the dock of this shell
  ssh-dock gpu                         open a shell on another dock
  ssh-dock gpu nvidia-smi              run a command
  ssh-dock gpu sh -c 'cd /data; ls'    run a line of shell code
  ssh-dock -- nvidia-smi               run a command on the dock of this shell"""


def parser() -> program.Parser:
    """Return the parser of ssh-dock."""
    parser = program.Parser("ssh-dock", f"{__doc__}", _EXAMPLES)
    parser.add_dock(here=True)
    parser.add_command("COMMAND [ARG ...]", "run COMMAND; all words after it belong to it")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, unless ssh has replaced this process."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Replace this process by ssh."""
    try:
        dock = inventory.choose(args.dock, os.environ, os.path.expanduser("~"))
    except UserError as error:
        if not (args.dock and os.environ.get("DOCK_MONIKER")):
            raise
        words = shlex.join([args.dock, *(args.rest or ())])
        raise UserError(f"{error}; to run a command on the dock of this shell: ssh-dock -- {words}") from None
    argv = ["ssh", dock.host]
    if args.rest:
        # By default ssh allocates no terminal for a command. The shell on the dock gets the words as one line.
        terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
        argv = ["ssh", *terminal, dock.host, "--", shlex.join(args.rest)]
    if not args.dry_run:
        remote.drop_dead_connections([remote.of(dock)])
    process.replace(process.Command(argv), dry_run=args.dry_run)
