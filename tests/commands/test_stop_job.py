"""stop-job: a job and its shards end; what has ended stays as it is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dockerutils.commands.stop_job import main
from tests.support import App, wait_for
from tests.testbed.aws import Request, parsed

_ID = "0f47a1b0-1111-4222-8333-44445555666"


@pytest.fixture
def stop(tmp_path, capfd, monkeypatch) -> App:
    """Return a function that calls the command with a queue."""
    monkeypatch.setenv("DOCKERUTILS_QUEUE", "jobs")
    return App(main, tmp_path, capfd)


def test_stop(batch, stop) -> None:
    batch.queue()
    array = batch.submit("train", "sleep 60", shards=6)
    wait_for(lambda: batch.job(array)["arrayProperties"]["statusSummary"]["RUNNING"])
    outcome = stop("train", "--dry-run", "--reason", "it's enough")
    [line] = outcome.out.splitlines()
    assert (outcome.status, outcome.err) == (0, "")
    assert parsed(line) == ("TerminateJob", {"jobId": array, "reason": "it's enough"})
    assert batch.job(array)["status"] == "PENDING"

    outcome = stop(array[:5], "--reason", "it's enough")
    assert (outcome.status, outcome.out, outcome.echoed) == (0, "", [line])
    told = f"stop-job: job train (6 of 6 shards) is being stopped; to see its state, run: ls-job {array}"
    assert outcome.err.splitlines()[-1] == told
    assert batch.until(array)["status"] == "FAILED"
    ended = batch.client.describe_jobs(jobs=[f"{array}:{index}" for index in range(6)])["jobs"]
    assert {each["statusReason"] for each in ended} == {"it's enough"}

    outcome = stop("train")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "stop-job: job train has already ended: FAILED\n")


def _jobs(*jobs: dict[str, Any]) -> dict[str, Any]:
    records: list[dict[str, Any]] = [
        {"jobId": f"{_ID}{number}", "jobName": "train", "createdAt": number + 1, **each}
        for number, each in enumerate(jobs)
    ]

    def lists(request: Request) -> bytes:
        filters: Any = request.parameters.get("filters")
        if filters:
            found = [each for each in records if [each["jobName"]] == filters[0]["values"]]
        else:
            found = [each for each in records if each["status"] == request.parameters["jobStatus"]]
        return json.dumps({"jobSummaryList": found}).encode()

    def describes(request: Request) -> bytes:
        return json.dumps({"jobs": [each for each in records if each["jobId"] in request.parameters["jobs"]]}).encode()

    return {"listjobs": lists, "describejobs": describes, "terminatejob": b"{}"}


def test_of_several_jobs_with_this_name_the_live_one_is_stopped(front, stop) -> None:
    front.replace |= _jobs({"status": "FAILED"}, {"status": "RUNNABLE"}, {"status": "SUCCEEDED"})
    outcome = stop("train")
    assert outcome.status == 0
    [stopped] = [request.parameters for request in front.requests if request.action == "terminatejob"]
    assert stopped == {"jobId": f"{_ID}1", "reason": "stopped with stop-job"}
    front.replace |= _jobs({"status": "RUNNING"}, {"status": "RUNNABLE"})
    outcome = stop("train")
    assert outcome.status == 2
    assert outcome.err == f"stop-job: 2 jobs named train have not ended: {_ID}1, {_ID}0; write the id of one\n"


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (("trian",), 1, "queue jobs has no job trian; did you mean train?"),
        (("",), 2, "the name of the job is empty; write its name or id, which ls-job lists"),
        (("train", "--reason", " "), 2, "--reason is empty; write why, or leave it out"),
        (
            ("train",),
            1,
            "AWS refused TerminateJob: Because (AccessDeniedException); grant this IAM identity the permission",
        ),
    ],
)
def test_refusals(front, stop, argv, status, message) -> None:
    front.replace |= _jobs({"status": "RUNNING"})
    front.refuse("terminatejob", "AccessDeniedException")
    outcome = stop(*argv)
    assert (outcome.status, outcome.out) == (status, "")
    assert re.sub(r"(?s).*\n(?=.)", "", outcome.err) == f"stop-job: {message}\n"
