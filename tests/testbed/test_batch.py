"""Batch of the testbed runs jobs on a real engine as AWS does."""

from __future__ import annotations

import pytest

from tests.support import wait_for
from tests.testbed.batch import EC2, PLACES
from tests.testbed.images import BUSYBOX

pytestmark = pytest.mark.engine

_SHARD = "echo $AWS_BATCH_JOB_ARRAY_INDEX $GREETING; [ $AWS_BATCH_JOB_ARRAY_INDEX != 1 ] || exit 3"


def test_array_runs_its_shards_and_fails_with_one_of_them(batch) -> None:
    batch.queue()
    environment = {"environment": [{"name": "GREETING", "value": "hello"}]}
    array = batch.submit("train", _SHARD, shards=3, containerOverrides=environment)
    parent = batch.until(array)
    assert parent["status"] == "FAILED"
    assert parent["arrayProperties"]["statusSummary"] == {
        **dict.fromkeys(("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"), 0),
        "SUCCEEDED": 2,
        "FAILED": 1,
    }
    assert [batch.messages(f"{array}:{index}") for index in range(3)] == [["0 hello"], ["1 hello"], ["2 hello"]]
    failed = batch.job(f"{array}:1")
    assert failed["arrayProperties"] == {"index": 1}
    assert (failed["container"]["exitCode"], failed["statusReason"]) == (3, "Essential container in task exited")
    listed = batch.client.list_jobs(arrayJobId=array, jobStatus="FAILED")["jobSummaryList"]
    assert [(each["jobId"], each["container"]["exitCode"]) for each in listed] == [(f"{array}:1", 3)]
    assert [
        each["jobId"] for each in batch.client.list_jobs(jobQueue="jobs", jobStatus="FAILED")["jobSummaryList"]
    ] == [array]
    assert batch.client.list_jobs(jobQueue="jobs")["jobSummaryList"] == []  # none is running


def test_job_is_retried_times_out_or_does_not_start(batch) -> None:
    batch.queue(kind=EC2)
    [digest] = batch.engine.api("GET", f"/images/{BUSYBOX}/json")["RepoDigests"]
    again = batch.submit("again", "[ $AWS_BATCH_JOB_ATTEMPT = 2 ]", image=digest, retryStrategy={"attempts": 3})
    late = batch.submit("late", "sleep 60", timeout={"attemptDurationSeconds": 1})
    unknown = batch.submit("unknown", "true", image="127.0.0.1:1/unknown")
    [first, second] = batch.until(again)["attempts"]
    assert (first["container"]["exitCode"], second["container"]["exitCode"]) == (1, 0)
    assert batch.until(late)["statusReason"] == "Job attempt duration exceeded timeout"
    assert "CannotPullContainerError" in batch.until(unknown)["container"]["reason"]


def test_terminated_array_ends_and_its_log_arrives_while_it_runs(batch) -> None:
    batch.queue()
    array = batch.submit("train", "echo begun; sleep 60", shards=PLACES + 2)
    wait_for(lambda: batch.job(array)["arrayProperties"]["statusSummary"]["RUNNING"] == PLACES)
    children = [f"{array}:{index}" for index in range(PLACES + 2)]
    running = next(each for each in children if batch.job(each)["status"] == "RUNNING")
    wait_for(lambda: "logStreamName" in batch.job(running)["container"] and batch.messages(running))
    batch.client.terminate_job(jobId=array, reason="not needed")
    assert batch.until(array)["status"] == "FAILED"
    ended = batch.client.describe_jobs(jobs=children)["jobs"]
    assert {each["statusReason"] for each in ended} == {"not needed"}
    codes = [each["container"].get("exitCode") for each in ended]
    assert (codes.count(137), codes.count(None)) == (PLACES, 2)
    assert batch.engine.api("GET", "/containers/json", all=1, filters={"name": [array]}) == []
