"""Docks: hosts with a Docker Engine, reached over ssh. Finding them, registering them, and the shell that is docked.

The records (records.py) are the only truth. What ssh reads (ssh_config.py) is made of all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from dockerutils.core import console
from dockerutils.core.errors import UserError
from dockerutils.docks import records, ssh_config
from dockerutils.docks.records import Dock

# What `source dock` changes, and castoff puts back. A variable that was set before is kept under its name with BEFORE
# in front of it: the sourced script has the same names.
CHANGED = (
    *("DOCKER_HOST", "DOCKER_IP", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
    *("DOCK_MONIKER", "DOCK_ADDRESS", "DOCK_USER", "DOCK_HOSTNAME", "DOCK_IP", "DOCK_PORT", "DOCK_IDENTITY"),
    *("DOCK_INSTANCE_ID", "DOCK_REGION", "DOCK_PROVISIONED_PRODUCT"),
)
BEFORE = "DOCKERUTILS_BEFORE_"

INCOMPLETE = "dock {0} is not complete; if its create-dock no longer runs, run it again, or run: destroy-dock {0}"

_LOCK = "dock.lock"


def known(home: str) -> list[Dock]:
    """Return the docks registered in a home directory, by moniker; a record that is no good draws a warning."""
    docks, faults = _survey(home)
    for fault in faults:
        console.warn("dock", fault)
    return docks


def find(name: str, home: str, *, incomplete: bool = False) -> Dock:
    """Return the dock with that moniker or address, known to ssh; UserError has the known ones when there is none.

    UserError also for a dock that create-dock has not finished, unless `incomplete` allows it.
    """
    docks = known(home)
    if dock := _chosen(name, docks, home):
        if dock.is_incomplete and not incomplete:
            raise UserError(INCOMPLETE.format(dock.moniker))
        return dock
    raise UserError(f"unknown dock {name!r}; {_those(docks)}")


def lookup(name: str, home: str) -> Dock | None:
    """Return the dock with that moniker or address, known to ssh, None when there is none."""
    return _chosen(name, known(home), home)


def choose(name: str | None, environ: Mapping[str, str], home: str, *, incomplete: bool = False) -> Dock:
    """Return the dock called `name`, for None the one that the shell is docked to; UserError if there is none such."""
    if name is None and not environ.get("DOCK_MONIKER"):
        raise UserError(f"this shell is not docked; name a dock, or run: source dock NAME; {_those(known(home))}")
    return find(environ["DOCK_MONIKER"] if name is None else name, home, incomplete=incomplete)


def undocked(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as it was before `source dock`; a copy of it when the shell is not docked."""
    if not environ.get("DOCK_MONIKER"):
        return dict(environ)
    of_now = {*CHANGED, *(BEFORE + name for name in CHANGED)}
    kept = {name: value for name, value in environ.items() if name not in of_now}
    return kept | {name: environ[BEFORE + name] for name in CHANGED if BEFORE + name in environ}


def docked(dock: Dock) -> dict[str, str]:
    """Return the variables of CHANGED that are set in a shell that is docked to `dock`."""
    return {
        "DOCKER_HOST": dock.docker_host,
        "DOCKER_IP": dock.ip,
        "DOCK_ADDRESS": dock.address,
        **{name: value for name, value in dock.variables.items() if name in CHANGED},
    }


def clash(dock: Dock, docks: Iterable[Dock]) -> str:
    """Return why `dock` cannot be registered beside the others, nothing when it can; one of its address it replaces."""
    for other in docks:
        if other.address != dock.address and {dock.moniker, dock.address} & {other.moniker, other.address}:
            return (
                f"{dock.moniker!r} means {other.moniker} at {other.address} already; choose another moniker, "
                f"or run: unregister-dock {other.moniker}"
            )
    return ""


def register(dock: Dock, home: str) -> None:
    """Write the record of a dock, replacing one at the same address, and its ssh stanza.

    The known keys of the host at that address remain valid, also under another moniker. UserError if another dock has
    the moniker; OSError if a file cannot be written.
    """
    with locked(home):
        others = [other for other in _survey(home)[0] if other.address != dock.address]
        if fault := clash(dock, others):
            raise UserError(fault)
        _write(dock, others, dock.address, home)


