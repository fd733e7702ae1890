"""The security groups of docks of a swarm that are on AWS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dockerutils.aws import swarm_ports
from dockerutils.aws.ec2 import Ec2
from dockerutils.aws.session import Session
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.rollback import Rollback
from dockerutils.docks.records import Dock
from dockerutils.swarm.joining import COMMAND, PORTS


def open_between(docks: Iterable[Dock], environ: Mapping[str, str], rollback: Rollback, *, dry_run: bool) -> None:
    """Open the ports of a swarm between docks on AWS, unless they are open; a dry run prints the calls."""
    for ec2, here in _regions(docks, environ):
        instances = list(ec2.instances([dock.instance_id or "" for dock in here]).values())
        if swarm_ports.in_several_networks(ec2, instances):
            names = ", ".join(dock.moniker for dock in here)
            console.warn(COMMAND, f"{names} are in different VPCs; open {PORTS} between them")
        rules = swarm_ports.missing(ec2, instances)
        if dry_run:
            for line in swarm_ports.lines(ec2, "authorize", rules):
                print(line, flush=True)
        else:
            swarm_ports.admit(ec2, rules, rollback)


def private_address(dock: Dock, environ: Mapping[str, str]) -> str:
    """Return the private address of a dock on AWS, "" for others."""
    for ec2, _ in _regions([dock], environ):
        found = ec2.instances([dock.instance_id or ""]).get(dock.instance_id or "")
        return (found.private if found else None) or ""
    return ""


def close_after(gone: Sequence[Dock], remaining: Iterable[Dock], environ: Mapping[str, str], *, dry_run: bool) -> None:
    """Remove the rules of `open_between` for docks that have left; warn if AWS refuses that."""
    if not any(dock.instance_id for dock in gone):
        return
    try:
        for ec2, here in _regions([*gone, *remaining], environ):
            found = ec2.instances([dock.instance_id or "" for dock in here])
            left = [found[dock.instance_id] for dock in gone if dock.instance_id in found]
            rules = swarm_ports.to_remove(ec2, left, [each for each in found.values() if each not in left])
            if dry_run:
                for line in swarm_ports.lines(ec2, "revoke", rules):
                    print(line, flush=True)
            else:
                swarm_ports.revoke(ec2, rules)
    except DockerutilsError as error:
        console.warn(COMMAND, f"the rules for the swarm stay in the security groups: {error}")


def _regions(docks: Iterable[Dock], environ: Mapping[str, str]) -> Iterable[tuple[Ec2, list[Dock]]]:
    """Yield the docks that are instances, by region."""
    on_aws = [dock for dock in docks if dock.instance_id and dock.region]
    if not on_aws:
        return
    session = Session(environ, dry_run=False)
    for region in sorted({dock.region or "" for dock in on_aws}):
        yield Ec2(session, region), [dock for dock in on_aws if dock.region == region]
