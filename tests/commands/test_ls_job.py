"""ls-job: jobs that ran on a real engine, and what AWS answers in cases that are rare."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pexpect
import pytest

from dockerutils.aws import throttling
from dockerutils.commands import ls_job
from dockerutils.jobs import logs
from dockerutils.jobs.shards import Shards
from tests.support import App, exit_status, wait_for
from tests.testbed.aws import Front, Request

# Two of eight shards fail.
_SHARDS = 'echo "shard $AWS_BATCH_JOB_ARRAY_INDEX"; case $AWS_BATCH_JOB_ARRAY_INDEX in 2|5) exit 3;; esac'
_ID = "0f47a1b0-1111-4222-8333-44445555666"
_QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/jobs"


@pytest.fixture
def ls(tmp_path, capfd, monkeypatch) -> App:
    """Return a function that calls the command in a project with a queue."""
    monkeypatch.setattr(ls_job, "TICK", 0.1)
    monkeypatch.setattr(logs, "TICK", 0.2)
    monkeypatch.setattr(throttling, "PAUSE", 0.01)
    app = App(ls_job.main, tmp_path / "app", capfd)
    app.write({"docker/train/Dockerfile": "FROM scratch\n", "docker/dockerutils.cfg": "[train]\nbatch_queue = jobs\n"})
    return app


def test_jobs_of_the_queue_and_an_array_whose_shards_failed(batch, ls) -> None:
    batch.queue()
    array = batch.submit("train", _SHARDS, shards=8)
    batch.until(array)
    live = batch.submit("serve", "echo begun; sleep 60")
    batch.until(live, "RUNNING")

    header, *rows = _table(ls().out)
    assert header == ["JOB", "ID", "STATE", "SHARDS", "AGE", "RUNTIME"]
    assert [row[:3] for row in rows] == [["serve", live[:8], "RUNNING"], ["train", array[:8], "FAILED"]]
    assert rows[1][3] == "6 done, 2 failed of 8"
    record = json.loads(ls("--json").out)[1]
    assert (record["id"], record["size"], record["counts"]) == (array, 8, {"SUCCEEDED": 6, "FAILED": 2})

    # A job that failed is no failure of the command, unless it was waited for.
    outcome = ls(array[:6])
    assert (outcome.status, outcome.err) == (0, "")
    [_, row], [header, *failed] = map(_table, outcome.out.split("\n\n"))
    assert row == rows[1][:4] + row[4:]
    assert header == ["SHARD", "EXIT", "ATTEMPTS", "REASON", "LOG STREAM"]
    reason = "Essential container in task exited"
    assert [each[:4] for each in failed] == [[index, "3", "1", reason] for index in ("2", "5")]
    assert all(each[4].startswith("train/default/") for each in failed)
    [record] = json.loads(ls("train", "--json").out)
    assert [(each["shard"], each["exit_code"]) for each in record["failed"]] == [(2, 3), (5, 3)]
    outcome = ls("train", "--watch")
    assert outcome.status == 1
    assert outcome.err == (
        f"ls-job: 2 of the 8 shards of job train failed; to read the log of the first, run: ls-job {array} --logs; "
        f"to run them again: submit-image --retry {array}\n"
    )
    assert ls("train", "3", "--watch").status == 0

    # Logs: of a shard, of the first that failed, of a job that runs.
    assert ls("train", "3", "--logs").out == "shard 3\n"
    outcome = ls("train", "--logs")
    assert (outcome.status, outcome.out) == (0, "shard 2\n")
    assert outcome.err == "ls-job: the log of shard 2, the first of 2 that failed:\n"
    assert wait_for(lambda: ls("serve", "--logs").out) == "begun\n"


def test_watch_shows_progress_on_a_terminal_and_a_log_is_followed(batch, ls) -> None:
    batch.queue()
    array = batch.submit("train", "[ $AWS_BATCH_JOB_ARRAY_INDEX = 0 ] || sleep 60", shards=2)
    terminal = pexpect.spawn(
        f"{os.path.dirname(sys.executable)}/ls-job",
        [array, "--watch"],
        encoding="utf-8",
        timeout=60,
        cwd=ls.root,
        dimensions=(24, 100),
    )
    terminal.expect(r"train: \[#{12}\.{12}\] 1 done, 1 running of 2\r\n")
    job = batch.submit("serve", "for each in 1 2 3; do echo line $each; sleep 0.3; done")
    outcome = ls(job, "--logs", "-f")
    assert (outcome.status, outcome.out, outcome.err) == (0, "line 1\nline 2\nline 3\n", "")
    batch.client.terminate_job(jobId=array, reason="enough")
    terminal.expect(r"train +\w{8} +FAILED +1 done, 1 failed of 2 ")
    assert exit_status(terminal) == 1


def _table(text: str) -> list[list[str]]:
    """Return the cells of a table, all of which have a value."""
    return [re.split("  +", line.strip()) for line in text.splitlines()]


def _job(number: int, state: str, ended: float | None = None, **more: Any) -> dict[str, Any]:
    """Return a job as AWS describes it, that was created when it ended, in seconds before now."""
    then = int((time.time() - (ended or number)) * 1000)
    times = {"createdAt": then} | ({"startedAt": then, "stoppedAt": then + 1000} if ended is not None else {})
    return {"jobId": f"{_ID}{number}", "jobName": f"job{number}", "status": state, "jobQueue": _QUEUE, **times, **more}


def _is_in(place: str | None, job: Mapping[str, Any]) -> bool:
    """Whether a job is in this queue, or is a child of this array."""
    array, _, child = job["jobId"].partition(":")
    return place == (array if child else job["jobQueue"].rpartition("/")[2])


def _matches(job: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Whether a job has the state, or the name, whose case does not matter, that ListJobs is asked for."""
    if "filters" not in parameters:
        return bool(job["status"] == parameters["jobStatus"])
    assert parameters["filters"][0]["name"] == "JOB_NAME"
    return job["jobName"].lower() in map(str.lower, parameters["filters"][0]["values"])


