"""Retries: what is submitted again, and what cannot be."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import DockerutilsError
from dockerutils.jobs import retry
from dockerutils.jobs.shards import Shards
from tests.testbed.aws import answering


def _job(**more: object) -> dict[str, object]:
    names = {"jobId": "j", "jobName": "n", "jobQueue": "arn:aws:batch:r:1:job-queue/q", "jobDefinition": "d:1"}
    return {**names, "status": "FAILED", "container": {"command": ["x"], "image": "i"}, **more}


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([], "AWS Batch in us-east-1 has no job j; it forgets jobs a week after their end; run: ls-job --all"),
        ([_job(status="RUNNING")], "j is RUNNING; retry it when it has ended, or end it: stop-job j"),
        ([_job(status="PENDING", arrayProperties={"size": 4, "statusSummary": {"FAILED": 1, "SUCCEEDED": 2}})], "j is PENDING, 3 of its 4 shards have ended; retry it when it has ended, or end it: stop-job j"),
    ],
)  # fmt: skip
def test_jobs_that_cannot_be_retried(connect_to, jobs, message) -> None:
    with answering((200, {"jobs": jobs})) as aws, pytest.raises(DockerutilsError) as caught:
        retry.parameters(connect_to(aws), "j")
    assert str(caught.value) == message


def test_one_shard_is_not_retried(connect_to) -> None:
    with answering((200, {"jobs": [_job(jobId="k:3")]})) as aws, pytest.raises(DockerutilsError) as caught:
        retry.parameters(connect_to(aws), "k:3")
    assert str(caught.value) == "k:3 is one shard; name its job: submit-image --retry k"


def test_what_was_set_for_the_job_is_set_for_its_retry(connect_to) -> None:
    needs = [{"type": "MEMORY", "value": "512"}]
    job = _job(
        container={"command": ["x"], "image": "i", "resourceRequirements": needs},
        retryStrategy={"attempts": 3, "evaluateOnExit": []},
        timeout={"attemptDurationSeconds": 60},
        parameters={},
    )
    with answering((200, {"jobs": [job]})) as aws:
        assert retry.parameters(connect_to(aws), "j") == (
            {
                "jobName": "n",
                "jobQueue": "q",
                "jobDefinition": "d:1",
                "retryStrategy": {"attempts": 3},
                "timeout": {"attemptDurationSeconds": 60},
                "containerOverrides": {"command": ["x"], "resourceRequirements": needs},
            },
            1,
        )


def test_if_all_shards_failed_the_job_is_the_same_whatever_the_image(connect_to) -> None:
    job = _job(arrayProperties={"size": 2})
    failed = [{"arrayProperties": {"index": n}, "jobId": f"j:{n}", "jobName": "n", "status": "FAILED"} for n in (0, 1)]
    with answering((200, {"jobs": [job]}), (200, {"jobSummaryList": failed})) as aws:
        again, shards = retry.parameters(connect_to(aws), "j")
    assert (again["arrayProperties"], again["containerOverrides"], shards) == ({"size": 2}, {"command": ["x"]}, 2)


def test_a_list_that_is_too_long(connect_to) -> None:
    first = Shards(list(range(0, 10_000, 2)), 10_000, ["x"])
    job = _job(arrayProperties={"size": 5000}, container={"command": first.wrapped, "image": "i"})
    failed = [
        {"arrayProperties": {"index": index}, "jobId": f"j:{index}", "jobName": "n", "status": "FAILED"}
        for index in range(4999)
    ]
    answers = (200, {"jobs": [job]}), (200, {"jobSummaryList": failed})
    with answering(*answers) as aws, pytest.raises(DockerutilsError) as caught:
        retry.parameters(connect_to(aws), "j")
    assert str(caught.value) == (
        "the list of the 4999 failed shards of j is too long for one job; submit the image again"
    )
