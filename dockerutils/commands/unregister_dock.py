"""Remove a dock's record, ssh stanza and docker context; the host is not changed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console, shell_words
from dockerutils.docks import contexts, inventory, remote
from dockerutils.docks.records import Dock

_EXAMPLES = """\
  unregister-dock gpu              remove the dock gpu
  unregister-dock 203.0.113.7      remove it by its address, also if its record is damaged"""


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
    if not args.dry_run:
        if dock:
            remote.of(dock).disconnect()  # without its stanza, nothing finds the connection
        inventory.unregister(address, home)
    if dock is None:  # a damaged record: the names of its stanza and context are unknown
        return
    if (dock.instance_id or dock.is_incomplete) and not args.dry_run:
        console.warn("unregister-dock", _remaining(dock))
    if os.environ.get("DOCK_MONIKER") == dock.moniker and not args.dry_run:
        console.warn("unregister-dock", f"this shell is docked to {dock.moniker}; run: castoff")
    contexts.drop(dock, dry_run=args.dry_run, command="unregister-dock")


def _remaining(dock: Dock) -> str:
    """Return that the instance of a dock remains, and the command that terminates it."""
    if dock.is_incomplete:
        return (
            "create-dock may have left an instance on AWS, which costs money; to remove it, run: "
            "destroy-dock --leftovers"
        )
    region = ["--region", dock.region] if dock.region else []
    if dock.provisioned_product:
        what = ["servicecatalog", "terminate-provisioned-product", "--provisioned-product-id", dock.provisioned_product]
    else:
        what = ["ec2", "terminate-instances", "--instance-ids", str(dock.instance_id)]
    line = shell_words.render(["aws", *what, *region])
    return f"its AWS instance {dock.instance_id} remains and costs money; to terminate it, run: {line}"
