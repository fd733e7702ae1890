"""The rules that instances need to be nodes of a swarm, against moto."""

from __future__ import annotations

from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.aws import swarm_ports
from dockerutils.aws.ec2 import Ec2, Instance
from dockerutils.core.rollback import Rollback

PORTS = [("tcp", 2377), ("tcp", 7946), ("udp", 7946), ("udp", 4789)]


@pytest.fixture
def ec2(session) -> Ec2:
    return Ec2(session)


@pytest.fixture
def client(session) -> Any:
    return boto3.client("ec2")


def _group(client: Any, name: str, cidr: str = "10.7.0.0/16", network: str = "") -> tuple[str, str]:
    """Create a security group, in a new network unless one is named; return its id and its network."""
    network = network or client.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    made = client.create_security_group(GroupName=name, Description=name, VpcId=network)
    return made["GroupId"], network


def _instance(name: str, private: str, *groups: str) -> Instance:
    return Instance(name, "running", private=private, groups=groups)


def _opened(rules: swarm_ports.Rules) -> dict[str, dict[tuple[str, int], list[str]]]:
    """Return the sources, by group and port."""
    return {
        group: {
            (each["IpProtocol"], each["FromPort"]): [pair["GroupId"] for pair in each["UserIdGroupPairs"]]
            for each in permissions
        }
        for group, permissions in rules.items()
    }


def test_one_group_admits_itself(ec2, client) -> None:
    group, _ = _group(client, "shared")
    instances = [_instance(f"i-{number}", f"10.7.0.{number}", group) for number in range(3)]
    rules = swarm_ports.missing(ec2, instances)
    assert _opened(rules) == {group: {port: [group] for port in PORTS}}
    rollback = Rollback()
    swarm_ports.admit(ec2, rules, rollback)
    assert swarm_ports.missing(ec2, instances) == {}
    # One that leaves takes no rule along that the others need; the last ones do.
    assert swarm_ports.to_remove(ec2, instances[:1], instances[1:]) == {}
    assert _opened(swarm_ports.to_remove(ec2, instances, [])) == {group: {port: [group] for port in PORTS}}
    rollback.run("test", "undone")
    assert _opened(swarm_ports.missing(ec2, instances)) == {group: {port: [group] for port in PORTS}}


def test_only_what_is_missing_is_opened(ec2, client) -> None:
    group, network = _group(client, "partly")
    other, _ = _group(client, "other", network=network)
    client.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 2000, "ToPort": 3000, "IpRanges": [{"CidrIp": "10.7.0.0/24"}]},
            {"IpProtocol": "udp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": [{"GroupId": other}]},
            {"IpProtocol": "tcp", "FromPort": 7946, "ToPort": 7946, "IpRanges": [{"CidrIp": "10.8.0.0/16"}]},
        ],
    )
    client.authorize_security_group_ingress(
        GroupId=other, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    )
    instances = [_instance("i-1", "10.7.0.1", group), _instance("i-2", "10.7.0.2", other)]
    rules = swarm_ports.missing(ec2, instances)
    assert _opened(rules) == {group: {("tcp", 7946): [other]}}
    swarm_ports.admit(ec2, rules, Rollback())
    # Rules of others stay.
    assert _opened(swarm_ports.to_remove(ec2, instances[1:], instances[:1])) == {group: {("tcp", 7946): [other]}}
    swarm_ports.revoke(ec2, swarm_ports.to_remove(ec2, instances[1:], instances[:1]))
    assert _opened(swarm_ports.missing(ec2, instances)) == {group: {("tcp", 7946): [other]}}


def test_groups_of_different_networks_do_not_know_each_other(ec2, client) -> None:
    here, _ = _group(client, "here")
    there, _ = _group(client, "there", "10.9.0.0/16")
    instances = [_instance("i-1", "10.7.0.1", here), _instance("i-2", "10.9.0.1", there)]
    assert swarm_ports.in_several_networks(ec2, instances)
    assert swarm_ports.missing(ec2, instances) == {}
    assert not swarm_ports.in_several_networks(ec2, instances[:1])
    assert not swarm_ports.in_several_networks(ec2, [])
