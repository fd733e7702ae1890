"""Where services can run: the available nodes of a swarm, as docks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dockerutils.core import shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process.children import Children
from dockerutils.docks.records import Dock
from dockerutils.swarm import nodes
from dockerutils.swarm.nodes import Node


def docks(manager: Dock, known: Sequence[Dock], children: Children) -> tuple[list[Dock], list[str]]:
    """Return the docks that are active nodes of a manager's swarm, and the names of active nodes that are down.

    `known` are the registered docks. DockerutilsError if the dock is not a manager, if an active node is not
    one of the docks, or if a dock does not answer.
    """
    [here] = nodes.connect([manager], children)
    if not here.is_manager:
        raise DockerutilsError(
            f"dock {manager.moniker} is not a manager of a swarm; name one, or run: swarm-docks {manager.moniker}"
        )
    active = {key: node for key, node in nodes.listed(here).items() if node["Spec"]["Availability"] == "active"}
    ready = {key: node for key, node in active.items() if node["Status"]["State"] == nodes.READY}
    found = _found(here, ready, [dock for dock in known if dock != manager and not dock.is_incomplete], children)
    if unregistered := [node for key, node in ready.items() if key not in found]:
        raise DockerutilsError(_about(unregistered))
    down = sorted(nodes.host_name(node) for key, node in active.items() if key not in ready)
    return sorted((found[key] for key in ready), key=lambda dock: dock.moniker), down


def _found(here: Node, ready: Mapping[str, Any], others: Sequence[Dock], children: Children) -> dict[str, Dock]:
    """Return the docks of nodes, by id. Docks that no label names are asked only if the dock of a node is missing."""
    labels = {nodes.label(node) for node in ready.values()}
    labelled = [dock for dock in others if dock.moniker in labels]
    found = {here.id: here.dock}
    for asked in (labelled, [dock for dock in others if dock not in labelled]):
        if ready.keys() <= found.keys():
            break
        for dock, answer in nodes.ask(asked, children).items():
            if not isinstance(answer, DockerutilsError):
                found[answer.id] = dock
            elif dock in labelled:
                raise CommandFailed(answer.status, nodes.about(dock, answer))
    return found


def _about(unregistered: Sequence[Mapping[str, Any]]) -> str:
    """Return what to do about nodes that are not docks."""
    names = [f"{nodes.host_name(each)} ({each['Status'].get('Addr') or 'without an address'})" for each in unregistered]
    name = shell_words.quote(nodes.host_name(unregistered[0]))
    return (
        f"nodes of the swarm are not docks: {', '.join(names)}; register them with register-dock, or keep services "
        f"from them: docker node update --availability drain {name}"
    )
