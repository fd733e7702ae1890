"""Stop docks on AWS: what is on their disks stays, and only that is paid for."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from dockerutils.aws import instances
from dockerutils.aws.api import Session
from dockerutils.aws.ec2 import STOPPED, Ec2
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.progress import Lines
from dockerutils.docks import forwarding

_COMMAND = "stop-dock"
_EXAMPLES = """\
  stop-dock                    where this shell is docked, when you have said y
  stop-dock gpu big -y         two, at the same time"""


def parser() -> program.Parser:
    """Return the parser of stop-dock."""
    parser = program.aws_dock_parser(_COMMAND, f"{__doc__}", _EXAMPLES, timeout="600")
    parser.add_yes()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Stop the instances, and wait until they have stopped."""
    home = os.path.expanduser("~")
    deadline = time.monotonic() + program.seconds(args.timeout)
    docks = instances.chosen(args.docks, os.environ, home)
    instances.agree(f"Stop {instances.names(docks)}?", yes=args.yes, dry_run=args.dry_run)
    session = Session(os.environ, dry_run=args.dry_run)
    regions = instances.locate(docks, session, home)
    for region, ships in regions.items():
        ec2 = Ec2(session, region)
        if not args.dry_run:
            instances.there(ec2, ships)
        ec2.stop([ship.instance for ship in ships])
    if args.dry_run:
        return
    lines = Lines()
    for dock in docks:
        forwarding.hang_up(dock)
    for region, ships in regions.items():
        Ec2(session, region).until(
            [ship.instance for ship in ships], {STOPPED}, deadline, instances.shown(ships, lines)
        )
        for ship in ships:
            lines.end(ship.dock.moniker)
            console.note(
                _COMMAND, f"{ship.dock.moniker} has stopped; to start it again: start-dock {ship.dock.moniker}"
            )
