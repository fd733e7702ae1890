"""Forget a dock: its record, its ssh stanza and its docker context; the host is left alone."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console, shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.docks import contexts, inventory, remote
from dockerutils.docks.records import Dock

_EXAMPLES = """\
  unregister-dock gpu              by its moniker
  unregister-dock 203.0.113.7      by its address, its record may be damaged then"""


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
    """Remove what register-dock made."""
    home = os.path.expanduser("~")
    known = inventory.known(home)
    address = inventory.address_of(args.dock, known, home)
    dock = next((each for each in known if each.address == address), None)
    if not args.dry_run:
        if dock:
            remote.of(dock).disconnect()  # without its stanza, nothing finds the connection
        inventory.unregister(address, home)
    if dock is None:  # its record is no good, so what it was called is not known
        return
    if (dock.instance_id or dock.is_incomplete) and not args.dry_run:
        console.warn("unregister-dock", _left(dock))
    if os.environ.get("DOCK_MONIKER") == dock.moniker and not args.dry_run:
        console.warn("unregister-dock", f"this shell is docked to {dock.moniker}; run: castoff")
    try:
        contexts.drop(dock, dry_run=args.dry_run)
    except CommandFailed:
        raise
    except DockerutilsError as error:
        console.warn("unregister-dock", f"a docker context {dock.host} may be left: {error}")


def _left(dock: Dock) -> str:
    """Return what is not removed, and what removes it."""
    if dock.is_incomplete:
        return "create-dock may have left an instance on AWS, which costs; to remove it, run: destroy-dock --leftovers"
    region = ["--region", dock.region] if dock.region else []
    if dock.provisioned_product:
        what = ["servicecatalog", "terminate-provisioned-product", "--provisioned-product-id", dock.provisioned_product]
    else:
        what = ["ec2", "terminate-instances", "--instance-ids", str(dock.instance_id)]
    line = shell_words.render(["aws", *what, *region])
    return f"its instance on AWS, {dock.instance_id}, is left as it is and costs; to be rid of it, run: {line}"