def _serve(front: Front, jobs: Sequence[dict[str, Any]]) -> None:
    """Let AWS Batch answer with these jobs, two on a page."""

    def lists(request: Request) -> bytes:
        place = request.parameters.get("jobQueue", request.parameters.get("arrayJobId"))
        mine = [each for each in jobs if _is_in(place, each) and _matches(each, request.parameters)]
        start = int(request.parameters.get("nextToken", 0))
        more = {"nextToken": str(start + 2)} if start + 2 < len(mine) else {}
        return json.dumps({"jobSummaryList": mine[start : start + 2], **more}).encode()

    def describes(request: Request) -> bytes:
        wanted = request.parameters["jobs"]
        return json.dumps({"jobs": [each for each in jobs if each["jobId"] in wanted]}).encode()

    front.replace["listjobs"] = lists
    front.replace["describejobs"] = describes


def test_pages_and_old_jobs(front, ls) -> None:
    days = 86400.0
    jobs = [
        _job(0, "RUNNING", createdAt=1),
        *(_job(number, "SUCCEEDED", number * days / 3.5) for number in range(1, 8)),
    ]
    _serve(front, jobs)
    jobs[1]["createdAt"] = 2  # it took days
    assert [row[0] for row in _table(ls().out)[1:]] == ["job2", "job3", "job1", "job0"]
    outcome = ls("--all")
    expected = [f"job{number}" for number in (2, 3, 4, 5, 6, 7, 1, 0)]
    assert ([row[0] for row in _table(outcome.out)[1:]], outcome.err) == (expected, "")
    _serve(front, jobs[5:])
    outcome = ls("--queue", "other")
    assert (outcome.status, outcome.out.split()) == (0, ["JOB", "ID", "STATE", "SHARDS", "AGE", "RUNTIME"])
    assert outcome.err == "ls-job: other: no jobs in the last day; for older ones, run: ls-job --all\n"
    assert front.requests[-1].parameters == {"jobQueue": "other", "jobStatus": "FAILED"}


def test_a_job_is_found_by_its_image(front, ls) -> None:
    jobs = [_job(number, "SUCCEEDED", number, jobName="alice-train") for number in (2, 1)]
    _serve(front, jobs)
    assert _table(ls("train").out)[1][:2] == ["alice-train", f"{_ID}1"[:8]]
    assert [request.parameters.get("filters") for request in front.requests] == [
        [{"name": "JOB_NAME", "values": ["train"]}],
        [{"name": "JOB_NAME", "values": ["alice-train"]}],
        None,
    ]
    _serve(front, [_job(3, "SUCCEEDED", jobName="alice-train-v2")])
    assert _table(ls("train.v2").out)[1][0] == "alice-train-v2"


