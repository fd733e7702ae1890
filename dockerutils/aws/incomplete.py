"""Docks that create-dock has not finished: their record is written before anything is created in AWS.

A record that an interrupted or killed create-dock leaves leads to everything it made, by the run tag.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dockerutils.aws import instances, resources
from dockerutils.aws.ec2 import Ec2
from dockerutils.aws.service_catalog import Catalog
from dockerutils.aws.session import Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.docks import inventory, records
from dockerutils.docks.records import Dock

_PRODUCT = "product-"


def new_run(*, product: bool, spot: bool) -> str:
    """Return a new run tag, for Service Catalog or for EC2, there for a spot instance or not."""
    return (_PRODUCT if product else resources.SPOT_RUN if spot else "") + os.urandom(8).hex()


def new(moniker: str, user: str, identity: str | None, session: Session, run: str) -> Dock:
    """Return the record of a dock that is about to be created."""
    address = f"creating-{run}"
    region, account = session.region, session.account
    return Dock(moniker, address, user, address, address, None, identity, None, region, None, account, run)


@contextmanager
def locked(dock: Dock, home: str) -> Iterator[None]:
    """Hold the lock of an incomplete dock; DockerutilsError while the create-dock that makes it runs."""
    directory = os.open(os.path.dirname(records.path(dock.address, home)), os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DockerutilsError(
                f"create-dock {dock.moniker} is still running; wait for it, or interrupt it"
            ) from None
        yield
    finally:
        os.close(directory)


def remove(dock: Dock, session: Session, home: str) -> list[str]:
    """Remove everything that was made for an incomplete dock, then its record; return what was removed."""
    assert dock.run
    assert dock.region
    with locked(dock, home):
        instances.require_account(dock, session)
        if dock.run.startswith(_PRODUCT):
            removed = [Catalog(session, dock.region).remove(dock.moniker, dock.run)]
        else:
            removed = resources.remove_all(Ec2(session, dock.region), dock.run)
        if not session.dry_run:
            inventory.unregister(dock.address, home)
    return list(filter(None, removed))
