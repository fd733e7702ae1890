"""The address of a manager."""

from __future__ import annotations

from typing import Any

import pytest

from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docks import remote
from dockerutils.docks.records import Dock
from dockerutils.swarm import joining
from dockerutils.swarm.nodes import Node

DOCK = Dock("one", "one", "ada", "one", "203.0.113.7")


def _node(address: str = "", **swarm: Any) -> Node:
    engine: Any = None
    return Node(DOCK, remote.of(DOCK), "docker", engine, swarm, address)


@pytest.mark.parametrize("address", ["10.0.0.4", "2001:db8::7", "fd00::1"])
def test_the_address_is_where_ssh_arrives(address) -> None:
    assert joining.own_address(_node(address), lambda: "10.9.9.9") == address


@pytest.mark.parametrize(("address", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("", "no address")])
def test_a_loopback_address_is_of_no_use_to_others(address, shown) -> None:
    """Ssh arrives there through Session Manager."""
    assert joining.own_address(_node(address), lambda: "172.31.0.4") == "172.31.0.4"  # what AWS says
    with pytest.raises(UserError) as caught:
        joining.own_address(_node(address), str)
    assert str(caught.value) == (
        f"cannot tell at which address other docks reach one: ssh reaches it at {shown}; add --advertise-addr ADDRESS"
    )


@pytest.mark.parametrize("text", ["10.0.0.4", "10.0.0.4:2377", "[2001:db8::7]:2377", "2001:db8::7", "eth0", "ens5.100"])
def test_an_address_or_an_interface_is_taken(text) -> None:
    assert joining.fault_in_address(text) == ""


@pytest.mark.parametrize("text", ["", "-f", "a b", "$(id)", "a;b", "x" * 101, "é"])
def test_anything_else_is_no_address(text) -> None:
    assert joining.fault_in_address(text).startswith(f"--advertise-addr: {text!r} is not an address; ")


@pytest.mark.parametrize(
    ("swarm", "message"),
    [
        (
            {"LocalNodeState": "locked"},
            "the swarm of dock one is locked; run: ssh-dock one docker swarm unlock",
        ),
        (
            {"LocalNodeState": "error", "Error": "context deadline exceeded."},
            "dock one has lost its swarm: context deadline exceeded; run: swarm-docks --leave one --force",
        ),
        (
            {"LocalNodeState": "pending"},
            "dock one has lost its swarm: its state is pending; run: swarm-docks --leave one --force",
        ),
    ],
)
def test_a_swarm_that_does_not_work_is_refused(swarm, message) -> None:
    with pytest.raises(DockerutilsError) as caught:
        joining.check(_node(**swarm), [])
    assert str(caught.value) == message


def test_an_id_that_a_shell_could_read_is_none() -> None:
    assert (_node(NodeID="b").id, _node().id, _node(NodeID="b; reboot").id) == ("b", "", "")


def test_the_address_of_a_manager_is_that_of_its_own() -> None:
    managers = [{"NodeID": "a", "Addr": "10.0.0.1:2377"}, {"NodeID": "b", "Addr": "10.0.0.2:2377"}]
    assert _node(NodeID="b", RemoteManagers=managers).manager_address == "10.0.0.2:2377"
    assert _node(NodeID="c", RemoteManagers=managers).manager_address == "10.0.0.1:2377"
    assert _node(RemoteManagers=None).manager_address == ""
    assert _node(RemoteManagers=[{"NodeID": "a", "Addr": '10.0.0.1:2377" $(id)'}]).manager_address == ""
