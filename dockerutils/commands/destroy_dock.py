"""Destroy docks on AWS, with all that is on their disks, and forget them."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from dockerutils.aws import instances
from dockerutils.aws.api import Session
from dockerutils.aws.ec2 import TERMINATED, Ec2
from dockerutils.aws.instances import Ship
from dockerutils.aws.service_catalog import Catalog
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.progress import Lines
from dockerutils.docks import contexts, forwarding, inventory
from dockerutils.docks.records import Dock

_COMMAND = "destroy-dock"
_EXAMPLES = """\
  destroy-dock gpu             when you have said y
  destroy-dock gpu big -y      two, at the same time"""


def parser() -> program.Parser:
    """Return the parser of destroy-dock."""
    parser = program.aws_dock_parser(_COMMAND, f"{__doc__}", _EXAMPLES, timeout="900")
    parser.add_yes()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Terminate the instances, see them gone, forget the docks; last, delete what was made for them alone."""
    home = os.path.expanduser("~")
    deadline = time.monotonic() + program.seconds(args.timeout)
    chosen = instances.chosen(args.docks, os.environ, home)
    question = f"Destroy {instances.names(chosen)}, with all that is on the disk?"
    instances.agree(question, yes=args.yes, dry_run=args.dry_run)
    session = Session(os.environ, dry_run=args.dry_run)
    regions = instances.locate(chosen, session, home)
    for region, ships in regions.items():
        _destroy(Ec2(session, region), Catalog(session, region), ships, deadline, home)


def _destroy(ec2: Ec2, catalog: Catalog, ships: Sequence[Ship], deadline: float, home: str) -> None:
    """Destroy the docks of one region."""
    products = [ship.dock.provisioned_product for ship in ships if ship.dock.provisioned_product]
    ids = [ship.instance for ship in ships if not ship.dock.provisioned_product]
    if ec2.dry_run:
        for product in products:
            catalog.terminate(product, deadline)
        if ids:
            ec2.terminate(ids)
        return
    before = ec2.instances(ids) if ids else {}
    alive = [each for each in ids if each in before and before[each].state != TERMINATED]
    if alive:
        ec2.terminate(alive)
    lines = Lines()
    for ship in ships:
        forwarding.hang_up(ship.dock)
    if alive:
        ec2.until(alive, {TERMINATED}, deadline, instances.shown(ships, lines))
    gone = [each for each in products if catalog.terminate(each, deadline)]
    for dock, instance in ships:
        lines.end(dock.moniker)
        _forget(dock, home)
        what = "is destroyed" if instance in alive or dock.provisioned_product in gone else "was gone already"
        console.note(_COMMAND, f"{dock.moniker} {what}: instance {instance}")
    try:
        for what in ec2.tidy(list(before.values())):
            console.note(_COMMAND, f"deleted, since nothing has it any more: {what}")
    except DockerutilsError as error:
        console.warn(_COMMAND, f"a key pair or security group may be left: {error}")


def _forget(dock: Dock, home: str) -> None:
    inventory.unregister(dock.address, home)
    if os.environ.get("DOCK_MONIKER") == dock.moniker:
        console.warn(_COMMAND, f"this shell is docked to {dock.moniker}; run: castoff")
    try:
        contexts.drop(dock, dry_run=False)
    except DockerutilsError as error:
        console.warn(_COMMAND, f"a docker context {dock.host} may be left: {error}")
