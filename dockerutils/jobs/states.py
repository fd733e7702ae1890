"""The jobs of AWS Batch: their states, the children of arrays, and how they ended.

The calls: https://docs.aws.amazon.com/batch/latest/APIReference/. AWS keeps a job for seven days after its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dockerutils.aws.session import Call, Session
from dockerutils.aws.throttling import patient_call
from dockerutils.core.errors import DockerutilsError
from dockerutils.jobs import shards

# https://docs.aws.amazon.com/batch/latest/userguide/job_states.html
PENDING, RUNNING, SUCCEEDED, FAILED = "PENDING", "RUNNING", "SUCCEEDED", "FAILED"
LIVE = ("SUBMITTED", PENDING, "RUNNABLE", "STARTING", RUNNING)
ENDED = (SUCCEEDED, FAILED)
ALL = (*LIVE, *ENDED)
LOG_GROUP = "/aws/batch/job"  # unless the job definition names another one
_MOST = 100  # ids that one call describes


class Job(NamedTuple):
    """A job. Times are in seconds since 1970.

    `size` is the number of children of an array, and `counts` how many of them are in which state. `shard` is the
    index of a child in its array. If the job runs some shards of an earlier one again, `numbers` are their indices
    there, and `shard` is the index there, too. `reason` is what AWS says about the state. `exit_code` and `detail`, the
    reason of the container, are those of the last attempt. What does not exist is None or empty; a job from a list has
    no `queue`, `counts`, `attempts`, `log_stream` or `numbers`.
    """

    id: str
    name: str
    state: str
    queue: str = ""
    created: float = 0.0
    started: float | None = None
    stopped: float | None = None
    reason: str = ""
    exit_code: int | None = None
    detail: str = ""
    size: int | None = None
    shard: int | None = None
    counts: Mapping[str, int] = {}
    attempts: int = 0
    log_group: str = LOG_GROUP
    log_stream: str = ""
    numbers: Sequence[int] = ()

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.state in ENDED

    @property
    def shown_state(self) -> str:
        """The state; an array whose children run, which AWS calls PENDING, is RUNNING."""
        begun = any(self.counts.get(each) for each in (RUNNING, "STARTING", *ENDED))
        return RUNNING if self.state == PENDING and begun else self.state

    @property
    def cause(self) -> str:
        """Why it is in this state: preferably the reason of its container, which says more."""
        return self.detail or self.reason


def describe(session: Session, job: str) -> Job:
    """Return a job by its id, `ID:INDEX` for a child of an array; DockerutilsError if AWS does not know it."""
    return _job(record(session, job))


def record(session: Session, job: str) -> dict[str, Any]:
    """Return the answer of DescribeJobs for a job; DockerutilsError if AWS does not know it."""
    found = next((each for each in _records(session, [job]) if each["jobId"] == job), None)
    if found is None:
        raise DockerutilsError(
            f"AWS Batch in {session.region} has no job {job}; it forgets jobs a week after their end; run: ls-job --all"
        )
    return found


def described(session: Session, jobs: Sequence[str]) -> dict[str, Job]:
    """Return the jobs that AWS knows, by id."""
    found: dict[str, Job] = {}
    for start in range(0, len(jobs), _MOST):
        found |= {each["jobId"]: _job(each) for each in _records(session, jobs[start : start + _MOST])}
    return found


def _records(session: Session, jobs: Sequence[str]) -> list[dict[str, Any]]:
    answer = _call(session, "describe-jobs", {"jobs": list(jobs)})
    return list(answer["jobs"])


def children(session: Session, array: str, states: Sequence[str] = ALL) -> list[Job]:
    """Return the children of an array that are in one of the states, by index; `described` knows more of them."""
    found = [each for state in states for each in _list(session, {"arrayJobId": array, "jobStatus": state})]
    # A child that changes its state meanwhile can be in two lists.
    return sorted({each.id: each for each in found}.values(), key=lambda each: each.shard or 0)


def in_queue(session: Session, queue: str, states: Sequence[str] = ALL) -> list[Job]:
    """Return the jobs of a queue that are in one of the states, the newest first, without the children of arrays.

    Refused, with the code ClientException, if the queue does not exist.
    """
    found = [each for state in states for each in _list(session, {"jobQueue": queue, "jobStatus": state})]
    return sorted({each.id: each for each in found}.values(), key=lambda each: -each.created)


def named(session: Session, queue: str, name: str) -> list[Job]:
    """Return the jobs of a queue with this name, the newest first, by one call; Refused as above."""
    filters = [{"name": "JOB_NAME", "values": [name]}]
    # AWS ignores the case.
    found = [each for each in _list(session, {"jobQueue": queue, "filters": filters}) if each.name == name]
    return sorted(found, key=lambda each: -each.created)


def _list(session: Session, parameters: Mapping[str, Any]) -> list[Job]:
    return [_job(each) for each in _call(session, "list-jobs", parameters).get("jobSummaryList", ())]


def _call(session: Session, operation: str, parameters: Mapping[str, Any]) -> Any:
    return patient_call(session, Call("batch", operation, parameters))


def _job(record: Mapping[str, Any]) -> Job:
    """Return the job that a JobSummary or JobDetail describes."""
    container, array = record.get("container") or {}, record.get("arrayProperties") or {}
    attempts = record.get("attempts") or []
    last = {**(attempts[-1].get("container") or {}), **container} if attempts else container
    numbers = _numbers(container.get("command"))
    shard = array.get("index")
    if numbers and "size" not in array:
        shard = numbers[shard or 0]
    options = (container.get("logConfiguration") or {}).get("options") or {}
    return Job(
        record["jobId"],
        record["jobName"],
        record["status"],
        record.get("jobQueue", "").rpartition("/")[2],
        _seconds(record.get("createdAt")) or 0.0,
        _seconds(record.get("startedAt")),
        _seconds(record.get("stoppedAt")),
        record.get("statusReason") or "",
        last.get("exitCode"),
        last.get("reason") or "",
        array.get("size"),
        shard,
        {state: count for state, count in (array.get("statusSummary") or {}).items() if count},
        len(attempts),
        options.get("awslogs-group") or LOG_GROUP,
        last.get("logStreamName") or "",
        numbers,
    )


def _numbers(command: Sequence[str] | None) -> tuple[int, ...]:
    retried = shards.of_command(command or ())
    return tuple(retried.indices) if retried else ()


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None
