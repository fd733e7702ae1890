"""Wait until a service runs, or explain why it does not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.progress import Lines
from dockerutils.docker.api import Api
from dockerutils.swarm import nodes

TICK = 0.25  # seconds between two polls
# Seconds that a task can wait for a node, or for its start after a rollback; failures of one replica after which the
# service counts as failed.
PATIENCE, FAILURES = 10.0, 3

_NO_IMAGE = "no such image"
_UNHEALTHY = "unhealthy container"
_RUNNING, _PENDING, _FAILED, _COMPLETED = "running", "pending", {"failed", "rejected"}, "completed"
_ROLLED_BACK = "rollback_completed"
_DOING = {"updating": "updating", "rollback_started": "rolling back"}
_NOT_UPDATED = {
    _ROLLED_BACK: "was rolled back to the previous version",
    "rollback_paused": "was not updated, and docker stopped its rollback",
    "paused": "was not updated, and docker stopped halfway",
}

Task = Mapping[str, Any]


class Goal(NamedTuple):
    """The state to wait for: `replicas` of a service have run for `stable` seconds.

    `before` is the service as it was, {} if it is new, and `known` are the ids of the tasks that it had. `missing` says
    what to do about a node that does not have the image.
    """

    name: str
    replicas: int
    stable: float
    before: Mapping[str, Any]
    known: Collection[str]
    missing: str


class _State(NamedTuple):
    """A service at one moment.

    `replicas` is their number in its specification, and `update` the state of its update, "" for none. `tasks` are
    those that should run, of which `running` replicas run, and `waiting` find no node. `failed` are those that failed
    since the wait began.
    """

    replicas: int
    update: str
    tasks: Sequence[Task]
    running: int
    waiting: Sequence[Task]
    failed: Sequence[Task]


def converge(api: Api, goal: Goal) -> list[str]:
    """Wait for a service and return the names of the nodes where it runs.

    DockerutilsError says why that fails: its tasks fail or find no node, or its update was rolled back.
    """
    lines = Lines()
    complete = blocked = restoring = 0.0  # the times when these states began
    try:
        while True:
            state, now = _look(api, goal), time.monotonic()
            doing = f", {_DOING[state.update]}" if state.update in _DOING else ""
            lines.update(goal.name, f"{goal.name}: {state.running} of {goal.replicas} replicas running{doing}")
            # docker can call a rollback complete while a replica of the previous version starts.
            is_restoring = state.update == _ROLLED_BACK and state.running < state.replicas
            restoring = (restoring or now) if is_restoring else 0.0
            if not is_restoring or now - restoring > PATIENCE:
                _require_progress(api, goal, state)
            is_complete = state.running == goal.replicas == len(state.tasks) and state.update in ("", _COMPLETED)
            complete = (complete or now) if is_complete else 0.0
            blocked = (blocked or now) if state.waiting else 0.0
            if is_complete and (state.update or now - complete >= goal.stable):
                return _nodes_of(api, state.tasks)
            if blocked and now - blocked > PATIENCE:
                raise _blocked(goal, state)
            time.sleep(TICK)
    finally:
        lines.end(goal.name)


def _nodes_of(api: Api, tasks: Sequence[Task]) -> list[str]:
    """Return the names of the nodes that tasks run on."""
    names = nodes.names(api.nodes())
    return sorted({names.get(each.get("NodeID", ""), "") for each in tasks} - {""})


def _look(api: Api, goal: Goal) -> _State:
    service = api.service(goal.name)
    if not service:
        raise DockerutilsError(f"service {goal.name} was removed meanwhile; run this command again")
    tasks = api.tasks(service=service["ID"])
    wanted = [each for each in tasks if each["DesiredState"] == _RUNNING]
    update = service.get("UpdateStatus") or {}
    is_new = update.get("StartedAt") != (goal.before.get("UpdateStatus") or {}).get("StartedAt")
    return _State(
        service["Spec"]["Mode"]["Replicated"]["Replicas"],
        update.get("State", "") if is_new else "",
        wanted,
        sum(each["Status"]["State"] == _RUNNING for each in wanted),
        [each for each in wanted if each["Status"]["State"] == _PENDING and each["Status"].get("Err")],
        [each for each in tasks if each["Status"]["State"] in _FAILED and each["ID"] not in goal.known],
    )


def _require_progress(api: Api, goal: Goal, state: _State) -> None:
    """Raise DockerutilsError if an update has failed, or the tasks of a new service."""
    if state.update in _NOT_UPDATED:
        why, remedy = _reason(api, goal, state)
        raise DockerutilsError(f"{goal.name} {_NOT_UPDATED[state.update]}: {why}; {remedy}")
    counts = Counter(each.get("Slot") for each in state.failed)
    has_image = not any(_NO_IMAGE in _error(each) for each in state.failed)
    if state.update or (has_image and max(counts.values(), default=0) < FAILURES):
        return
    why, remedy = _reason(api, goal, state)
    raise DockerutilsError(f"{goal.name} failed to start: {why}; {remedy}")


def _reason(api: Api, goal: Goal, state: _State) -> tuple[str, str]:
    """Return why the last of its tasks failed, and what to do."""
    if not state.failed:
        return "docker does not say why", f"see docker service ps --no-trunc {goal.name}"
    names = nodes.names(api.nodes())
    without = [each for each in state.failed if _NO_IMAGE in _error(each)]
    if without:
        places = sorted({names.get(each.get("NodeID", ""), "unknown") for each in without})
        problem = f"node {places[0]} does" if len(places) == 1 else f"nodes {' and '.join(places)} do"
        return f"{problem} not have the image", goal.missing
    last = max(state.failed, key=lambda each: str(each["CreatedAt"]))
    node = names.get(last.get("NodeID", ""), "unknown")
    error = " ".join(str(last["Status"].get("Err", "")).split()) or "no reason given"
    see = f"see why: docker service logs {goal.name}"
    if _UNHEALTHY in error:
        return f"its health check failed on node {node}", see
    return f"a task failed on node {node}: {error.removeprefix('task: ')}", see


def _blocked(goal: Goal, state: _State) -> DockerutilsError:
    count = len(state.waiting)
    why = str(state.waiting[0]["Status"]["Err"])
    return DockerutilsError(
        f"{goal.name}: {count} of {goal.replicas} replicas {'waits' if count == 1 else 'wait'}: {why}; add a node with "
        "swarm-docks, or run fewer replicas"
    )


def _error(task: Task) -> str:
    return str(task["Status"].get("Err", "")).lower()
