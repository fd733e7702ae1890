"""Make docks a swarm, or add docks to one: all of them or none."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence

from dockerutils.core import console, shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.rollback import Rollback
from dockerutils.docks.records import Dock
from dockerutils.swarm import nodes
from dockerutils.swarm.nodes import Node

COMMAND = "swarm-docks"
PORTS = "2377/tcp, 7946/tcp, 7946/udp and 4789/udp"
# Seconds for a connection to the manager; seconds until it sees a new node as ready.
_CONNECT, _READY = 5, 30.0

# bash connects without another program. Without it, the join itself finds out, after a longer time.
_REACHES = """\
if command -v bash >/dev/null && command -v timeout >/dev/null; then
    timeout {seconds} bash -c 'exec 3<>"/dev/tcp/$0/$1"' {host} {port} 2>/dev/null || echo "dockerutils unreached"
fi
"""


def check(manager: Node, workers: Sequence[Node]) -> list[Node]:
    """Return the workers that have to join; DockerutilsError for a dock that cannot be in this swarm."""
    for node in (manager, *workers):
        _check_state(node)
    if manager.state == nodes.ACTIVE and not manager.is_manager:
        raise DockerutilsError(
            f"dock {manager.name} is a worker, and its manager is at {manager.manager_address}; name the manager "
            f"first, or remove the worker from its swarm: swarm-docks --leave {manager.name}"
        )
    known = nodes.listed(manager) if manager.is_manager else {}
    for node in workers:
        if node.state == nodes.ACTIVE and node.id not in known:
            raise DockerutilsError(
                f"dock {node.name} is in another swarm; remove it from there first: swarm-docks --leave {node.name}"
            )
    for node in workers:
        if node.id in known:
            console.note(COMMAND, f"{node.name} is already in the swarm of {manager.name}")
    return [node for node in workers if node.state == nodes.INACTIVE]


def _check_state(node: Node) -> None:
    if node.state == nodes.LOCKED:
        unlock = f"ssh-dock {node.name} docker swarm unlock"
        raise DockerutilsError(f"the swarm of dock {node.name} is locked; run: {unlock}")
    if node.state not in {nodes.INACTIVE, nodes.ACTIVE}:
        reason = node.swarm.get("Error") or f"its state is {node.state}"
        leave = f"swarm-docks --leave {node.name} --force"
        raise DockerutilsError(f"dock {node.name} has lost its swarm: {str(reason).rstrip('.')}; run: {leave}")


def own_address(manager: Node, on_aws: Callable[[], str]) -> str:
    """Return the address at which others reach a dock; UserError if it is not known.

    ssh can arrive at a loopback address, as through Session Manager: then `on_aws` returns what AWS says, if anything.
    """
    if manager.address and not manager.address.startswith(("127.", "::1")):
        return manager.address
    if address := on_aws():
        return address
    raise UserError(
        f"cannot tell at which address other docks reach {manager.name}: ssh reaches it at "
        f"{manager.address or 'no address'}; add --advertise-addr ADDRESS"
    )


def fault_in_address(text: str) -> str:
    """Return what is wrong with a value for --advertise-addr, "" for an address or the name of an interface."""
    if re.fullmatch(r"[A-Za-z0-9\[][A-Za-z0-9_.:%\[\]-]{0,99}", text):
        return ""
    return f"--advertise-addr: {text!r} is not an address; write an IP address or the name of a network interface"


def join(manager: Node, workers: Sequence[Node], advertise: str, rollback: Rollback) -> Node:
    """Make the first dock a manager, unless it is one, and let the workers join; return the manager's new state."""
    if not manager.is_manager:
        _make_manager(manager, advertise, rollback)
        manager = manager.refreshed()
    for worker in workers:
        _check_connection(manager, worker)
        _join(manager, worker, rollback)
    return manager


def plan(manager: Node, workers: Sequence[Node], advertise: str) -> None:
    """Print the lines of `join` to stdout."""
    if not manager.is_manager:
        print(manager.command(_init(manager, advertise)))
    address = manager.manager_address or _with_port(advertise)
    for worker in workers:
        print(_join_line(manager, worker, address))


