"""The instances of docks: which one is a dock, in what state it is, and the user's consent to change it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dockerutils.aws.ec2 import RUN, RUNNING, TERMINATED, TOOL, Ec2, Instance, filter_list, is_ip
from dockerutils.aws.session import Session
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.progress import Lines
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from dockerutils.project import project


class DockInstance(NamedTuple):
    """A dock and the id of its instance."""

    dock: Dock
    instance: str


class Consent(NamedTuple):
    """What the user wants to do with docks (`stop`), and whether `-y` agrees to it."""

    verb: str
    yes: bool = False


def choose(names: Sequence[str], environ: Mapping[str, str], home: str, *, incomplete: bool = False) -> list[Dock]:
    """Return the docks with these names, each once; without names the one that the shell is docked to."""
    wanted: Sequence[str | None] = names or [None]
    return list(dict.fromkeys(inventory.choose(name, environ, home, incomplete=incomplete) for name in wanted))


def confirm(question: str, *, yes: bool, dry_run: bool) -> None:
    """Ask on the terminal, unless `yes`; DockerutilsError for a no, UserError without a terminal."""
    if yes or dry_run:
        return
    if not _has_terminal():
        raise UserError(f'cannot ask "{question}" without a terminal; add -y for yes')
    if not console.agreed(question):
        raise DockerutilsError("nothing was done; answer y, or add -y")


def locate(
    docks: Sequence[Dock], session: Session, environ: Mapping[str, str], home: str, consent: Consent
) -> dict[str, list[DockInstance]]:
    """Return the instances of docks, by region.

    A dock whose instance is not known is found by its public address, and the record is completed. An instance that
    create-dock did not make for this user is used only if the user agrees on the terminal; `-y` does not count.
    """
    by_region: dict[str, list[DockInstance]] = {}
    for number, dock in enumerate(docks):
        region = dock.region or session.region
        if dock.instance_id:
            by_region.setdefault(region, []).append(DockInstance(dock, dock.instance_id))
            continue
        ec2 = Ec2(session, region)
        variable = f"instance{number or ''}"
        instance = at_address(ec2, dock.ip, {"tag:tool": [TOOL], "tag:user": [user(environ)]}, variable)
        if session.dry_run:
            by_region.setdefault(region, []).append(DockInstance(dock, instance))
            continue
        found = ec2.instances([instance]).get(instance) if instance else _foreign(dock, ec2, consent)
        if not found:
            raise DockerutilsError(
                f"no instance in {region} has the public address {dock.ip} of {dock.moniker}; "
                "if the dock is on AWS, set AWS_REGION to its region"
            )
        complete = dock._replace(
            instance_id=found.id, region=region, account=found.account, run=found.tags.get(RUN) or dock.run
        )
        inventory.change(dock, complete, home)
        by_region.setdefault(region, []).append(DockInstance(complete, found.id))
    return by_region


def at_address(ec2: Ec2, address: str, filters: Mapping[str, Sequence[str]], variable: str = "instance") -> str:
    """Return the id of the instance with that public address or name, nothing if none has it.

    Private addresses do not count: every network has the same ones.
    """
    where = {"ip-address" if is_ip(address) else "dns-name": [address]}
    query = "Reservations[].Instances[].InstanceId|[0]"
    return ec2.call("describe-instances", {"Filters": filter_list({**where, **filters})}, query, variable) or ""


def of_product(ec2: Ec2, address: str) -> str:
    """Return the id of the instance of a product that we provisioned, found by a public or private address."""
    kinds = ("ip-address", "private-ip-address") if is_ip(address) else ("dns-name", "private-dns-name")
    found = (next(iter(ec2.matching({kind: [address]})), "") for kind in kinds)
    return next(filter(None, found), "")


def tie(dock: Dock, instance: str, ec2: Ec2) -> tuple[Dock, str]:
    """Return a dock as that of an instance that the user names, and the state of the instance.

    DockerutilsError if there is no such instance, or it runs and the dock's host is at none of its addresses. A stopped
    instance has no public address.
    """
    found = ec2.instances([instance]).get(instance)
    if not found or found.state in {"shutting-down", TERMINATED}:
        fact = f"AWS account {ec2.session.account} has no instance {instance} in {ec2.region}"
        raise DockerutilsError(f"{fact}; correct --instance and --region, or set AWS_PROFILE")
    if found.state == RUNNING and _is_elsewhere(dock, found):
        addresses = ", ".join(sorted(found.addresses))
        raise DockerutilsError(
            f"{dock.ip} is not an address of instance {instance}, which has {addresses}; correct --instance"
        )
    tied = dock._replace(instance_id=instance, region=ec2.region, account=found.account, run=found.tags.get(RUN))
    return tied, found.state


def _is_elsewhere(dock: Dock, instance: Instance) -> bool:
    """Return whether a dock is at no address of an instance; one whose name is unknown here can be."""
    import socket  # late, for -h

    if dock.ip in {*instance.addresses, instance.id}:
        return False
    try:
        found = {str(place[0]) for *_, place in socket.getaddrinfo(dock.ip, None)}
    except (OSError, UnicodeError):
        return False
    return not found & instance.addresses


def _foreign(dock: Dock, ec2: Ec2, consent: Consent) -> Instance | None:
    """Return an instance that others made and that has the dock's address, if the user agrees."""
    instance = at_address(ec2, dock.ip, {})
    if not instance:
        return None
    found = ec2.instances([instance])[instance]
    name = found.tags.get("Name") or "none"
    fact = f"instance {instance} (Name: {name}) has the address of {dock.moniker}, but is not a dock that you created"
    if consent.yes or not _has_terminal():
        raise DockerutilsError(f"{fact}; to {consent.verb} it, run the command on a terminal without -y")
    if not console.agreed(f"{fact[0].upper()}{fact[1:]}. {consent.verb.capitalize()} it?"):
        raise DockerutilsError("nothing was done; answer y")
    return found