def change(old: Dock, new: Dock, home: str) -> None:
    """Replace the record of a dock, also at another address; the known keys of its host remain valid.

    OSError if a file cannot be written.
    """
    with locked(home):
        others = [other for other in _survey(home)[0] if other.address not in {old.address, new.address}]
        _write(new, others, old.address, home)
        if old.address != new.address:
            records.remove(old.address, home)


def _write(dock: Dock, others: list[Dock], address: str, home: str) -> None:
    """Write a dock's stanza and record; the keys of its host are those known at `address`."""
    os.makedirs(os.path.dirname(records.path(dock.address, home)), 0o700, exist_ok=True)
    # The record comes last: a stanza without a record does no harm, a record without a stanza does.
    ssh_config.tell([*others, dock], home)
    if keys := ssh_config.text_of(records.known_hosts(address, home)):
        ssh_config.know_keys(dock, re.findall(r"(?m)^[^\s#@]\S*\s+(\S.*?)\s*$", keys), home)
    records.write(dock, home)


def vacate(address: str, home: str) -> None:
    """See that no record stands at an address that AWS has given to an instance just now.

    An instance that is stopped has none any more: the dock is kept under the instance's id. UserError for another one.
    """
    for dock in known(home):
        if dock.address == address:
            if not dock.instance_id or dock.instance_id == address:
                raise UserError(f"{dock.moniker} is registered at {address}; run: unregister-dock {dock.moniker}")
            change(dock, dock._replace(address=dock.instance_id), home)


def tell_ssh(docks: list[Dock], home: str) -> None:
    """See that ssh knows the docks that are known; those whose record an earlier version wrote have no stanza yet."""
    if docks and not ssh_config.is_told(docks, home):
        with locked(home):
            ssh_config.tell(_survey(home)[0], home)


def unregister(address: str, home: str) -> None:
    """Remove the record of a dock, one that is no good too, and what ssh knows of it; OSError when that cannot be."""
    with locked(home):
        ssh_config.tell([other for other in _survey(home)[0] if other.address != address], home)
        records.remove(address, home)


def address_of(name: str, docks: Iterable[Dock], home: str) -> str:
    """Return the address of the dock called `name`, or having that address though its record may be no good."""
    if found := _matching(name, docks):
        return found.address
    if name in records.addresses(home):
        return name
    raise UserError(f"unknown dock {name!r}; {_those(docks)}")


def _chosen(name: str, docks: list[Dock], home: str) -> Dock | None:
    found = _matching(name, docks)
    if found:
        tell_ssh(docks, home)
    return found


def _survey(home: str) -> tuple[list[Dock], list[str]]:
    """Return the docks by moniker, and what is wrong with the records that make none."""
    docks: dict[str, Dock] = {}
    faults = []
    for address in records.addresses(home):
        try:
            dock = records.read(address, home)
        except UserError as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{records.path(address, home)}: {error.strerror}; mend its permissions")
        else:
            other = docks.setdefault(dock.moniker, dock)
            if other != dock:
                faults.append(
                    f"{records.path(address, home)}: {dock.moniker!r} is the moniker of {other.address} already; "
                    f"give it another: register-dock {address} MONIKER"
                )
    return [docks[moniker] for moniker in sorted(docks)], faults


def _matching(name: str, docks: Iterable[Dock]) -> Dock | None:
    return next((dock for dock in docks if name in {dock.moniker, dock.address}), None)


def _those(docks: Iterable[Dock]) -> str:
    monikers = ", ".join(dock.moniker for dock in docks)
    return f"known docks: {monikers}" if monikers else "register one: register-dock ADDRESS MONIKER"


@contextmanager
def locked(home: str, name: str = _LOCK) -> Iterator[None]:
    """Let one process at a time run the block: the lock is a file in ~/.docker. It is not reentrant."""
    import fcntl

    directory = os.path.join(home, ".docker")
    os.makedirs(directory, 0o700, exist_ok=True)
    with open(os.path.join(directory, name), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
