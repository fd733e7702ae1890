"""Stop docks on AWS; then pay only for the disks."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from dockerutils.aws import instances
from dockerutils.aws.ec2 import STOPPED, Ec2
from dockerutils.aws.session import Session
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.progress import Lines
from dockerutils.docks import remote

_COMMAND = "stop-dock"
_EXAMPLES = """\
  stop-dock                    ask, then stop the dock of this shell
  stop-dock gpu big -y         stop two at the same time, without asking"""


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
    chosen = instances.choose(args.docks, os.environ, home)
    instances.confirm(f"Stop {instances.names(chosen)}?", yes=args.yes, dry_run=args.dry_run)
    session = Session(os.environ, dry_run=args.dry_run)
    by_region = instances.locate(chosen, session, os.environ, home, instances.Consent("stop", args.yes))
    for region, docks in by_region.items():
        ec2 = Ec2(session, region)
        if not args.dry_run:
            instances.require(ec2, docks)
        ec2.stop([each.instance for each in docks])
    if args.dry_run:
        return
    lines = Lines()
    for dock in chosen:
        remote.of(dock).disconnect()
    for region, docks in by_region.items():
        ids = [each.instance for each in docks]
        Ec2(session, region).until(ids, {STOPPED}, deadline, instances.progress(docks, lines))
        for dock, _ in docks:
            lines.end(dock.moniker)
            console.note(_COMMAND, f"{dock.moniker} has stopped; to start it, run: start-dock {dock.moniker}")
