"""Remove a dock from this machine.

Its record, ssh stanza and docker context are removed; the host does not change.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.docks import contexts, inventory, remote
from dockerutils.swarm import membership

_EXAMPLES = """\
  unregister-dock gpu            remove the dock gpu
  unregister-dock 203.0.113.7    remove it by its address"""


def parser() -> program.Parser:
    """Return the parser of unregister-dock."""
    parser = program.Parser("unregister-dock", f"{__doc__}", _EXAMPLES)
    parser.add_dock()
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Remove what register-dock wrote."""
    home = os.path.expanduser("~")
    known = inventory.known(home)
    address = inventory.address_of(args.dock, known, home)
    dock = next((each for each in known if each.address == address), None)
    # Asked only over a connection that is there: a dock that does not answer is removed without waiting for it.
    if dock and remote.of(dock).is_connected and membership.members([dock], remote.CHECK):
        leave = f"swarm-docks --leave {dock.moniker}"
        console.warn(
            "unregister-dock",
            f"{dock.moniker} stays in its swarm; to remove it from there, register it again, then run: {leave}",
        )
    if not args.dry_run:
        if dock:
            remote.of(dock).disconnect()  # without its stanza, nothing finds the connection
        inventory.unregister(address, home)
    if dock is None:  # a damaged record: the names of its stanza and context are unknown
        return
    if not args.dry_run and (remaining := inventory.remains(dock)):
        console.warn("unregister-dock", remaining)
    if os.environ.get("DOCK_MONIKER") == dock.moniker and not args.dry_run:
        console.warn("unregister-dock", f"this shell is docked to {dock.moniker}; run: castoff")
    contexts.drop(dock, dry_run=args.dry_run, command="unregister-dock")
