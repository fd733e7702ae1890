"""The end of the script that a dry run of create-dock prints: it waits for the new instance and registers it."""

from __future__ import annotations

import os

from dockerutils.aws import session_manager
from dockerutils.aws.ec2 import Ec2
from dockerutils.aws.session import Session, with_variables
from dockerutils.core.process import Command
from dockerutils.docks.records import Dock


def print_registration(instance: str, dock: Dock, session: Session, *, private: bool) -> None:
    """Print the lines for an instance that becomes `dock`; a private one is reached through Session Manager."""
    ec2 = Ec2(session)
    of = {"InstanceIds": [instance]}
    ec2.call("wait instance-status-ok", of)
    more = ["--identity", dock.identity] if dock.identity else []
    address = known = with_variables(instance, ["instance"])
    if private:
        print(session_manager.configuration_line(address, session.region, os.environ), flush=True)
    else:
        addresses = ",".join(f"Reservations[0].Instances[0].{each}IpAddress" for each in ("Public", "Private"))
        address = with_variables(ec2.call("describe-instances", of, f"not_null({addresses})", "ip"), ["ip"])
    more += ["--instance", known, "--region", session.region]
    print(Command(["register-dock", address, dock.moniker, "--user", dock.user, *more]), flush=True)