def require(ec2: Ec2, docks: Sequence[DockInstance]) -> dict[str, Instance]:
    """Return the instances, by id; DockerutilsError when one is gone, or belongs to another account."""
    found = ec2.instances([each.instance for each in docks])
    for dock, instance in docks:
        if instance not in found:
            require_account(dock, ec2.session)
        if instance not in found or found[instance].state in {"shutting-down", TERMINATED}:
            raise DockerutilsError(gone(dock))
    return found


def gone(dock: Dock) -> str:
    """Return the message about a dock whose instance does not exist any more."""
    return f"instance {dock.instance_id} of {dock.moniker} was terminated; run: destroy-dock {dock.moniker}"


def require_account(dock: Dock, session: Session) -> None:
    """Raise DockerutilsError unless the credentials are for the dock's account: others do not see its instance."""
    if not session.dry_run and (fault := fault_in_account(dock, session.account)):
        raise DockerutilsError(fault)


def fault_in_account(dock: Dock, account: str) -> str:
    """Return why credentials for `account` cannot show whether the dock's instance exists, nothing if they do."""
    if dock.account == account:
        return ""
    what = f"AWS account {account} has no instance {dock.instance_id or ''}".rstrip()
    if dock.account:
        return f"{what}: {dock.moniker} belongs to account {dock.account}; set AWS_PROFILE to a profile of that account"
    return (
        f"{what}; if {dock.moniker} is in another account, set AWS_PROFILE; if it was terminated, "
        f"run: unregister-dock {dock.moniker}"
    )


def names(docks: Sequence[Dock]) -> str:
    """Return the docks as a question names them."""
    return ", ".join(
        f"{dock.moniker} (incomplete)" if dock.is_incomplete else f"{dock.moniker} at {dock.ip}" for dock in docks
    )


def user(environ: Mapping[str, str]) -> str:
    """Return the user's name in characters that AWS takes in tags and names."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", project.login_name(environ))[:60]


def progress(docks: Sequence[DockInstance], lines: Lines) -> Callable[[Mapping[str, Instance]], None]:
    """Return a function that shows the states of instances."""

    def show(found: Mapping[str, Instance]) -> None:
        for dock, instance in docks:
            if instance in found:
                lines.update(dock.moniker, f"{dock.moniker}: {found[instance].state}")

    return show


def update_address(dock: Dock, instance: Instance, home: str) -> Dock:
    """Write the instance's address into the record of a dock, and return the dock.

    An address that is still one of the instance's stays, and so does a host name.
    """
    if not instance.address or dock.ip in instance.addresses or not is_ip(dock.ip):
        return dock
    inventory.release_address(instance.address, home)
    address, hostname = (instance.address if each == dock.ip else each for each in (dock.address, dock.hostname))
    if dock.address == dock.instance_id:
        address = hostname = instance.address
    moved = dock._replace(address=address, hostname=hostname, ip=instance.address)
    inventory.change(dock, moved, home)
    return moved


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
