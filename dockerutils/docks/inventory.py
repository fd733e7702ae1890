"""The registered docks: find, register and remove them; the environment of a docked shell.

The records (records.py) are the source; the ssh stanzas (ssh_config.py) are generated from them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from dockerutils.core import console, shell_words
from dockerutils.core.errors import UserError
from dockerutils.docks import records, ssh_config
from dockerutils.docks.records import Dock

# The variables that `source dock` sets or unsets, and castoff restores. BEFORE and the name is the variable with the
# value from before. shell/dock has the same names.
CHANGED = (
    *("DOCKER_HOST", "DOCKER_IP", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
    *("DOCK_MONIKER", "DOCK_ADDRESS", "DOCK_USER", "DOCK_HOSTNAME", "DOCK_IP", "DOCK_PORT", "DOCK_IDENTITY"),
    *("DOCK_INSTANCE_ID", "DOCK_REGION", "DOCK_PROVISIONED_PRODUCT"),
)
BEFORE = "DOCKERUTILS_BEFORE_"

INCOMPLETE = "dock {0} is incomplete; if its create-dock is no longer running, run it again, or run: destroy-dock {0}"

_LOCK = "dock.lock"


def known(home: str) -> list[Dock]:
    """Return the docks registered in a home directory, by moniker; warn about damaged records."""
    docks, faults = survey(home)
    for fault in faults:
        console.warn("dock", fault)
    return docks


def find(name: str, home: str, *, incomplete: bool = False) -> Dock:
    """Return the dock with that moniker or address; UserError lists the known docks if there is no such dock.

    UserError also for a dock that create-dock has not finished, unless `incomplete` allows it. Its ssh stanza exists.
    """
    docks = known(home)
    if dock := _lookup(name, docks, home):
        if dock.is_incomplete and not incomplete:
            raise UserError(INCOMPLETE.format(dock.moniker))
        return dock
    raise UserError(f"unknown dock {name!r}; {_listed(docks)}")


def lookup(name: str, home: str) -> Dock | None:
    """Return the dock with that moniker or address, whose ssh stanza exists then; None if there is no such dock."""
    return _lookup(name, known(home), home)


def choose(name: str | None, environ: Mapping[str, str], home: str, *, incomplete: bool = False) -> Dock:
    """Return the dock `name`, for None that of the docked shell; UserError if there is no such dock."""
    if name is None and not environ.get("DOCK_MONIKER"):
        raise UserError(f"this shell is not docked; name a dock, or run: source dock NAME; {_listed(known(home))}")
    return find(environ["DOCK_MONIKER"] if name is None else name, home, incomplete=incomplete)


def undocked(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as it was before `source dock`; an equal one if the shell is not docked."""
    if not environ.get("DOCK_MONIKER"):
        return dict(environ)
    changed = {*CHANGED, *(BEFORE + name for name in CHANGED)}
    kept = {name: value for name, value in environ.items() if name not in changed}
    return kept | {name: environ[BEFORE + name] for name in CHANGED if BEFORE + name in environ}


def docked(dock: Dock) -> dict[str, str]:
    """Return the variables, of those in CHANGED, that a shell docked to `dock` has."""
    return {
        "DOCKER_HOST": dock.docker_host,
        "DOCKER_IP": dock.ip,
        "DOCK_ADDRESS": dock.address,
        **{name: value for name, value in dock.variables.items() if name in CHANGED},
    }


def conflicts(dock: Dock, docks: Iterable[Dock], *, hosts: bool = True) -> list[Dock]:
    """Return the docks that have the moniker or address of `dock`, or are the same host if `hosts` count.

    The dock itself, with the same moniker and address, does not count.
    """
    return [
        other
        for other in docks
        if (other.moniker, other.address) != (dock.moniker, dock.address)
        and ({dock.moniker, dock.address} & {other.moniker, other.address} or (hosts and _place(dock) & _place(other)))
    ]


def _place(dock: Dock) -> set[object]:
    """Return what only one host has: an instance, an address with the way to it; the latter not if it was released."""
    route = tuple(each for each in dock.settings if each.startswith("Proxy"))
    place = (dock.ip.lower(), dock.port or 22, route)
    is_there = dock.ip and not dock.is_incomplete and dock.address != dock.instance_id
    return {*([dock.instance_id] if dock.instance_id else []), *([place] if is_there else [])}


def clash(dock: Dock, docks: Iterable[Dock], instead: str = "run: unregister-dock {0}", *, hosts: bool = False) -> str:
    """Return why `dock` cannot be registered beside `docks`, "" if it can; see `conflicts`.

    `instead` is what the user can do about it, a template with the moniker of the other dock.
    """
    for other in conflicts(dock, docks, hosts=hosts):
        remedy = instead.format(other.moniker)
        if dock.address == other.address:
            return f"{dock.address} is already the dock {other.moniker}; use that dock, or {remedy}"
        if taken := {dock.moniker, dock.address} & {other.moniker, other.address}:
            return f"{min(taken)!r} is already {other.moniker} at {other.address}; choose another moniker, or {remedy}"
        return f"{dock.ip} is already the dock {other.moniker}, at {other.address}; use that dock, or {remedy}"
    return ""