def test_queues_of_several_images(front, ls, monkeypatch) -> None:
    ls.write({"docker/serve/Dockerfile": "FROM scratch\n"})
    monkeypatch.setenv("DOCKERUTILS_QUEUE", "mine")
    _serve(front, [_job(0, "RUNNING")])
    ls("--all")
    assert {request.parameters["jobQueue"] for request in front.requests if "jobQueue" in request.parameters} == {
        "jobs"
    }
    ls.write({"docker/dockerutils.cfg": "[train]\nbatch_queue = jobs\n[serve]\nbatch_queue = gpus\n"})
    _serve(front, [_job(0, "RUNNING")])
    header, row = _table(ls().out)
    assert (header[-1], row[-1]) == ("QUEUE", "jobs")
    ls.write({"docker/dockerutils.cfg": ""})
    front.requests.clear()
    ls()
    assert front.requests[0].parameters["jobQueue"] == "mine"
    monkeypatch.delenv("DOCKERUTILS_QUEUE")
    outcome = ls()
    assert (outcome.status, outcome.err) == (
        2,
        "ls-job: no job queue is named; use --queue, batch_queue = NAME or DOCKERUTILS_QUEUE; this lists them: "
        "aws batch describe-job-queues --query 'jobQueues[].jobQueueName'\n",
    )


def test_job_whose_many_shards_failed_while_aws_throttles(front, ls) -> None:
    array = _job(0, "FAILED", 60, arrayProperties={"size": 30, "statusSummary": {"FAILED": 30}})
    failed = [
        {
            **_job(
                0, "FAILED", 60, arrayProperties={"index": index}, statusReason="Job attempt duration exceeded timeout"
            ),
            "jobId": f"{_ID}0:{index}",
        }
        for index in range(30)
    ]
    _serve(front, [array, *failed])
    front.refuse("listjobs", "TooManyRequestsException", times=2)
    outcome = ls(f"{_ID}0")
    assert outcome.status == 0
    _, rows = outcome.out.split("\n\n")
    assert [row.split()[0] for row in rows.splitlines()[1:]] == [str(index) for index in range(20)]
    assert outcome.err == "ls-job: 10 more shards failed; to list all, add --json\n"
    assert len(json.loads(ls(f"{_ID}0", "--json").out)[0]["failed"]) == 30


def test_the_shards_of_a_retry_have_their_original_numbers(front, ls) -> None:
    command = {"command": Shards([3, 7, 8], 20, ["train"]).wrapped}
    array = _job(0, "FAILED", 60, container=command, arrayProperties={"size": 3, "statusSummary": {"FAILED": 1}})
    failed = {
        **_job(0, "FAILED", 60, container={**command, "exitCode": 1}, arrayProperties={"index": 1}),
        "jobId": f"{_ID}0:1",
    }
    one = _job(1, "FAILED", 50, container={"command": Shards([9], 20, ["train"]).wrapped, "exitCode": 1})
    _serve(front, [array, failed, one])
    outcome = ls("job0")
    assert outcome.out.split("\n\n")[1].splitlines()[1].split()[:2] == ["7", "1"]
    assert ls("job0", "7").out.splitlines()[1].split()[:2] == ["job0", "7"]
    assert front.requests[-1].parameters == {"jobs": [f"{_ID}0:1"]}
    [record] = json.loads(ls("job0", "--json").out)
    assert (record["numbers"], [each["shard"] for each in record["failed"]]) == ([3, 7, 8], [7])
    assert ls("job0", "4").err == "ls-job: job job0 has no shard 4; it has 3,7-8\n"
    assert ls("job1", "9").out.splitlines()[1].split()[:2] == ["job1", "9"]
    assert ls("job1", "8").err == "ls-job: job job1 has no shard 8; it has 9\n"


def test_watch_prints_plain_lines_without_a_terminal(front, ls, clock) -> None:
    states = iter(["RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED"])

    def describe(_: Request) -> bytes:
        clock[0] += 6
        state = next(states, "SUCCEEDED")
        return json.dumps({"jobs": [_job(1, state, statusReason="no machine" * (state == "RUNNABLE"))]}).encode()

    front.replace["describejobs"] = describe
    outcome = ls(f"{_ID}1", "--watch")
    assert (outcome.status, outcome.err) == (0, "job1: RUNNABLE: no machine\njob1: RUNNING\n")
    assert "SUCCEEDED" in outcome.out


@pytest.mark.parametrize(
    ("job", "argv", "message"),
    [
        (_job(1, "RUNNABLE"), (), "job job1 has no log yet: it is RUNNABLE; to wait for it, add -f"),
        (
            _job(1, "FAILED", 1, container={"reason": "CannotPullContainerError: not found"}),
            ("-f",),
            "job job1 has no log: it did not start; AWS says: CannotPullContainerError: not found",
        ),
    ],
)
def test_job_without_a_log(front, ls, job, argv, message) -> None:
    _serve(front, [job])
    outcome = ls(f"{_ID}1", "--logs", *argv)
    assert (outcome.status, outcome.out, outcome.err) == (1, "", f"ls-job: {message}\n")


