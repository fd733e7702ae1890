"""Remove a dock from its swarm: its services move to other docks, it leaves, and the manager forgets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, Terminated
from dockerutils.core.process.children import Children
from dockerutils.core.rollback import Rollback
from dockerutils.docks.records import Dock
from dockerutils.docks.ssh_config import SSH_FAILED
from dockerutils.swarm import nodes
from dockerutils.swarm.joining import COMMAND
from dockerutils.swarm.nodes import Node

# Tasks in these states have a container, or will have one.
_RUNNING = {"assigned", "accepted", "preparing", "ready", "starting", "running"}
# Seconds until a manager sees that a node is down, which takes three heartbeats; seconds until a manager is demoted.
_GONE, _DEMOTED = 30.0, 30.0
_LEFT = 15.0  # seconds for docker to leave after the connection has ended

Listed = Mapping[str, Mapping[str, Any]]


class Departure(NamedTuple):
    """A dock that leaves its swarm: `node` is its engine, or None with the `reason` if the dock does not answer.

    `manager` is another dock that manages the swarm, or None, and `id` is the dock's id there. `others` are the other
    docks of the swarm, and `listed` are its nodes as a manager lists them.
    """

    dock: Dock
    node: Node | None
    reason: str
    manager: Node | None
    id: str
    others: Sequence[Node]
    listed: Listed


def find(dock: Dock, among: Sequence[Dock], children: Children) -> Departure:
    """Find the swarm of a dock; its manager is one of the docks `among`.

    DockerutilsError if the dock is not in a swarm, or if it does not answer and no manager knows it.
    """
    answers = nodes.ask([dock, *among], children)
    found = answers.pop(dock)
    others = [each for each in answers.values() if not isinstance(each, DockerutilsError)]
    if isinstance(found, DockerutilsError):
        return _unreachable(dock, found, others)
    if found.state == nodes.INACTIVE:
        raise DockerutilsError(_without_swarm(dock, others))
    lists = {each.name: _listed(each) for each in others if each.is_manager}
    manager = next((each for each in others if found.id in lists.get(each.name, {})), None)
    known = lists[manager.name] if manager else _listed(found) if found.is_manager else {}
    return Departure(dock, found, "", manager, found.id, [each for each in others if each.id in known], known)


def _without_swarm(dock: Dock, others: Sequence[Node]) -> str:
    """Return the message about a dock that is not in a swarm; a manager can still list it."""
    for manager in (each for each in others if each.is_manager):
        for key, node in _listed(manager).items():
            if _is_dock(dock, node):
                command = manager.command(manager.line("node", "rm", "--force", key))
                return f"dock {dock.moniker} is not in a swarm, but {manager.name} still lists it; run: {command}"
    return f"dock {dock.moniker} is not in a swarm; see: ls-dock"


def _listed(manager: Node) -> Listed:
    """Return the nodes that a manager lists. If it cannot, for example without a leader, warn and return none."""
    try:
        return nodes.listed(manager)
    except DockerutilsError as error:
        console.warn(COMMAND, str(error))
        return {}


def _unreachable(dock: Dock, reason: DockerutilsError, others: Sequence[Node]) -> Departure:
    for manager in others:
        if manager.is_manager:
            listed = _listed(manager)
            for key, node in listed.items():
                if _is_dock(dock, node):
                    return Departure(dock, None, nodes.about(dock, reason), manager, key, [manager], listed)
    what = nodes.about(dock, reason)
    raise CommandFailed(reason.status, f"{what}; none of the docks that answer manages a swarm with it") from reason


def _is_dock(dock: Dock, node: Mapping[str, Any]) -> bool:
    """Return whether a node is a dock: by its label, or without one by its address or host name."""
    names = {dock.moniker, dock.ip, dock.hostname}
    label = nodes.label(node)
    return label == dock.moniker if label else bool({node["Status"].get("Addr"), nodes.host_name(node)} & names)


def leave(departure: Departure, rollback: Rollback, seconds: float, *, force: bool, dry_run: bool) -> list[Dock]:
    """Let a dock leave, and return the docks that have left: all of them if, with `force`, it is the last manager.

    Its tasks have `seconds` to end.
    """
    if departure.node is None:
        _remove_unreachable(departure, force=force, dry_run=dry_run)
        return [departure.dock]
    if departure.manager:
        _leave_manager(departure.node, departure.manager, rollback, seconds, dry_run=dry_run)
        return [departure.dock]
    return _leave_without_manager(departure.node, departure, force=force, dry_run=dry_run)


def _leave_manager(node: Node, manager: Node, rollback: Rollback, seconds: float, *, dry_run: bool) -> None:
    """Drain a node, let it leave, and remove it from the list of the manager."""
    drain = manager.line("node", "update", "--availability", "drain", node.id)
    before = nodes.listed(manager)[node.id]["Spec"]["Availability"]
    back = manager.line("node", "update", "--availability", before, node.id)
    if before != "drain":
        rollback.add(f"the drain of {node.name}", lambda: str(manager.command(back)), lambda: _run(manager, back))
        manager.run(drain, dry_run=dry_run)
    if not dry_run:
        _await_end_of_tasks(node, manager, seconds)
    if node.is_manager:
        manager.run(manager.line("node", "demote", node.id), dry_run=dry_run)
        promote = manager.line("node", "promote", node.id)
        rollback.add(f"{node.name} as a manager", lambda: str(manager.command(promote)), lambda: _run(manager, promote))
        if not dry_run and not nodes.wait(lambda: not node.refreshed().is_manager, _DEMOTED):
            raise DockerutilsError(f"dock {node.name} is still a manager after {_DEMOTED:g} s; run the command again")
    try:
        node.run(node.line("swarm", "leave"), dry_run=dry_run)
    except (CommandFailed, KeyboardInterrupt, Terminated) as error:
        # The end of the connection, as by a Ctrl-C, does not end what docker does there.
        is_cut = not isinstance(error, CommandFailed) or error.status == SSH_FAILED
        with process.deferred_signals():
            if is_cut and nodes.wait(lambda: _has_left(node), _LEFT):
                rollback.forget()
                _remove(node, manager)
                console.note(COMMAND, f"interrupted, but {node.name} has left its swarm")
        raise
    rollback.forget()
    _remove(node, manager, dry_run=dry_run)


def _has_left(node: Node) -> bool:
    question = node.line("info", "-f", "{{.Swarm.LocalNodeState}}")
    return node.host.capture(question).stdout.strip() == nodes.INACTIVE


def _remove(node: Node, manager: Node, *, dry_run: bool = False) -> None:
    """Remove a node that has left from the list of the manager."""
    # With --force, because a manager notices only after some seconds that a node has left.
    line = manager.line("node", "rm", "--force", node.id)
    try:
        manager.run(line, dry_run=dry_run)
    except BaseException:
        console.warn(COMMAND, f"{node.name} has left; if {manager.name} still lists it, run: {manager.command(line)}")
        raise


def _run(node: Node, line: str) -> str:
    node.run(line)
    return line.partition(" ")[2]


def _await_end_of_tasks(node: Node, manager: Node, seconds: float) -> None:
    """Wait until the drained node runs no containers of services; DockerutilsError if that takes too long."""
    tasks: list[dict[str, Any]] = []

    def has_ended() -> bool:
        found = manager.ask(manager.engine.tasks, node=node.id)
        tasks[:] = [each for each in found if each["Status"]["State"] in _RUNNING]
        return not tasks

    if not nodes.wait(has_ended, seconds):
        raise DockerutilsError(
            f"services still run on {node.name} after {seconds:g} s (containers: {len(tasks)}); allow more time with -t"
        )


def _leave_without_manager(node: Node, departure: Departure, *, force: bool, dry_run: bool) -> list[Dock]:
    """Let a dock leave without another manager: it is the last one, or a worker whose manager is unknown."""
    if not node.is_manager:
        if not force:
            raise DockerutilsError(
                f"no dock is a manager of the swarm of {node.name}, so its containers cannot be moved; register a "
                f"manager as a dock, or leave without moving them: swarm-docks --leave {node.name} --force"
            )
        return _leave_still_listed(node, dry_run=dry_run)
    listed, others = departure.listed, departure.others
    managers = [each for key, each in listed.items() if each.get("ManagerStatus") and key != node.id]
    if not listed and not force:
        raise DockerutilsError(
            f"the swarm of {node.name} has no leader to move its containers; to leave without moving them, run: "
            f"swarm-docks --leave {node.name} --force"
        )
    if managers and not force:
        names = ", ".join(map(nodes.host_name, managers))
        raise DockerutilsError(
            f"the other managers of the swarm of {node.name} are not docks, or do not answer: {names}; register one "
            f"as a dock, or leave without a manager: swarm-docks --leave {node.name} --force"
        )
    if managers:
        return _leave_still_listed(node, dry_run=dry_run)
    if not force:
        raise DockerutilsError(
            f"{node.name} is the last manager: without it, the swarm and its services end; to end them, run: "
            f"swarm-docks --leave {node.name} --force"
        )
    known = {node.id, *(each.id for each in others)}
    for each in (*others, node):
        each.run(each.line("swarm", "leave", "--force"), dry_run=dry_run)
    if left := [nodes.label(each) or nodes.host_name(each) for key, each in listed.items() if key not in known]:
        console.warn(
            COMMAND,
            f"nodes that did not answer are still in the swarm: {', '.join(left)}; run on each: docker swarm leave",
        )
    return [node.dock, *(each.dock for each in others)]


def _leave_still_listed(node: Node, *, dry_run: bool) -> list[Dock]:
    """Let a dock leave that a manager still lists afterwards."""
    node.run(node.line("swarm", "leave", "--force"), dry_run=dry_run)
    if not dry_run:
        console.warn(COMMAND, f"the manager still lists {node.name}; run there: docker node rm --force {node.id}")
    return [node.dock]


def _remove_unreachable(departure: Departure, *, force: bool, dry_run: bool) -> None:
    """Remove a node that does not answer from the manager's list, as soon as the manager sees it as down."""
    manager, name = departure.manager, departure.dock.moniker
    assert manager
    console.warn(COMMAND, departure.reason)
    if not dry_run and not force and not nodes.wait(lambda: _state(manager, departure.id) == nodes.DOWN, _GONE):
        raise DockerutilsError(
            f"{manager.name} still sees {name} as {_state(manager, departure.id)}; check the connection to the "
            f"dock, or remove it now: swarm-docks --leave {name} --force"
        )
    if nodes.listed(manager)[departure.id].get("ManagerStatus"):
        manager.run(manager.line("node", "demote", departure.id), dry_run=dry_run)
    manager.run(manager.line("node", "rm", "--force", departure.id), dry_run=dry_run)
    if not dry_run:
        console.warn(
            COMMAND,
            f"{name} still has the settings of the swarm; when it answers again, run: "
            f"swarm-docks --leave {name} --force",
        )


def _state(manager: Node, node: str) -> str:
    found = nodes.listed(manager).get(node)
    return str(found["Status"]["State"]) if found else nodes.DOWN
