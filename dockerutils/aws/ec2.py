"""Instances of EC2: found, started, stopped and terminated.

The calls: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from dockerutils.aws.errors import Refused
from dockerutils.aws.session import Call, Session
from dockerutils.core.errors import DockerutilsError

T = TypeVar("T")

# Everything that create-dock makes has the tags `tool`, `user` and this one, whose value is different for each run.
TOOL, RUN = "dockerutils", "dockerutils:run"
RUNNING, STOPPED, TERMINATED = "running", "stopped", "terminated"
LIVE = ("pending", RUNNING, "shutting-down", "stopping", STOPPED)
# What EC2 returns while it does not yet know everywhere what it has created; its answers are eventually consistent.
UNKNOWN_INSTANCE, UNKNOWN_GROUP, UNKNOWN_KEY = (
    f"Invalid{each}.NotFound" for each in ("InstanceID", "Group", "KeyPair")
)
# Seconds between two requests, and how long such an answer counts as temporary.
TICK, SETTLE = 1.0, 60.0

_INSTANCE = (
    "InstanceId,State.Name,PublicIpAddress,PrivateIpAddress,StateReason.Message,SpotInstanceRequestId,"
    "SecurityGroups[].GroupId,"
    "Tags[].[Key,Value],[[PublicDnsName,PrivateDnsName],NetworkInterfaces[].Ipv6Addresses[].Ipv6Address,"
    "NetworkInterfaces[].PrivateIpAddresses[].[PrivateIpAddress,Association.PublicIp][]][]"
)


class Instance(NamedTuple):
    """An instance: its state as AWS names it, its addresses if it has any, security groups, tags and account.

    `spot` is the spot request that made it, if any. `others` are the names of its addresses, and the addresses of all
    its network interfaces.
    """

    id: str
    state: str
    public: str | None = None
    private: str | None = None
    reason: str | None = None
    spot: str | None = None
    groups: Sequence[str] = ()
    tags: Mapping[str, str] = {}
    account: str | None = None
    others: Sequence[str] = ()

    @property
    def address(self) -> str | None:
        """The public address if there is one, else the private one."""
        return self.public or self.private

    @property
    def addresses(self) -> set[str]:
        """All its addresses, public and private, and their names."""
        return {each for each in (self.public, self.private, *self.others) if each}


class Ec2:
    """EC2 in one region, by default the session's."""

    def __init__(self, session: Session, region: str = "") -> None:
        self.session = session
        self.region = region or session.region
        self.dry_run = session.dry_run

    def call(
        self, operation: str, parameters: Mapping[str, Any], query: str = "", variable: str = "", *, given: str = ""
    ) -> Any:
        """Make a call of EC2; see Session.call."""
        return self.session.call(Call("ec2", operation, parameters, self.region, query), variable=variable, given=given)

    def line(self, operation: str, parameters: Mapping[str, Any]) -> str:
        """Return the aws command that makes a call."""
        return self.session.line(Call("ec2", operation, parameters, self.region))

    def settled(self, codes: Collection[str], make: Callable[[], T]) -> T:
        """Make a call; repeat it for at most SETTLE seconds while AWS throttles it, or refuses it with a code."""
        deadline = time.monotonic() + SETTLE
        while True:
            try:
                return make()
            except Refused as error:
                if not (error.is_throttled or error.code in codes) or time.monotonic() > deadline:
                    raise
            time.sleep(TICK)

    def instances(self, ids: Sequence[str]) -> dict[str, Instance]:
        """Return those of the instances that AWS knows, by id."""
        try:
            return self.matching({"instance-id": list(ids)})
        except Refused as error:
            if error.code != UNKNOWN_INSTANCE:
                raise
            return {}

    def matching(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Instance]:
        """Return the instances that match all filters, by id."""
        query = f"Reservations[].[OwnerId,Instances[].[{_INSTANCE}]]"
        reservations = self.call("describe-instances", {"Filters": filter_list(filters)}, query)
        found = [
            Instance._make([*fields, tuple(groups or ()), dict(tags or ()), account, tuple(others)])
            for account, instances in reservations
            for *fields, groups, tags, others in instances
        ]
        return {each.id: each for each in found}

    def start(self, ids: Sequence[str]) -> None:
        """Start instances."""
        self.call("start-instances", {"InstanceIds": list(ids)})

    def stop(self, ids: Sequence[str]) -> None:
        """Stop instances."""
        self.call("stop-instances", {"InstanceIds": list(ids)})

    def terminate(self, ids: Sequence[str], *, given: str = "") -> None:
        """Terminate instances. One that has just been created can be unknown at first."""
        parameters = {"InstanceIds": list(ids)}
        self.settled({UNKNOWN_INSTANCE}, lambda: self.call("terminate-instances", parameters, given=given))
        if self.dry_run:
            self.call("wait instance-terminated", parameters, given=given)

    def cancel_spot(self, requests: Sequence[str], *, given: str = "") -> None:
        """Cancel spot requests, before their instances are terminated: a persistent request would make another one."""
        self.call("cancel-spot-instance-requests", {"SpotInstanceRequestIds": list(requests)}, given=given)

    def stops_on_shutdown(self, instance: str) -> bool:
        """Return whether an instance that shuts itself down is stopped, not terminated."""
        parameters = {"InstanceId": instance, "Attribute": "instanceInitiatedShutdownBehavior"}
        query = "InstanceInitiatedShutdownBehavior.Value"
        return bool(self.call("describe-instance-attribute", parameters, query) != "terminate")

    def until(
        self,
        ids: Sequence[str],
        states: Collection[str],
        deadline: float,
        show: Callable[[Mapping[str, Instance]], None] = lambda _: None,
    ) -> dict[str, Instance]:
        """Wait until each instance is in one of the states, and return those that AWS knows.

        An unknown instance counts as terminated. `show` gets every answer. Raises DockerutilsError at the deadline,
        and for an instance that is terminated instead.
        """
        while True:
            found = self.settled((), lambda: self.instances(ids))
            show(found)
            missing = [] if TERMINATED in states else [each for each in ids if each not in found]
            waiting = [each for each in found.values() if each.state not in states]
            for each in waiting:
                if each.state in {"shutting-down", TERMINATED} and TERMINATED not in states:
                    why = each.reason or "no reason given"
                    raise DockerutilsError(f"AWS terminated {each.id}: {why}; fix this, or create another dock")
            if not missing and not waiting:
                return found
            if time.monotonic() > deadline:
                late = ", ".join([*(f"{each.id} is {each.state}" for each in waiting), *missing])
                raise DockerutilsError(f"AWS takes too long: {late}; check with ls-dock, or allow more time with -t")
            time.sleep(TICK)

    def console(self, instance: str) -> str:
        """Return the console output of an instance so far, nothing if AWS does not return it."""
        for latest in ({"Latest": True}, {}):
            try:
                return str(self.call("get-console-output", {"InstanceId": instance, **latest}, "Output") or "")
            except Refused as error:
                if error.code != "UnsupportedOperation":  # only newer types support Latest
                    return ""
        return ""


def filter_list(filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return filters as EC2 takes them."""
    return [{"Name": name, "Values": list(values)} for name, values in filters.items()]


def is_ip(address: str) -> bool:
    """Return whether it is an IP address, not a host name."""
    import ipaddress  # late, for -h

    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