def docks_of(manager: Node, docks: Iterable[Dock]) -> list[Dock]:
    """Return the docks that are nodes of the manager's swarm, by the labels of the nodes."""
    labels = {nodes.label(each) for each in nodes.listed(manager).values()} if manager.is_manager else set()
    return [dock for dock in docks if dock.moniker in labels]


def note_docks(manager: Node, docks: Sequence[Node]) -> None:
    """Label the nodes of these docks with their monikers, if they have no label yet."""
    known = nodes.listed(manager)
    for node in docks:
        current = manager if node.dock == manager.dock else node.refreshed()
        if current.id in known and not nodes.label(known[current.id]):
            manager.run(manager.line("node", "update", "--label-add", f"{nodes.LABEL}={node.name}", current.id))


def _init(manager: Node, advertise: str) -> str:
    # Its stdout has the join token.
    return manager.line("swarm", "init", "--advertise-addr", advertise) + " >/dev/null"


def _make_manager(manager: Node, advertise: str, rollback: Rollback) -> None:
    remedy = f"ssh-dock {manager.name} docker swarm leave --force"
    with rollback.making(f"the swarm of {manager.name}", lambda: remedy, lambda: _leave(manager)):
        manager.run(_init(manager, advertise))


def _leave(node: Node) -> str:
    """Let a dock leave the swarm that it joined; return what was done. A Ctrl-C can have ended its connection."""
    question = node.line("info", "-f", "{{.Swarm.LocalNodeState}}")
    if node.host.capture(question).stdout.strip() in {"", nodes.INACTIVE}:
        return ""
    node.run(node.line("swarm", "leave", "--force"))
    return f"{node.name} left the swarm"


def _check_connection(manager: Node, worker: Node) -> None:
    """Raise DockerutilsError unless the worker reaches the manager: docker itself would try for a long time."""
    host, _, port = manager.manager_address.rpartition(":")
    place = shell_words.quote(host.strip("[]"))
    answer = worker.host.capture(_REACHES.format(seconds=_CONNECT, host=place, port=shell_words.quote(port)))
    if "dockerutils unreached" in answer.stdout:
        raise DockerutilsError(
            f"dock {worker.name} does not reach the manager {manager.name} at {manager.manager_address}; open {PORTS} "
            "between the docks, or if that is not the right address, make the swarm with --advertise-addr ADDRESS"
        )


def _join_line(manager: Node, worker: Node, address: str) -> str:
    """Return the line that does the same as `_join`; the shell that runs it asks for the token."""
    token = manager.command(manager.line("swarm", "join-token", "-q", "worker"))
    ssh = worker.host.argv("")[:-1]
    return f'{shlex.join(ssh)} "{worker.docker} swarm join --token $({token}) {shell_words.quote(address)}"'


def _join(manager: Node, worker: Node, rollback: Rollback) -> None:
    """Let a worker join, through the API of its engine: in the arguments of a command, others could see the token."""

    def undo() -> str:
        question = worker.line("info", "-f", "{{.Swarm.NodeID}}")
        node = worker.host.capture(question).stdout.strip()
        done = _leave(worker)
        if re.fullmatch("[a-z0-9]+", node):
            manager.run(manager.line("node", "rm", "--force", node))
        return done

    remedy = f"ssh-dock {worker.name} docker swarm leave --force"
    with rollback.making(f"dock {worker.name} in the swarm", lambda: remedy, undo):
        console.echo(_join_line(manager, worker, manager.manager_address))
        token = manager.ask(manager.engine.join_token)
        worker.ask(worker.engine.join_swarm, manager.manager_address, token)
    joined = worker.refreshed()

    def is_ready() -> bool:
        return bool(nodes.listed(manager).get(joined.id, {}).get("Status", {}).get("State") == nodes.READY)

    if not nodes.wait(is_ready, _READY):
        raise DockerutilsError(
            f"dock {worker.name} has joined, but {manager.name} does not see it ready after {_READY:g} s; "
            f"check that {PORTS} are open between the docks"
        )


def _with_port(address: str) -> str:
    return f"[{address}]:2377" if address.count(":") > 1 and "]" not in address else f"{address}:2377"
