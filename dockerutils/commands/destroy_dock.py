"""Destroy docks on AWS, with their disks."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from dockerutils.aws import incomplete, instances, resources
from dockerutils.aws.ec2 import RUN, TERMINATED, Ec2, Instance
from dockerutils.aws.instances import Consent, DockInstance
from dockerutils.aws.service_catalog import Catalog
from dockerutils.aws.session import Session
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import UserError
from dockerutils.core.progress import Lines
from dockerutils.docks import contexts, engine_socket, inventory, remote
from dockerutils.docks.records import Dock
from dockerutils.swarm import membership

_COMMAND = "destroy-dock"
_ANSWER = 3.0  # seconds for docks to say whether they are in a swarm
_EXAMPLES = """\
  destroy-dock gpu             ask, then destroy the dock
  destroy-dock gpu big -y      destroy two at the same time, without asking
  destroy-dock --leftovers     list what interrupted commands left, then ask"""


def parser() -> program.Parser:
    """Return the parser of destroy-dock."""
    parser = program.aws_dock_parser(_COMMAND, f"{__doc__}", _EXAMPLES, timeout="900")
    parser.add_yes()
    parser.add_argument(
        "--leftovers",
        action="store_true",
        help="find what you created in this region and no dock here uses, and ask to remove it",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Terminate the instances, delete what was made for them, and finally forget the docks."""
    home = os.path.expanduser("~")
    deadline = time.monotonic() + program.seconds(args.timeout)
    if args.leftovers:
        if args.docks:
            raise UserError("--leftovers cannot be used with a dock; run the command twice")
        _remove_leftovers(args, home)
        return
    chosen = instances.choose(args.docks, os.environ, home, incomplete=True)
    if not args.dry_run:
        _warn_of_swarms([dock for dock in chosen if not dock.is_incomplete])
    question = f"Destroy {instances.names(chosen)}, with everything on the disk?"
    instances.confirm(question, yes=args.yes, dry_run=args.dry_run)
    session = Session(os.environ, dry_run=args.dry_run)
    complete = [dock for dock in chosen if not dock.is_incomplete]
    by_region = instances.locate(complete, session, os.environ, home, Consent("destroy", args.yes))
    for dock in chosen:
        if dock.is_incomplete:
            removed = incomplete.remove(dock, session, home)
            if not args.dry_run:
                console.note(_COMMAND, f"{dock.moniker} is destroyed: {_list(removed)}")
    for region, docks in by_region.items():
        _destroy(Ec2(session, region), Catalog(session, region), docks, deadline, home)


def _warn_of_swarms(docks: Sequence[Dock]) -> None:
    """Say how to move the services of docks that are nodes of a swarm."""
    for dock in membership.members(docks, _ANSWER):
        leave = f"swarm-docks --leave {dock.moniker}"
        console.warn(
            _COMMAND, f"{dock.moniker} is in a swarm, and its services there end; to move them first, run: {leave}"
        )


def _destroy(ec2: Ec2, catalog: Catalog, docks: Sequence[DockInstance], deadline: float, home: str) -> None:
    """Destroy the docks of one region."""
    own = [each for each in docks if not each.dock.provisioned_product]
    known = _known(ec2, own)
    live = [each for each in own if ec2.dry_run or _is_live(known.get(each.instance))]
    if not ec2.dry_run:
        for each in docks:
            remote.of(each.dock).disconnect()
    if live:
        _cancel_spot(ec2, live, known)
        _terminate(ec2, live, deadline)
    products = [each for each in docks if each not in own and _terminate_product(each.dock, catalog, ec2, deadline)]
    for each in docks:
        _delete_resources(ec2, each.dock, known.get(each.instance))
        if not ec2.dry_run:
            _forget(each.dock, home)
            what = "is destroyed" if each in live + products else "was terminated before"
            console.note(_COMMAND, f"{each.dock.moniker} {what}: instance {each.instance}")


