"""The states of jobs on AWS Batch, from real ones and from many."""

from __future__ import annotations

import json

import pytest

from dockerutils.aws import throttling
from dockerutils.aws.errors import Refused
from dockerutils.core.errors import DockerutilsError
from dockerutils.jobs import states
from dockerutils.jobs.states import Job
from tests.testbed.aws import Request

_SCRIPT = 'echo "shard $AWS_BATCH_JOB_ARRAY_INDEX"; case $AWS_BATCH_JOB_ARRAY_INDEX in 2|5) exit 3;; esac'


def test_array_and_its_failed_children(batch, session) -> None:
    batch.queue()
    array = batch.submit("train", _SCRIPT, shards=8)  # more than a page of the test bed
    batch.until(array)
    job = states.describe(session, array)
    assert job[:4] == (array, "train", "FAILED", "jobs")
    assert (job.size, job.counts, job.shard) == (8, {"SUCCEEDED": 6, "FAILED": 2}, None)
    assert job.created <= (job.started or 0) <= (job.stopped or 0)
    assert states.in_queue(session, "jobs") == [
        job._replace(queue="", counts={}, reason=""),
    ]
    assert [each.id for each in states.children(session, array)] == [f"{array}:{index}" for index in range(8)]
    failed = states.children(session, array, [states.FAILED])
    assert [(each.shard, each.exit_code, each.cause) for each in failed] == [
        (index, 3, "Essential container in task exited") for index in (2, 5)
    ]
    [second] = states.described(session, [failed[0].id]).values()
    assert (second.attempts, second.log_group) == (1, states.LOG_GROUP)
    assert second.log_stream.startswith("train/default/")


def test_unknown_job(batch, session) -> None:
    with pytest.raises(DockerutilsError) as error:
        states.describe(session, "0f47a1b0-1111-4222-8333-444455556666")
    assert str(error.value) == (
        "AWS Batch in us-east-1 has no job 0f47a1b0-1111-4222-8333-444455556666; it forgets jobs a week after their end; "
        "run: ls-job --all"
    )


def test_many_jobs_are_described_a_hundred_at_a_time(front, session) -> None:
    def describe(request: Request) -> bytes:
        ids = request.parameters["jobs"]
        found = [{"jobId": each, "jobName": "n", "status": "FAILED"} for each in ids if each != "7"]
        return json.dumps({"jobs": found}).encode()

    front.replace["describejobs"] = describe
    wanted = [str(number) for number in range(250)]
    assert list(states.described(session, wanted)) == [each for each in wanted if each != "7"]
    assert [len(request.parameters["jobs"]) for request in front.requests] == [100, 100, 50]


@pytest.mark.parametrize("code", ["ThrottlingException", "TooManyRequestsException"])
def test_throttled_calls_are_repeated_for_a_while(front, session, monkeypatch, code) -> None:
    monkeypatch.setattr(throttling, "PAUSE", 0.01)
    front.replace["listjobs"] = b'{"jobSummaryList": [{"jobId": "1", "jobName": "n", "status": "RUNNING"}]}'
    front.refuse("listjobs", code, times=2)
    assert states.in_queue(session, "q", [states.RUNNING]) == [Job("1", "n", "RUNNING")]
    assert len(front.requests) == 3
    monkeypatch.setattr(throttling, "PATIENCE", 0.02)
    front.refuse("listjobs", code)
    with pytest.raises(Refused) as error:
        states.in_queue(session, "q")
    assert str(error.value) == f"AWS refused ListJobs: Because ({code}); try again later"


@pytest.mark.parametrize(
    ("state", "counts", "shown"),
    [
        ("PENDING", {"RUNNABLE": 2}, "PENDING"),
        ("PENDING", {"RUNNABLE": 1, "RUNNING": 1}, "RUNNING"),
        ("PENDING", {"RUNNABLE": 1, "FAILED": 1}, "RUNNING"),
        ("FAILED", {"FAILED": 2}, "FAILED"),
    ],
)
def test_shown_state_of_an_array(state, counts, shown) -> None:
    assert Job("1", "n", state, counts=counts).shown_state == shown
