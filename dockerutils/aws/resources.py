"""What create-dock made in AWS for one dock: an instance, a key pair and a security group, found by their run tag."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from dockerutils.aws import ec2 as ec2_module
from dockerutils.aws.ec2 import LIVE, RUN, TERMINATED, TOOL, Ec2, filter_list
from dockerutils.aws.errors import Refused
from dockerutils.aws.session import OR_EMPTY

# Seconds until EC2 finds by its tag what it has just created, and until it releases a terminated instance's group.
FIND, RELEASE = 10.0, 600.0


class Kind(NamedTuple):
    """A kind of resource: the name of its describe call, and where ids and tags are in the answer."""

    name: str
    items: str
    id: str

    @property
    def variable(self) -> str:
        """The shell variable of a dry run that has the id."""
        return self.id.lower().removesuffix("id").removesuffix("name")


INSTANCES = Kind("instances", "Reservations[].Instances[]", "InstanceId")
KEYS = Kind("key-pairs", "KeyPairs[]", "KeyName")
GROUPS = Kind("security-groups", "SecurityGroups[]", "GroupId")
_SPOT_REQUESTS = Kind("spot-instance-requests", "SpotInstanceRequests[]", "SpotInstanceRequestId")
# Requests in these states can be cancelled: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-cancel.html
_STATES: dict[Kind, dict[str, Sequence[str]]] = {
    INSTANCES: {"instance-state-name": LIVE},
    _SPOT_REQUESTS: {"state": ("open", "active", "disabled")},
}
# The run tag of a dock that is, or was to be, a spot instance, starts with this.
SPOT_RUN = "spot-"


class Leftover(NamedTuple):
    """What one run of create-dock left: its name, its run tag, and descriptions of the resources."""

    name: str
    run: str
    what: tuple[str, ...]


def find(ec2: Ec2, kind: Kind, run: str) -> str:
    """Return the id of the resource of a run, "" if it does not exist."""
    parameters = {"Filters": filter_list({f"tag:{RUN}": [run], **_STATES.get(kind, {})})}
    return str(ec2.call(f"describe-{kind.name}", parameters, f"{kind.items}.{kind.id}|[0]{OR_EMPTY}", kind.variable))


def await_found(ec2: Ec2, kind: Kind, run: str) -> str:
    """Wait for a resource that was possibly just created, and return its id, "" if it does not appear."""
    deadline = time.monotonic() + FIND
    while not (found := find(ec2, kind, run)) and time.monotonic() < deadline:
        time.sleep(ec2_module.TICK)
    return found


def remove_instance(ec2: Ec2, run: str, known: Collection[str] = ()) -> str:
    """Terminate the instance of a run; return what was done. `known` has its id if create-dock received it."""
    cancel_spot_request(ec2, run)
    instance = next(iter(known), "") or await_found(ec2, INSTANCES, run)
    if instance:
        ec2.terminate([instance], given=INSTANCES.variable)
    return f"instance {instance}" if instance else ""


def cancel_spot_request(ec2: Ec2, run: str) -> None:
    """Cancel the spot request of a run, if it has one."""
    if run.startswith(SPOT_RUN) and (request := find(ec2, _SPOT_REQUESTS, run)):
        ec2.cancel_spot([request], given=_SPOT_REQUESTS.variable)


def remove_key(ec2: Ec2, run: str) -> str:
    """Delete the key pair of a run; return what was done."""
    key = find(ec2, KEYS, run)
    if key:
        ec2.call("delete-key-pair", {"KeyName": key}, given=KEYS.variable)
    return f"key pair {key}" if key else ""


def remove_group(ec2: Ec2, run: str) -> str:
    """Delete the security group of a run, as soon as no instance uses it; return what was done.

    A group that a live instance of another run uses is kept.
    """
    group = find(ec2, GROUPS, run)
    deadline = time.monotonic() + RELEASE
    while group:
        try:
            ec2.call("delete-security-group", {"GroupId": group}, given=GROUPS.variable)
        except Refused as error:
            if error.code == ec2_module.UNKNOWN_GROUP:
                return ""
            if error.code != "DependencyViolation" or time.monotonic() > deadline:
                raise
        else:
            return f"security group {group}"
        users = ec2.matching({"instance.group-id": [group]}).values()
        if any(each.state not in {"shutting-down", TERMINATED} and each.tags.get(RUN) != run for each in users):
            return ""
        time.sleep(ec2_module.TICK)
    return ""


def remove_all(ec2: Ec2, run: str) -> list[str]:
    """Remove everything of a run; return what was removed."""
    removed = [remove_instance(ec2, run), remove_key(ec2, run), remove_group(ec2, run)]
    return list(filter(None, removed))


def leftovers(ec2: Ec2, user: str, runs: Collection[str], instances: Collection[str]) -> list[Leftover]:
    """Return what create-dock made for a user in the region, except for these runs and these instances."""
    ours = {"tag-key": [RUN], "tag:tool": [TOOL], "tag:user": [user]}
    found: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    known = set(runs)
    for each in ec2.matching(ours).values():
        run = each.tags[RUN]
        if each.id in instances:
            known.add(run)
        if each.state != TERMINATED:
            names[run] = each.tags.get("Name", "?")
            found.setdefault(run, []).append(f"instance {each.id} ({each.state})")
    for kind, what in ((KEYS, "key pair"), (GROUPS, "security group")):
        query = f'{kind.items}.[{kind.id},Tags[?Key==`"{RUN}"`].Value|[0]]'
        for name, run in ec2.call(f"describe-{kind.name}", {"Filters": filter_list(ours)}, query):
            names.setdefault(run, name)
            found.setdefault(run, []).append(f"{what} {name}")
    return [Leftover(names[run], run, tuple(what)) for run, what in sorted(found.items()) if run not in known]