def test_log_of_each_attempt_is_followed(front, ls) -> None:
    attempts = iter([("RUNNING", "a"), ("RUNNING", "b"), ("SUCCEEDED", "b")])
    latest = ["", ""]

    def describe(_: Request) -> bytes:
        latest[:] = next(attempts, latest)
        options = {"options": {"awslogs-group": "/mine"}}
        container = {"logStreamName": latest[1], "logConfiguration": options}
        return json.dumps({"jobs": [_job(1, latest[0], container=container)]}).encode()

    def events(request: Request) -> bytes:
        assert request.parameters["logGroupName"] == "/mine"
        stream, token = request.parameters["logStreamName"], request.parameters.get("nextToken", "0")
        texts = {"0": ["first", "second"], "2": ["third"]}.get(token, [])  # an empty page is not the end
        after = min(int(token) + 1, 3)
        if stream == "a" and token == "2" and latest[1] == "a":  # the last line arrives when the next attempt has begun
            texts, after = [], 2
        found = [{"message": f"{stream} {text}", "timestamp": 1} for text in texts]
        return json.dumps({"events": found, "nextForwardToken": f"{after}"}).encode()

    front.replace |= {"describejobs": describe, "GetLogEvents": events}
    outcome = ls(f"{_ID}1", "--logs", "-f")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [f"{stream} {text}" for stream in "ab" for text in ("first", "second", "third")]


_ARRAY = _job(0, "PENDING", createdAt=1, arrayProperties={"size": 4, "statusSummary": {"RUNNING": 4}})


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (("job1x",), 1, "queue jobs has no job job1x; did you mean job1?"),
        (("JOB1",), 1, "queue jobs has no job JOB1; run: ls-job --all"),
        (("zzz",), 1, "queue jobs has no job zzz; run: ls-job --all"),
        (("a b",), 1, "queue jobs has no job 'a b'; run: ls-job --all"),
        (("",), 2, "the name of the job is empty; write its name or id, which ls-job lists"),
        (("", "--watch"), 2, "the name of the job is empty; write its name or id, which ls-job lists"),
        (("0f47",), 2, f"the ids of 2 jobs begin with 0f47: {_ID}1, {_ID}0; write more of one"),
        (
            (f"{_ID}7",),
            1,
            f"AWS Batch in us-east-1 has no job {_ID}7; it forgets jobs a week after their end; run: ls-job --all",
        ),
        (("job1", "0"), 2, "job job1 is not an array; leave out the index 0"),
        (("job0", "4"), 2, "job job0 has no shard 4; it has 0-3"),
        (
            ("job0", "--logs"),
            2,
            f"none of the shards 0-3 of job job0 has failed; name one: ls-job {_ID}0 INDEX --logs",
        ),
        (("job0", "-f"), 2, "-f follows a log; add --logs"),
        (("--watch",), 2, "--watch needs a job; write its name or id, which ls-job lists"),
        (("job0", "--logs", "--watch"), 2, "--logs cannot be used with --watch; leave one out"),
        (("job0", "--logs", "--json"), 2, "--logs cannot be used with --json; leave one out"),
    ],
)
def test_usage(front, ls, argv, status, message) -> None:
    _serve(front, [_ARRAY, _job(1, "RUNNING")])
    outcome = ls(*argv)
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.err == f"ls-job: {message}\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "AccessDeniedException",
            "AWS refused ListJobs: Because (AccessDeniedException); grant this IAM identity the permission",
        ),
        ("ExpiredTokenException", "AWS refused ListJobs: Because (ExpiredTokenException); renew the credentials: "),
    ],
)
def test_refusals(front, ls, code, message) -> None:
    front.refuse("listjobs", code)
    outcome = ls()
    assert outcome.status == 1
    assert outcome.err.startswith(f"ls-job: {message}")


def test_unknown_queue(front, ls) -> None:
    front.refuse("listjobs", "ClientException")

    def queues(request: Request) -> bytes:
        known = [] if "jobQueues" in request.parameters else [{"jobQueueName": "job"}]
        return json.dumps({"jobQueues": known}).encode()

    front.replace["describejobqueues"] = queues
    outcome = ls()
    assert (outcome.status, outcome.err) == (1, "ls-job: us-east-1 has no job queue jobs; did you mean job?\n")


def test_no_region(ls, monkeypatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    outcome = ls()
    assert outcome.err == "ls-job: no AWS region is configured; set AWS_REGION, or run: aws configure set region NAME\n"
