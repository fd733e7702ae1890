"""Join docks into a Docker swarm, or remove one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import UserError
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock

_COMMAND = "swarm-docks"
_EXAMPLES = """\
  swarm-docks one two three        join three docks; one is the manager
  swarm-docks one four             add another dock to it
  swarm-docks --leave two          move its services away, then remove it
  swarm-docks --leave one --force  end the swarm with its last manager"""


def parser() -> program.Parser:
    """Return the parser of swarm-docks."""
    parser = program.Parser(
        _COMMAND, f"{__doc__}", _EXAMPLES, environment="  AWS_PROFILE, AWS_REGION ...  as for the aws command"
    )
    parser.add_argument(
        "manager", metavar="MANAGER", nargs="?", help="dock that is, or becomes, a manager of the swarm"
    )
    parser.add_argument("workers", metavar="WORKER", nargs="*", help="docks to add to it")
    parser.add_argument("--leave", metavar="DOCK", help="remove this dock from its swarm; MANAGER is optional")
    parser.add_argument("--force", action="store_true", help="with --leave: even without a manager, or as the last one")
    parser.add_argument(
        "--advertise-addr",
        metavar="ADDRESS",
        help="address of MANAGER for the others (default: the one that ssh reaches)",
    )
    parser.add_argument("--no-ports", action="store_true", help="do not change the security groups of docks on AWS")
    parser.add_timeout("60", "with --leave: wait SECONDS for containers to end")
    parser.add_dry_run()
    parser.add_quiet()
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Let docks join or one leave; what fails half-way is undone."""
    home = os.path.expanduser("~")
    if args.leave is None:
        if args.manager is None:
            raise UserError("name the manager: swarm-docks MANAGER [WORKER ...], or a dock that leaves: --leave DOCK")
        if args.force:
            raise UserError("--force is for --leave DOCK; leave it out")
        _join(args, _distinct([args.manager, *args.workers], home), home)
        return
    if args.workers or args.advertise_addr:
        raise UserError("--leave removes one dock; leave out WORKER and --advertise-addr")
    _leave(args, inventory.find(args.leave, home), home)


def _distinct(names: Sequence[str], home: str) -> list[Dock]:
    """Return the docks with these names; UserError if one is named twice."""
    docks: dict[Dock, str] = {}
    for name in names:
        dock = inventory.find(name, home)
        if dock in docks:
            raise UserError(f"dock {dock.moniker} is named twice; name each dock once")
        docks[dock] = name
    return [*docks]


def _join(args: argparse.Namespace, docks: Sequence[Dock], home: str) -> None:
    from dockerutils.core.process.children import children  # late, for -h
    from dockerutils.core.rollback import all_or_nothing
    from dockerutils.swarm import joining, nodes, ports

    if args.advertise_addr and (fault := joining.fault_in_address(args.advertise_addr)):
        raise UserError(fault)
    with children() as family, all_or_nothing(_COMMAND, "undone") as rollback:
        manager, *workers = nodes.connect(docks, family)
        joining_now = joining.check(manager, workers)
        advertise = ""
        if not manager.is_manager:
            advertise = args.advertise_addr or joining.own_address(
                manager, lambda: ports.private_address(manager.dock, os.environ)
            )
        elif args.advertise_addr:
            console.warn(
                _COMMAND,
                f"{manager.name} is already a manager, at {manager.manager_address}; --advertise-addr has no effect",
            )
        if not args.no_ports and (joining_now or not manager.is_manager):
            everyone = {*docks, *joining.docks_of(manager, inventory.known(home))}
            ports.open_between(sorted(everyone), os.environ, rollback, dry_run=args.dry_run)
        if args.dry_run:
            joining.plan(manager, joining_now, advertise)
            return
        manager = joining.join(manager, joining_now, advertise, rollback)
        joining.note_docks(manager, [manager, *workers])
        listed = nodes.listed(manager)
    names = ", ".join(sorted(nodes.label(each) or nodes.host_name(each) for each in listed.values()))
    console.note(
        _COMMAND, f"{manager.name} is a manager of the swarm of {names}; to use it, run: source dock {manager.name}"
    )


def _leave(args: argparse.Namespace, dock: Dock, home: str) -> None:
    from dockerutils.core.process.children import children  # late, as above
    from dockerutils.core.rollback import all_or_nothing
    from dockerutils.swarm import leaving, ports

    seconds = program.seconds(args.timeout)
    known = [each for each in inventory.known(home) if not each.is_incomplete]
    among = [inventory.find(args.manager, home)] if args.manager else known
    with children() as family, all_or_nothing(_COMMAND, "undone") as rollback:
        departure = leaving.find(dock, [each for each in among if each != dock], family)
        gone = leaving.leave(departure, rollback, seconds, force=args.force, dry_run=args.dry_run)
    if not args.no_ports:
        remaining = [each.dock for each in departure.others if each.dock not in gone]
        ports.close_after(gone, remaining, os.environ, dry_run=args.dry_run)
    if not args.dry_run:
        what = "has left its swarm" if len(gone) == 1 else "has ended its swarm"
        console.note(_COMMAND, f"{dock.moniker} {what}")
