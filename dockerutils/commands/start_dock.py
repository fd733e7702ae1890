"""Start docks on AWS; wait until docker answers."""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Sequence

from dockerutils.aws import access, autostop, instances, readiness, session_manager
from dockerutils.aws.ec2 import RUNNING, STOPPED, Ec2
from dockerutils.aws.instances import Consent, DockInstance
from dockerutils.aws.session import Session
from dockerutils.cli import program
from dockerutils.core import console, process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.progress import Lines
from dockerutils.core.rollback import Rollback, all_or_nothing
from dockerutils.docks.records import Dock

_COMMAND = "start-dock"
_EXAMPLES = """\
  start-dock gpu                  start it, and update its address
  start-dock gpu big              start two at the same time
  start-dock gpu --autostop 2     stop it after two hours without use"""


def parser() -> program.Parser:
    """Return the parser of start-dock."""
    parser = program.aws_dock_parser(_COMMAND, f"{__doc__}", _EXAMPLES, timeout="600")
    parser.add_argument(
        "--autostop", metavar="HOURS", type=autostop.hours, help="stop the dock after HOURS without use; 0: never"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Start the instances, update the addresses, and wait for docker; on failure stop them again."""
    home = os.path.expanduser("~")
    began = time.monotonic()
    deadline = began + program.seconds(args.timeout)
    chosen = instances.choose(args.docks, os.environ, home)
    session = Session(os.environ, dry_run=args.dry_run)
    by_region = instances.locate(chosen, session, os.environ, home, Consent("start"))
    if args.dry_run:
        for region, docks in by_region.items():
            Ec2(session, region).start([each.instance for each in docks])
        _set_autostop(chosen, args.autostop, dry_run=True)
        return
    lines = Lines()
    with all_or_nothing(_COMMAND, "stopped again") as rollback:
        for region, docks in by_region.items():
            _check_shutdown_behavior(Ec2(session, region), docks, args.autostop)
            _start(Ec2(session, region), docks, deadline, rollback)
        started = []
        for region, docks in by_region.items():
            started += _update_addresses(Ec2(session, region), docks, deadline, lines, home)
        show = functools.partial(lines.update, _COMMAND)
        reasons = readiness.await_docker(started, home, deadline, show, sudo=True)
        lines.end(_COMMAND)
        if failure := readiness.failure(reasons):
            raise failure
        _set_autostop(started, args.autostop, dry_run=False)
    for dock in started:
        console.note(_COMMAND, f"{dock.moniker} at {dock.ip} is ready after {time.monotonic() - began:.0f} s")
        if os.environ.get("DOCK_MONIKER") == dock.moniker and os.environ.get("DOCKER_IP") != dock.ip:
            console.warn(_COMMAND, f"DOCKER_IP of this shell is outdated; run: castoff; source dock {dock.moniker}")


def _check_shutdown_behavior(ec2: Ec2, docks: Sequence[DockInstance], autostop_hours: float | None) -> None:
    """Raise DockerutilsError for a dock that autostop would terminate."""
    for dock, instance in docks if autostop_hours else ():
        if not ec2.stops_on_shutdown(instance):
            raise DockerutilsError(
                f"autostop would terminate {dock.moniker}; change the shutdown behavior of {instance} to stop"
            )


def _set_autostop(docks: Sequence[Dock], hours: float | None, *, dry_run: bool) -> None:
    for dock in docks if hours is not None else ():
        command = autostop.command(dock, hours or 0.0)
        process.run(command, dry_run=dry_run, escaped=[process.STDOUT, process.STDERR])


def _start(ec2: Ec2, docks: Sequence[DockInstance], deadline: float, rollback: Rollback) -> None:
    """Start the instances that do not run, and admit this machine."""
    found = instances.require(ec2, docks)
    stopping = [each.id for each in found.values() if each.state == "stopping"]
    if stopping:
        ec2.until(stopping, {STOPPED}, deadline)
    # Session Manager needs no open port.
    by_address = [instance for dock, instance in docks if not session_manager.is_used_by(dock)]
    groups = sorted({group for instance in by_address for group in found[instance].groups})
    try:
        network = functools.partial(access.own_network, os.environ, ec2.session)
        access.admit(ec2, groups, instances.user(os.environ), network, rollback)
    except DockerutilsError as error:
        console.warn(_COMMAND, f"the security group may not admit this machine: {error}")
    idle = [each.id for each in found.values() if each.state in {STOPPED, "stopping"}]
    if idle:

        def stop() -> str:
            ec2.stop(idle)
            return " ".join(idle)

        with rollback.making(" ".join(idle), lambda: ec2.line("stop-instances", {"InstanceIds": idle}), stop):
            ec2.start(idle)


def _update_addresses(ec2: Ec2, docks: Sequence[DockInstance], deadline: float, lines: Lines, home: str) -> list[Dock]:
    """Wait until the instances run, and write their addresses into the records; return the docks."""
    found = ec2.until([each.instance for each in docks], {RUNNING}, deadline, instances.progress(docks, lines))
    started = []
    for dock, instance in docks:
        lines.end(dock.moniker)
        started.append(instances.update_address(dock, found[instance], home))
    return started
