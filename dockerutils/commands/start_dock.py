"""Start docks on AWS that were stopped; it ends when docker answers on each."""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Sequence

from dockerutils.aws import autostop, instances, readiness
from dockerutils.aws.api import Session
from dockerutils.aws.ec2 import RUNNING, STOPPED, Ec2, caller
from dockerutils.aws.instances import Ship
from dockerutils.cli import program
from dockerutils.core import console, process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.progress import Lines
from dockerutils.core.rollback import Undo, all_or_nothing
from dockerutils.docks.records import Dock

_COMMAND = "start-dock"
_EXAMPLES = """\
  start-dock gpu               its address may be another one then; ssh and docker know it
  start-dock gpu big           two, at the same time"""


def parser() -> program.Parser:
    """Return the parser of start-dock."""
    parser = program.aws_dock_parser(_COMMAND, f"{__doc__}", _EXAMPLES, timeout="600")
    parser.add_argument(
        "--autostop", metavar="HOURS", help="stop by itself when nobody has used it for so long; 0 for never"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Start the instances, follow their addresses, and wait for docker; what fails is stopped again."""
    home = os.path.expanduser("~")
    began = time.monotonic()
    deadline = began + program.seconds(args.timeout)
    after = None if args.autostop is None else autostop.hours(args.autostop, least=0)
    chosen = instances.chosen(args.docks, os.environ, home)
    session = Session(os.environ, dry_run=args.dry_run)
    regions = instances.locate(chosen, session, home)
    if args.dry_run:
        for region, ships in regions.items():
            Ec2(session, region).start([ship.instance for ship in ships])
        _autostop(chosen, after, dry_run=True)
        return
    lines = Lines()
    with all_or_nothing(_COMMAND, "stopped again") as undo:
        for region, ships in regions.items():
            _heed(Ec2(session, region), ships, after)
            _start(Ec2(session, region), ships, deadline, undo)
        moored = []
        for region, ships in regions.items():
            moored += _follow(Ec2(session, region), ships, deadline, lines, home)
        show = functools.partial(lines.update, _COMMAND)
        reasons = readiness.await_docker(moored, home, deadline, show, sudo=True)
        lines.end(_COMMAND)
        if failure := readiness.failure(reasons):
            raise failure
        _autostop(moored, after, dry_run=False)
    for dock in moored:
        console.note(_COMMAND, f"{dock.moniker} at {dock.ip} is ready after {time.monotonic() - began:.0f} s")
        if os.environ.get("DOCK_MONIKER") == dock.moniker and os.environ.get("DOCKER_IP") != dock.ip:
            console.warn(_COMMAND, f"DOCKER_IP is that of before here; run: castoff; source dock {dock.moniker}")


def _heed(ec2: Ec2, ships: Sequence[Ship], after: float | None) -> None:
    """See that none of those that are to stop by themselves would be terminated by that."""
    for dock, instance in ships if after else ():
        if not ec2.survives(instance):
            raise DockerutilsError(
                f"AWS would terminate {dock.moniker} when it shuts itself down; "
                f"have the shutdown behavior of {instance} set to stop"
            )


def _autostop(those: Sequence[Dock], after: float | None, *, dry_run: bool) -> None:
    for dock in those if after is not None else ():
        process.run(autostop.command(dock, after or 0.0), dry_run=dry_run)


def _start(ec2: Ec2, ships: Sequence[Ship], deadline: float, undo: Undo) -> None:
    """Start those that do not run, with the door open for this machine."""
    found = instances.there(ec2, ships)
    stopping = [each.id for each in found.values() if each.state == "stopping"]
    if stopping:
        ec2.until(stopping, {STOPPED}, deadline)
    groups = sorted({group for each in found.values() for group in each.groups})
    try:
        ec2.let_in(groups, instances.user(os.environ), functools.partial(caller, os.environ), undo)
    except DockerutilsError as error:
        console.warn(_COMMAND, f"whether this machine is let in is not known: {error}")
    idle = [each.id for each in found.values() if each.state in {STOPPED, "stopping"}]
    if idle:

        def stop() -> str:
            ec2.stop(idle)
            return " ".join(idle)

        with undo.making(" ".join(idle), lambda: ec2.stop_line(idle), stop):
            ec2.start(idle)


def _follow(ec2: Ec2, ships: Sequence[Ship], deadline: float, lines: Lines, home: str) -> list[Dock]:
    """Wait until they run, and write their addresses into the records; return the docks as they are then."""
    found = ec2.until([ship.instance for ship in ships], {RUNNING}, deadline, instances.shown(ships, lines))
    moored = []
    for dock, instance in ships:
        lines.end(dock.moniker)
        moored.append(instances.followed(dock, found[instance], home))
    return moored
