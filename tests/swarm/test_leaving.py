"""Docks that leave a swarm which has no leader, or whose other managers are no docks."""

from __future__ import annotations

from typing import Any

import pytest

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.rollback import Rollback
from dockerutils.docker.api import ApiError, Disconnected
from dockerutils.docks import remote
from dockerutils.docks.records import Dock
from dockerutils.swarm import leaving, nodes
from dockerutils.swarm.nodes import Node

DOCK = Dock("one", "one", "ada", "one", "203.0.113.7")
NO_LEADER = "The swarm does not have a leader. It's possible that too few managers are online."


def _departure(listed: leaving.Listed) -> leaving.Departure:
    engine: Any = None
    node = Node(DOCK, remote.of(DOCK), "docker", engine, {"NodeID": "a", "ControlAvailable": True})
    return leaving.Departure(DOCK, node, "", None, "a", [], listed)


def _listed(*others: str) -> leaving.Listed:
    return {
        key: {"ID": key, "Spec": {}, "Description": {"Hostname": f"host-{key}"}, "ManagerStatus": {"Addr": "x"}}
        for key in ("a", *others)
    }


def _leave(listed: leaving.Listed, *, force: bool) -> list[Dock]:
    return leaving.leave(_departure(listed), Rollback(), 1, force=force, dry_run=True)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({}, "the swarm of one has no leader to move its containers; to leave without moving them, run: "),
        (
            _listed("b", "c"),
            "the other managers of the swarm of one are not docks, or do not answer: host-b, host-c; register one as a dock, "
            "or leave without a manager: ",
        ),
        (_listed(), "one is the last manager: without it, the swarm and its services end; to end them, run: "),
    ],
)
def test_a_manager_without_help_leaves_by_force_only(listed, message, capsys) -> None:
    with pytest.raises(DockerutilsError) as caught:
        _leave(listed, force=False)
    assert str(caught.value) == f"{message}swarm-docks --leave one --force"
    assert _leave(listed, force=True) == [DOCK]
    assert capsys.readouterr().out == "ssh dock-one 'docker swarm leave --force'\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ApiError(f"rpc error: code = Unknown desc = {NO_LEADER}"),
            "the swarm of dock one has no leader, because half of its managers or more do not answer; start them, or make "
            "one the only manager: ssh-dock one docker swarm init --force-new-cluster",
        ),
        (ApiError("rpc error: code = NotFound desc = node x not found"), "dock one: node x not found; see: ssh-dock one docker info"),
        (Disconnected("eof"), "the connection to the engine of dock one was cut; run the command again"),
    ],
)  # fmt: skip
def test_what_an_engine_refuses_is_one_line(error, message) -> None:
    with pytest.raises(DockerutilsError) as caught, nodes.refusals("one"):
        raise error
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("node", "is_it"),
    [
        ({"Spec": {"Labels": {"dock": "one"}}, "Status": {}, "Description": {}}, True),
        ({"Spec": {"Labels": {"dock": "two"}}, "Status": {"Addr": "203.0.113.7"}, "Description": {}}, False),
        ({"Spec": {}, "Status": {"Addr": "203.0.113.7"}, "Description": {"Hostname": "box"}}, True),
        ({"Spec": {}, "Status": {"Addr": "10.0.0.3"}, "Description": {"Hostname": "one"}}, True),
        ({"Spec": {}, "Status": {"Addr": "10.0.0.3"}, "Description": {"Hostname": "box"}}, False),
    ],
)
def test_a_node_is_known_by_its_label_else_by_address_or_host_name(node, is_it) -> None:
    assert leaving._is_dock(DOCK, {"ID": "x", **node}) is is_it


def test_a_dock_that_has_left_and_is_still_listed(monkeypatch) -> None:
    nothing: Any = None
    two = DOCK._replace(moniker="two", hostname="two")
    left = Node(DOCK, remote.of(DOCK), "docker", nothing, {"LocalNodeState": "inactive"})
    manager = Node(two, remote.of(two), "docker", nothing, {"LocalNodeState": "active", "ControlAvailable": True})
    labelled = {"Spec": {"Labels": {"dock": "one"}}, "Status": {"State": "down"}, "Description": {}}
    monkeypatch.setattr(nodes, "ask", lambda *_: {DOCK: left, two: manager})
    monkeypatch.setattr(nodes, "listed", lambda _: {"n1": labelled})
    with pytest.raises(DockerutilsError) as caught:
        leaving.find(DOCK, [two], nothing)
    assert str(caught.value) == (
        "dock one is not in a swarm, but two still lists it; run: ssh dock-two 'docker node rm --force n1'"
    )
