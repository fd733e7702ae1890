"""The ports of a swarm in the security groups of its docks: https://docs.docker.com/engine/swarm/swarm-tutorial/.

Rules admit security groups, not addresses: so they remain right if addresses change, and admit nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dockerutils.aws import access
from dockerutils.aws.ec2 import Ec2, Instance
from dockerutils.core.rollback import Rollback

# Cluster management; communication among nodes; overlay network traffic.
PORTS = (("tcp", 2377), ("tcp", 7946), ("udp", 7946), ("udp", 4789))
DESCRIPTION = "dockerutils swarm"  # of our rules

Rules = dict[str, list[dict[str, Any]]]


class _Rule(NamedTuple):
    """What a security group admits: a protocol, -1 for all, a range of ports, and a source."""

    protocol: str
    first: int
    last: int
    source: str
    is_ours: bool = False

    def admits(self, protocol: str, port: int) -> bool:
        return self.protocol == "-1" or (self.protocol == protocol and self.first <= port <= self.last)


def missing(ec2: Ec2, instances: Sequence[Instance]) -> Rules:
    """Return the missing rules, by security group, for instances that are nodes of a swarm.

    They are for instances of one network: a group admits only groups of its own network.
    """
    known = _described(ec2, instances)
    needed: dict[str, dict[tuple[str, int], set[str]]] = {}
    for target in instances:
        for source in instances:
            if target.id == source.id or not _are_neighbours(target, source, known):
                continue
            group, its = target.groups[0], source.groups[0]
            admitted = [rule for each in target.groups for rule in known[each].rules if _covers(rule, source)]
            for port in PORTS:
                if not any(rule.admits(*port) for rule in admitted):
                    needed.setdefault(group, {}).setdefault(port, set()).add(_shared(target, source) or its)
    return {group: [_permission(port, sources) for port, sources in ports.items()] for group, ports in needed.items()}


def in_several_networks(ec2: Ec2, instances: Sequence[Instance]) -> bool:
    """Return whether instances are in different networks, where no rule for groups connects them."""
    known = _described(ec2, instances)
    return len({known[each.groups[0]].network for each in instances if each.groups}) > 1


def to_remove(ec2: Ec2, gone: Sequence[Instance], remaining: Sequence[Instance]) -> Rules:
    """Return our rules, by security group, that connect instances that leave, with each other and with the others.

    The groups of instances that remain keep the rules among themselves.
    """
    kept = {group for each in remaining for group in each.groups}
    leaving = {group for each in gone for group in each.groups} - kept
    found: Rules = {}
    for group, record in _described(ec2, [*gone, *remaining]).items():
        ports: dict[tuple[str, int], set[str]] = {}
        for rule in record.rules:
            if rule.is_ours and leaving & {group, rule.source}:
                ports.setdefault((rule.protocol, rule.first), set()).add(rule.source)
        if ports:
            found[group] = [_permission(port, sources) for port, sources in ports.items()]
    return found


def admit(ec2: Ec2, rules: Rules, rollback: Rollback) -> None:
    """Add rules to their groups."""
    for group, permissions in rules.items():
        access.change(ec2, "authorize", group, permissions, rollback)


def revoke(ec2: Ec2, rules: Rules) -> None:
    """Remove rules from their groups."""
    for group, permissions in rules.items():
        access.unless_done(ec2, "revoke-security-group-ingress", {"GroupId": group, "IpPermissions": permissions})


def lines(ec2: Ec2, do: str, rules: Rules) -> list[str]:
    """Return the aws commands that `authorize` or `revoke` rules."""
    operation = f"{do}-security-group-ingress"
    return [ec2.line(operation, {"GroupId": group, "IpPermissions": each}) for group, each in rules.items()]


class _Group(NamedTuple):
    network: str
    rules: Sequence[_Rule]


def _described(ec2: Ec2, instances: Iterable[Instance]) -> dict[str, _Group]:
    ids = sorted({group for each in instances for group in each.groups})
    if not ids:
        return {}
    query = "SecurityGroups[].[GroupId,VpcId,IpPermissions]"
    found = ec2.call("describe-security-groups", {"GroupIds": ids}, query)
    return {group: _Group(network or "", [*_rules(permissions or ())]) for group, network, permissions in found}


def _rules(permissions: Iterable[Mapping[str, Any]]) -> Iterable[_Rule]:
    for each in permissions:
        where = each["IpProtocol"], each.get("FromPort", 0), each.get("ToPort", 65535)
        for pair in each.get("UserIdGroupPairs", ()):
            yield _Rule(*where, pair.get("GroupId", ""), pair.get("Description") == DESCRIPTION)
        for network in each.get("IpRanges", ()):
            yield _Rule(*where, network["CidrIp"])


def _covers(rule: _Rule, source: Instance) -> bool:
    import ipaddress  # late: few commands need it

    if "/" not in rule.source:
        return rule.source in source.groups
    return bool(source.private) and ipaddress.ip_address(source.private or "") in ipaddress.ip_network(rule.source)


def _are_neighbours(one: Instance, other: Instance, known: Mapping[str, _Group]) -> bool:
    return bool(one.groups and other.groups) and known[one.groups[0]].network == known[other.groups[0]].network


def _shared(target: Instance, source: Instance) -> str:
    """Return the first group of the target if the source has it, too: one rule then serves both directions."""
    return target.groups[0] if target.groups[0] in source.groups else ""


def _permission(port: tuple[str, int], sources: Iterable[str]) -> dict[str, Any]:
    protocol, number = port
    pairs = [{"GroupId": each, "Description": DESCRIPTION} for each in sorted(sources)]
    return {"IpProtocol": protocol, "FromPort": number, "ToPort": number, "UserIdGroupPairs": pairs}
