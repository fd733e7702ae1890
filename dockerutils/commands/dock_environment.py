"""Print the variables that `source dock` sets."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.docks import engine_socket, inventory

_EXAMPLES = """\
  dock-environment gpu             print NAME=value to set, NAME to unset
  dock-environment 203.0.113.7     the same, by address"""

# The first argument when `source dock` runs this: messages and usage are those of dock then.
_SOURCED = "--sourced"


def parser(command: str = "dock-environment") -> program.Parser:
    """Return the parser of dock-environment; `command` is what the user typed."""
    parser = program.Parser(
        command,
        f"{__doc__}",
        _EXAMPLES,
        environment="  DOCKERUTILS_DISABLE_PROMPT  if set, source dock does not change the prompt\n"
        "  DOCKERUTILS_SHELL           process id of the shell to serve\n"
        "                              (default: the leader of this session)",
    )
    parser.add_dock()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == [_SOURCED]:
        return program.main(parser("dock"), handle, words[1:])
    return program.main(parser(), handle, words)


def handle(args: argparse.Namespace) -> None:
    """Find the dock, make sure that ssh knows it and that its socket accepts connections, and print its variables."""
    home = os.path.expanduser("~")
    dock = inventory.find(args.dock, home)
    variables = inventory.docked(dock) | {"DOCKER_HOST": engine_socket.ensure(dock, home, _shell())}
    for name in inventory.CHANGED:
        print(f"{name}={variables[name]}" if name in variables else name)


def _shell() -> int:
    """Return the process that uses the variables: the shell that runs `source dock`, else that of the terminal."""
    shell = os.environ.get("DOCKERUTILS_SHELL", "")
    return int(shell) if shell.isdecimal() else os.getsid(0)