def register(dock: Dock, home: str, *, replace: bool = False, keys: Sequence[str] = ()) -> None:
    """Write the record of a dock and its ssh stanza; with `replace`, remove the docks that it conflicts with.

    The known keys of the host at that address remain valid, also under another moniker; without any, `keys` are.
    UserError if there are conflicts; OSError if a file cannot be written.
    """
    with locked(home):
        docks = survey(home)[0]
        replaced = conflicts(dock, docks, hosts=replace)
        if replaced and not replace:
            raise UserError(clash(dock, docks))
        others = [other for other in docks if other.address != dock.address and other not in replaced]
        _write(dock, others, home, _known_keys(dock, home) or keys)
        for other in replaced:
            if other.address != dock.address:
                records.remove(other.address, home)


def change(old: Dock, new: Dock, home: str) -> None:
    """Replace the record of a dock, also at another address; keys of its host and the state of syncs remain valid.

    OSError if a file cannot be written.
    """
    with locked(home):
        others = [other for other in survey(home)[0] if other.address not in {old.address, new.address}]
        _write(new, others, home, _known_keys(old, home))
        if old.address != new.address:
            records.move_state(old.address, new.address, home)
            records.remove(old.address, home)


def _write(dock: Dock, others: list[Dock], home: str, keys: Sequence[str]) -> None:
    """Write a dock's stanza, the keys of its host if there are any, and its record."""
    os.makedirs(os.path.dirname(records.path(dock.address, home)), 0o700, exist_ok=True)
    # The record comes last: a stanza without a record does no harm, a record without a stanza does.
    ssh_config.write_stanzas([*others, dock], home)
    if keys:
        ssh_config.write_host_keys(dock, keys, home)
    records.write(dock, home)


def _known_keys(dock: Dock, home: str) -> list[str]:
    return ssh_config.keys_in(ssh_config.text_of(records.known_hosts(dock.address, home)) or "")


def release_address(address: str, home: str) -> None:
    """Release an address that AWS has given to a new instance: the dock registered there moves to its instance's id.

    AWS takes the address of an instance that stops. UserError if the dock there is not an instance.
    """
    for dock in known(home):
        if dock.address == address:
            if not dock.instance_id or dock.instance_id == address:
                raise UserError(f"{dock.moniker} is registered at {address}; run: unregister-dock {dock.moniker}")
            change(dock, dock._replace(address=dock.instance_id), home)


def remains(dock: Dock) -> str:
    """Return that a dock's instance remains when the dock is removed here, and what terminates it; "" without one."""
    if dock.is_incomplete:
        return (
            "create-dock may have left an instance on AWS, which costs money; to remove it, run: "
            "destroy-dock --leftovers"
        )
    if not dock.instance_id:
        return ""
    region = ["--region", dock.region] if dock.region else []
    if dock.provisioned_product:
        what = ["servicecatalog", "terminate-provisioned-product", "--provisioned-product-id", dock.provisioned_product]
    else:
        what = ["ec2", "terminate-instances", "--instance-ids", dock.instance_id]
    line = shell_words.render(["aws", *what, *region])
    return f"its AWS instance {dock.instance_id} remains and costs money; to terminate it, run: {line}"


def update_ssh_config(docks: list[Dock], home: str) -> None:
    """Write the ssh stanzas if they are not those of these docks: records of earlier versions have none."""
    if docks and not ssh_config.is_current(docks, home):
        with locked(home):
            ssh_config.write_stanzas(survey(home)[0], home)


def unregister(address: str, home: str) -> None:
    """Remove the record of a dock, also a damaged one, and its ssh stanza; OSError if that fails."""
    with locked(home):
        ssh_config.write_stanzas([other for other in survey(home)[0] if other.address != address], home)
        records.remove(address, home)


def address_of(name: str, docks: Iterable[Dock], home: str) -> str:
    """Return the address of the dock with that moniker or address; its record can be damaged."""
    if found := _matching(name, docks):
        return found.address
    if name in records.addresses(home):
        return name
    raise UserError(f"unknown dock {name!r}; {_listed(docks)}")


def _lookup(name: str, docks: list[Dock], home: str) -> Dock | None:
    found = _matching(name, docks)
    if found:
        update_ssh_config(docks, home)
    return found


def survey(home: str) -> tuple[list[Dock], list[str]]:
    """Return the docks by moniker, and the faults of damaged records."""
    docks: dict[str, Dock] = {}
    faults = []
    for address in records.addresses(home):
        try:
            dock = records.read(address, home)
        except UserError as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{records.path(address, home)}: {error.strerror}; correct its permissions")
        else:
            other = docks.setdefault(dock.moniker, dock)
            if other != dock:
                faults.append(
                    f"{records.path(address, home)}: {dock.moniker!r} is already the moniker of {other.address}; "
                    f"choose another: register-dock {address} MONIKER"
                )
    return [docks[moniker] for moniker in sorted(docks)], faults


def _matching(name: str, docks: Iterable[Dock]) -> Dock | None:
    return next((dock for dock in docks if name in {dock.moniker, dock.address}), None)


def _listed(docks: Iterable[Dock]) -> str:
    monikers = ", ".join(dock.moniker for dock in docks)
    return f"known docks: {monikers}" if monikers else "register one: register-dock HOST MONIKER"


@contextmanager
def locked(home: str, name: str = _LOCK) -> Iterator[None]:
    """Let one process at a time run the block; the lock, a file in ~/.docker, is not reentrant."""
    directory = os.path.join(home, ".docker")
    os.makedirs(directory, 0o700, exist_ok=True)
    with open(os.path.join(directory, name), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
