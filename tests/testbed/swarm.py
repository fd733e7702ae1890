"""Docks whose engines can make up a swarm: each in a network of its own, with a link between them.

The networks are namespaces, and the link is a veth pair between them, so this machine sees neither, and both end with the
engines. The kernel of the tests can be without IPVS: then services answer only where they publish with `mode=host`.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.testbed import debian, images
from tests.testbed.engine import CONTAINERD, Engine, running
from tests.testbed.host import Host, serving
from tests.testbed.relay import Relay, inside, relaying

# Host names, and addresses of the range for documentation, which no engine gives to its networks: RFC 5737.
NAMES = ("one", "two")
_ADDRESSES = ("198.51.100.1", "198.51.100.2")
_LINK = "swarm0"


@dataclass(frozen=True)
class Node:
    """A machine with an engine: its `address` for the other one, and the `host` behind which this machine reaches it."""

    address: str
    engine: Engine
    host: Host

    @property
    def swarm(self) -> dict[str, Any]:
        """What its engine says about its swarm: `LocalNodeState`, `NodeID` and others."""
        found: dict[str, Any] = self.engine.api("GET", "/info")["Swarm"]
        return found

    @property
    def is_in_swarm(self) -> bool:
        """Whether its engine is in a swarm."""
        return bool(self.swarm["LocalNodeState"] != "inactive")

    def published(self, port: int) -> contextlib.AbstractContextManager[Relay]:
        """Relay a free port of 127.0.0.1 to a port of this node, such as one that a service publishes with `mode=host`."""
        return relaying(self.address, port, server=self.engine.network)

    def link(self, state: str) -> None:
        """Set the link to the other node `up` or `down`, as when a cable is pulled."""
        subprocess.run([*inside(self.engine.network), "ip", "link", "set", _LINK, state], check=True)


Engines = tuple[Engine, Engine]
Nodes = tuple[Node, Node]


@contextlib.contextmanager
def linked() -> Iterator[Engines]:
    """Start two engines with a link between their networks; their host names are one and two."""
    with contextlib.ExitStack() as stack:
        first, second = [
            stack.enter_context(running(debian.modern_usr(), is_awaited=False, **CONTAINERD)) for _ in NAMES
        ]
        _connect(first, second)
        for engine in (first, second):
            images.add_busybox(engine)
        yield first, second


@contextlib.contextmanager
def serving_docks(engines: Engines, home: str) -> Iterator[Nodes]:
    """Start a host for each engine; its users accept the identity in this home directory, which knows its key."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for engine, address in zip(engines, _ADDRESSES, strict=True):
            host = stack.enter_context(serving(engine, near=True, inner=address))
            host.admit(home)
            nodes.append(Node(address, engine, host))
        yield nodes[0], nodes[1]


def part(nodes: Nodes) -> None:
    """Start the engines that are stopped, and let all of them leave their swarm."""
    for node in nodes:
        node.engine.start()
        node.link("up")
        if node.is_in_swarm:
            node.engine.api("POST", "/swarm/leave", force=1)


def join(nodes: Nodes) -> None:
    """Make the first node the manager of a new swarm and the second one its worker."""
    part(nodes)
    manager, worker = nodes
    # A lost node is down after three heartbeats, which are 5 s apart by default.
    manager.engine.docker("swarm", "init", "--advertise-addr", manager.address, "--dispatcher-heartbeat", "1s")
    token = manager.engine.docker("swarm", "join-token", "-q", "worker").strip()
    worker.engine.docker("swarm", "join", "--token", token, manager.address)


def _connect(*engines: Engine) -> None:
    """Join the networks of two engines by a link."""
    first, second = [str(engine.network) for engine in engines]
    ends = ["netns", first, "type", "veth", "peer", "name", _LINK, "netns", second]
    subprocess.run(["ip", "link", "add", _LINK, *ends], check=True)
    for engine, name, address in zip(engines, NAMES, _ADDRESSES, strict=True):
        enter = ["nsenter", f"--target={engine.network}", "--net", "--uts"]
        for command in (["hostname", name], ["ip", "address", "add", f"{address}/24", "dev", _LINK]):
            subprocess.run([*enter, *command], check=True)
        subprocess.run([*enter, "ip", "link", "set", _LINK, "up"], check=True)
