"""Job queues of AWS Batch, and the machines that run their jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dockerutils.aws.session import Call, Session
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.suggestions import nearest
from dockerutils.project.config import Settings

VARIABLE = "DOCKERUTILS_QUEUE"
_LIST = "aws batch describe-job-queues --query 'jobQueues[].jobQueueName'"
_READY = ("VALID", "UPDATING")


class Queue(NamedTuple):
    """A queue that takes jobs; `subnets` are those of Fargate."""

    name: str
    is_fargate: bool
    subnets: tuple[str, ...] = ()


def name(given: str | None, settings: Settings | None, environ: Mapping[str, str]) -> str:
    """Return the name of the queue: from --queue, the key batch_queue, or DOCKERUTILS_QUEUE."""
    found = given or (settings.word("batch_queue") if settings else "") or environ.get(VARIABLE)
    if not found:
        raise UserError(
            f"no job queue is named; use --queue, batch_queue = NAME or {VARIABLE}; this lists them: {_LIST}"
        )
    return found


def find(session: Session, wanted: str) -> Queue:
    """Return a queue by its name or ARN; DockerutilsError if it takes no jobs, or does not exist."""
    found = session.call(Call("batch", "describe-job-queues", {"jobQueues": [wanted]}, query="jobQueues"))
    if not found:
        known = session.call(Call("batch", "describe-job-queues", {}, query="jobQueues[].jobQueueName")) or []
        near = nearest(wanted.rpartition("/")[2], known)
        if near:
            advice = f"did you mean {near}?"
        elif known:
            advice = f"its queues: {', '.join(sorted(known))}"
        else:
            advice = "it has none: make one on Fargate or EC2, for example in the console of AWS Batch"
        raise DockerutilsError(f"{session.region} has no job queue {wanted}; {advice}")
    [queue] = found
    if queue["state"] != "ENABLED":
        command = Call("batch", "update-job-queue", {"jobQueue": wanted, "state": "ENABLED"})
        raise DockerutilsError(f"the job queue {wanted} is disabled; name another one, or run: {session.line(command)}")
    if queue["status"] not in _READY:
        reason = f": {queue['statusReason'].rstrip('.')}" if queue.get("statusReason") else ""
        raise DockerutilsError(f"the job queue {wanted} is {queue['status']}{reason}; name another one, or wait for it")
    return _with_machines(session, wanted, [each["computeEnvironment"] for each in queue["computeEnvironmentOrder"]])


def _with_machines(session: Session, wanted: str, names: list[str]) -> Queue:
    """Return the queue with the kind of its compute environments: AWS lets a queue have one kind only."""
    parameters = {"computeEnvironments": names}
    environments: list[dict[str, Any]] = (
        session.call(Call("batch", "describe-compute-environments", parameters, query="computeEnvironments")) or []
    )
    kinds = [each.get("computeResources", {}).get("type", "") for each in environments]
    if not environments or any(each.get("containerOrchestrationType") == "EKS" for each in environments):
        raise DockerutilsError(
            f"the job queue {wanted} has no compute environment on ECS; name a queue on Fargate or EC2"
        )
    if not kinds[0].startswith("FARGATE"):
        return Queue(wanted, is_fargate=False)
    subnets = [subnet for each in environments for subnet in each["computeResources"]["subnets"]]
    return Queue(wanted, is_fargate=True, subnets=tuple(sorted(set(subnets))))


def is_public(session: Session, queue: Queue) -> bool:
    """Return whether machines in the subnets of a queue get public addresses, as the subnets say.

    Without one, a job in a subnet that has no NAT gateway cannot get its image.
    """
    if not queue.subnets:
        return False
    query = "Subnets[].MapPublicIpOnLaunch"
    found = session.call(Call("ec2", "describe-subnets", {"SubnetIds": [*queue.subnets]}, query=query))
    return any(found or ())
