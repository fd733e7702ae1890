"""The services of a project, as ls-image shows them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from dockerutils.core import console
from dockerutils.docker import engine
from dockerutils.docker.engine import Record
from dockerutils.project.project import Project

HEADER = ("SERVICE", "IMAGE", "REPLICAS", "NODES", "RUNS", "FOLLOW ITS LOG")


class Service(NamedTuple):
    """A service of an image: how many replicas are wanted and how many run, on which nodes, and what they run."""

    service: str
    image: str
    replicas: int
    running: int
    nodes: Sequence[str]
    runs: str


def of_project(project: Project) -> list[Service]:
    """Return the services of a project, if the engine manages a swarm and has a Unix socket, as in docked shells.

    The engine of a docked shell is behind one. Others are not asked: each request would need a new connection.
    """
    socket = engine.local_socket(project.environ)
    if not (socket and engine.is_manager(socket, project.environ)):
        return []
    # Late: few engines are managers.
    from dockerutils.docker import api
    from dockerutils.swarm import nodes

    try:
        with closing(api.local(socket)) as manager:
            found = manager.services(label=f"{engine.PROJECT}={project.name}")
            names = nodes.names(manager.nodes()) if found else {}
            return [_service(each, manager.tasks(service=each["ID"]), names) for each in found]
    except api.ApiError as error:
        raise engine.refusal(str(error)) from None


def _service(found: Record, tasks: Sequence[Record], names: dict[str, str]) -> Service:
    spec = found["Spec"]
    running = [each for each in tasks if each["DesiredState"] == each["Status"]["State"] == "running"]
    return Service(
        spec["Name"],
        spec["Labels"].get(engine.IMAGE, ""),
        ((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas", 0),
        len(running),
        sorted({names.get(each.get("NodeID", ""), "") for each in running}),
        spec["TaskTemplate"]["ContainerSpec"]["Image"],
    )


def table(found: Sequence[Service]) -> str:
    """Return services as a table."""
    return console.table(HEADER, [tuple(map(console.one_line, _cells(each))) for each in found])


def _cells(each: Service) -> tuple[str, ...]:
    digest = each.runs.rpartition("sha256:")[2]
    runs = digest[:12] if "sha256:" in each.runs else each.runs
    count = f"{each.running} of {each.replicas}"
    return each.service, each.image, count, ", ".join(each.nodes), runs, f"docker service logs -f {each.service}"