def _cancel_spot(ec2: Ec2, docks: Sequence[DockInstance], known: Mapping[str, Instance]) -> None:
    """Cancel the spot requests of instances; a dry run finds them by their tag."""
    if ec2.dry_run:
        for each in docks:
            resources.cancel_spot_request(ec2, each.dock.run or "")
    elif requests := list(filter(None, (known[each.instance].spot for each in docks))):
        ec2.cancel_spot(requests)


def _terminate(ec2: Ec2, docks: Sequence[DockInstance], deadline: float) -> None:
    """Terminate instances and wait until they are gone."""
    ids = [each.instance for each in docks]
    ec2.terminate(ids)
    if ec2.dry_run:
        return
    lines = Lines()
    ec2.until(ids, {TERMINATED}, deadline, instances.progress(docks, lines))
    for dock, _ in docks:
        lines.end(dock.moniker)


def _delete_resources(ec2: Ec2, dock: Dock, instance: Instance | None) -> None:
    """Delete the key pair and the security group that create-dock made for a dock."""
    run = dock.run or (instance.tags.get(RUN) if instance else None)
    if run and not dock.provisioned_product:
        for what in (resources.remove_key(ec2, run), resources.remove_group(ec2, run)):
            if what and not ec2.dry_run:
                console.note(_COMMAND, f"deleted: {what}")


def _known(ec2: Ec2, docks: Sequence[DockInstance]) -> dict[str, Instance]:
    """Return the instances that AWS knows; DockerutilsError when another account can have the others."""
    if ec2.dry_run or not docks:
        return {}
    known = ec2.instances([each.instance for each in docks])
    for dock, instance in docks:
        if instance not in known:
            instances.require_account(dock, ec2.session)
    return known


def _is_live(instance: Instance | None) -> bool:
    return instance is not None and instance.state != TERMINATED


def _terminate_product(dock: Dock, catalog: Catalog, ec2: Ec2, deadline: float) -> bool:
    assert dock.provisioned_product
    if catalog.terminate(dock.provisioned_product, deadline):
        return True
    instances.require_account(dock, ec2.session)
    return False


def _forget(dock: Dock, home: str) -> None:
    """Remove the docker context, and last the record: until then the command can be run again."""
    if os.environ.get("DOCK_MONIKER") == dock.moniker:
        console.warn(_COMMAND, f"this shell is docked to {dock.moniker}; run: castoff")
    contexts.drop(dock, dry_run=False, command=_COMMAND)
    inventory.unregister(dock.address, home)
    if socket := engine_socket.path(dock, home):
        with suppress(FileNotFoundError):
            os.unlink(socket)  # what listens there ends


def _remove_leftovers(args: argparse.Namespace, home: str) -> None:
    """List what no record here leads to, and remove it. A dry run makes only the calls that list it."""
    session = Session(os.environ, dry_run=False)
    ec2 = Ec2(session)
    docks = inventory.known(home)
    found = resources.leftovers(
        ec2,
        instances.user(os.environ),
        {dock.run for dock in docks if dock.run},
        {dock.instance_id for dock in docks if dock.instance_id},
    )
    for leftover in found:
        console.note(_COMMAND, f"{leftover.name}: {', '.join(leftover.what)}")
    if not found:
        console.note(_COMMAND, f"nothing is left in {ec2.region}")
        return
    question = f"Remove all of this from {ec2.region}? It includes docks that you created on other machines."
    instances.confirm(question, yes=args.yes, dry_run=args.dry_run)
    removing = Ec2(Session(os.environ, dry_run=args.dry_run), ec2.region)
    for leftover in found:
        removed = resources.remove_all(removing, leftover.run)
        if not args.dry_run:
            console.note(_COMMAND, f"removed: {_list(removed)}")


def _list(removed: Sequence[str]) -> str:
    return ", ".join(removed) or "nothing was left on AWS"
