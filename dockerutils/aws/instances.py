"""Docks on AWS that a command is about: which, on whose word, and the instances that they are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dockerutils.aws.api import Session
from dockerutils.aws.ec2 import TERMINATED, Ec2, Instance, is_ip
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.progress import Lines
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from dockerutils.project import project


class Ship(NamedTuple):
    """A dock and the instance that it is."""

    dock: Dock
    instance: str


Fleet = dict[str, list[Ship]]  # by region


def chosen(names: Sequence[str], environ: Mapping[str, str], home: str) -> list[Dock]:
    """Return the docks of these names, each once; that where the shell is docked, if there are no names."""
    wanted: Sequence[str | None] = names or [None]
    return list(dict.fromkeys(inventory.choose(name, environ, home) for name in wanted))


def agree(question: str, *, yes: bool, dry_run: bool) -> None:
    """Ask on the terminal, unless that was answered by -y; DockerutilsError for a no, UserError without a terminal."""
    if yes or dry_run:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"there is no terminal to ask on: {question} Add -y for yes")
    if not console.agreed(question):
        raise DockerutilsError("nothing was done; answer y, or add -y")


def locate(those: Sequence[Dock], session: Session, home: str) -> Fleet:
    """Return the instances of docks, by region; one whose instance is not known is found by its address, and noted."""
    fleet: Fleet = {}
    for number, dock in enumerate(those):
        region = dock.region or session.region
        instance = dock.instance_id or Ec2(session, region).at(dock.ip, f"instance{number or ''}")
        if not instance:
            raise DockerutilsError(
                f"{dock.moniker} is not on AWS: no instance in {region} has the address {dock.ip}; if it is in another "
                f"region, set AWS_REGION"
            )
        found = dock
        if dock.instance_id is None and not session.dry_run:
            found = dock._replace(instance_id=instance, region=region)
            inventory.change(dock, found, home)
        fleet.setdefault(region, []).append(Ship(found, instance))
    return fleet


def there(ec2: Ec2, ships: Sequence[Ship]) -> dict[str, Instance]:
    """Return the instances, by id; DockerutilsError when one is gone."""
    found = ec2.instances([ship.instance for ship in ships])
    for dock, instance in ships:
        if instance not in found or found[instance].state in {"shutting-down", TERMINATED}:
            name = dock.moniker
            raise DockerutilsError(f"the instance of {name}, {instance}, was terminated; run: destroy-dock {name}")
    return found


def names(those: Sequence[Dock]) -> str:
    """Return the docks as a question names them."""
    return ", ".join(f"{dock.moniker} at {dock.ip}" for dock in those)


def user(environ: Mapping[str, str]) -> str:
    """Return who calls, as tags and names of AWS can have it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", project.login_name(environ))[:60]


def shown(ships: Sequence[Ship], lines: Lines) -> Callable[[Mapping[str, Instance]], None]:
    """Return what shows, of instances that are looked at, in what state each is."""

    def show(found: Mapping[str, Instance]) -> None:
        for dock, instance in ships:
            if instance in found:
                lines.update(dock.moniker, f"{dock.moniker}: {found[instance].state}")

    return show


def followed(dock: Dock, instance: Instance, home: str) -> Dock:
    """Write into the record of a dock where it is now, and return it.

    The address that is its own within its network stays; a name is trusted to lead to it.
    """
    if not instance.address or instance.private == dock.ip or not is_ip(dock.ip) or instance.address == dock.ip:
        return dock
    inventory.vacate(instance.address, home)
    address, hostname = (instance.address if each == dock.ip else each for each in (dock.address, dock.hostname))
    if dock.address == dock.instance_id:
        address = hostname = instance.address
    moved = dock._replace(address=address, hostname=hostname, ip=instance.address)
    inventory.change(dock, moved, home)
    return moved
