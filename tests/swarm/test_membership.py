"""What docks say about their place in a swarm is read as data."""

from __future__ import annotations

import pytest

from dockerutils.swarm import membership
from dockerutils.swarm.membership import Membership

NODE, OTHER = "r1zvj0zzp2q6k5yqk0w0x8d1m", "k3n0bq2m0o7wq0c5d2a8v9x1y"


def _output(swarm: str, *lines: str) -> str:
    return "\n".join([f"engine=28.5.2 3 linux/x86_64 {swarm} /var/lib/docker", *lines, "disk=...\n"])


@pytest.mark.parametrize(
    ("swarm", "role", "state"),
    [
        (f"active,true,{NODE}", "manager", "active"),
        (f"active,false,{NODE}", "worker", "active"),
        (f"error,false,{NODE}", "worker", "error"),
    ],
)
def test_a_node_has_a_role_and_a_state(swarm, role, state) -> None:
    assert membership.read(_output(swarm)) == (Membership(role, None, state, NODE), {})


@pytest.mark.parametrize(
    "output",
    [
        _output("inactive,false,"),
        _output("<no value>,<no value>,<no value>"),
        _output("active,yes,x"),
        "engine=20.10.24 0 linux/amd64 /var/lib/docker",
        "",
    ],
)
def test_other_engines_are_in_no_swarm(output) -> None:
    assert membership.read(output) == (None, {})


def test_a_manager_lists_availability_for_all() -> None:
    lines = (f"node={NODE} Active", f"node={OTHER} Drain", "node=../../etc Active", "node=x \x1b[2J")
    manager, listed = membership.read(_output(f"active,true,{NODE}", *lines))
    assert listed == {NODE: "active", OTHER: "drain"}
    assert membership.completed(manager, listed) == Membership("manager", "active", "active", NODE)
    worker, _ = membership.read(_output(f"active,false,{OTHER}"))
    assert worker
    assert (worker.shown, membership.completed(None, listed)) == ("worker", None)
    known = membership.completed(worker, listed)
    assert known
    assert known.shown == "worker, drain"
    assert known._replace(state="error").shown == "worker, error"
