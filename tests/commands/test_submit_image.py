"""submit-image: jobs that run on a real engine, through moto's Batch and a registry under the name of ECR."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.aws.session import Session
from dockerutils.commands import submit_image
from dockerutils.commands.submit_image import main
from dockerutils.jobs import queues, submission
from tests.support import App, Outcome
from tests.testbed import aws as testbed_aws
from tests.testbed import aws_command, registry
from tests.testbed.aws import ACCOUNT, PASSWORD
from tests.testbed.batch import EC2
from tests.testbed.registry import Registry

DOCS = Path(__file__).parents[2] / "docs"
ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/starter"
# In the first queue 3 shards fail, in the second one of these, in the third none.
SHARD = (
    "echo shard $AWS_BATCH_JOB_ARRAY_INDEX of $AWS_BATCH_JOB_ARRAY_SIZE, $MODE; "
    "case $AWS_BATCH_JQ_NAME-$AWS_BATCH_JOB_ARRAY_INDEX in jobs-3|jobs-7|jobs-12|second-7) exit 5;; esac"
)
CONFIG = f"""\
[train]
cmd = sh -c '{SHARD}'
environment = -e MODE=fast
batch_queue = jobs
batch_execution_role = {ROLE}
"""


@pytest.fixture
def app(tmp_path, capfd, isolated) -> App:
    app = App(main, tmp_path / "app", capfd)
    app.write({"docker/train/Dockerfile": "FROM local/busybox\n", "docker/dockerutils.cfg": CONFIG})
    return app


@pytest.fixture
def ecr(batch, app, monkeypatch) -> Iterator[Registry]:
    """Build the image; serve the registry, which this machine reaches through a proxy; remove the tags afterwards."""
    engine = batch.engine
    engine.docker("build", "-t", "app-train:alice", "-f", f"{app.root}/docker/train/Dockerfile", f"{app.root}")
    with (
        registry.serving(engine, ECR, user="AWS", password=PASSWORD) as there,
        registry.reachable(engine, there) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        path = Path(os.environ["HOME"], ".config/docker/certs.d", there.host, "ca.crt")
        path.parent.mkdir(parents=True)
        path.write_bytes(Path(there.directory, "certificate").read_bytes())
        yield there
    shutil.rmtree(there.directory)
    engine.docker("image", "rm", "--force", "app-train:alice", f"{ECR}/app-train:alice")


def _job(outcome: Outcome) -> str:
    """Return the id of the job that was submitted, which is all that stdout has."""
    assert outcome.status == 0, outcome.err
    assert re.fullmatch(r"[0-9a-f-]{36}\n", outcome.out), outcome.out
    assert outcome.err.splitlines()[-1].endswith(f"; to follow, run: ls-job {outcome.out.strip()}")
    return outcome.out.strip()


def test_an_array_of_20_shards_of_which_3_fail_and_their_retries(batch, ecr, app) -> None:
    batch.queue()
    for name in ("second", "third"):
        batch.queue(name, kind=EC2)
    first = app("train", "--shards", "20", "--retries", "1", "--timeout", "600")
    array = _job(first)
    digest = ecr.digest("app-train", "alice")
    definition = json.dumps(
        {
            "image": f"{ECR}/app-train@{digest}",
            "command": ["sh", "-c", SHARD],
            "environment": [{"name": "MODE", "value": "fast"}],
            "executionRoleArn": ROLE,
            "linuxParameters": {"initProcessEnabled": True},
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}],
            "networkConfiguration": {"assignPublicIp": "ENABLED"},
        }
    )
    *_, push, register, submit = first.echoed
    assert push == f"docker push {ECR}/app-train:alice"
    assert testbed_aws.parsed(register) == (
        "RegisterJobDefinition",
        {
            "jobDefinitionName": "app-train",
            "type": "container",
            "platformCapabilities": ["FARGATE"],
            "containerProperties": json.loads(definition),
        },
    )
    arn = f"arn:aws:batch:us-east-1:{ACCOUNT}:job-definition/app-train:1"
    assert submit == (
        f"aws batch submit-job --region us-east-1 --job-name alice-train --job-queue jobs --job-definition {arn} "
        """--array-properties '{"size":20}' --retry-strategy '{"attempts":1}' """
        """--timeout '{"attemptDurationSeconds":600}' --query jobId --output text"""
    )
    running = app("--retry", "train")  # the job of this image
    assert (running.status, running.out) == (1, "")
    assert re.fullmatch(
        rf"submit-image: {array} is (SUBMITTED|PENDING), \d+ of its 20 shards have ended; retry it when it has ended, "
        rf"or end it: stop-job {array}\n",
        running.err,
    )

    # A job whose definition and image are the same sends nothing but itself.
    again = app("train", "--", "sh", "-c", "exit 6")
    single = _job(again)
    assert [line.split()[:3] for line in again.echoed] == [["aws", "batch", "submit-job"]]
    assert batch.until(single)["container"]["exitCode"] == 6
    retried = app("--retry", single)
    assert batch.job(_job(retried))["container"]["command"] == ["sh", "-c", "exit 6"]

    assert batch.until(array)["arrayProperties"]["statusSummary"]["FAILED"] == 3
    assert batch.messages(f"{array}:4") == ["shard 4 of 20, fast"]
    printed = app("--retry", array, "--queue", "second", "--memory", "4", "--dry-run")
    second = app("--retry", array, "--queue", "second", "--memory", "4")
    assert (printed.status, printed.out) == (0, f"{second.echoed[0]}\n")
    job = _job(second)
    assert testbed_aws.parsed(second.echoed[0])[1]["containerOverrides"]["resourceRequirements"] == [
        {"type": "MEMORY", "value": "4096"}
    ]
    assert batch.until(job)["arrayProperties"]["statusSummary"]["FAILED"] == 1
    said = [batch.messages(f"{job}:{number}") for number in range(3)]
    assert said == [[f"shard {index} of 20, fast"] for index in (3, 7, 12)]

    third = app("--retry", job)  # in the same queue
    last = _job(third)
    assert batch.until(last)["status"] == "FAILED"
    assert "arrayProperties" not in batch.job(last)
    assert batch.messages(last) == ["shard 7 of 20, fast"]
    fourth = _job(app("--retry", last, "--queue", "third"))
    assert batch.until(fourth)["status"] == "SUCCEEDED"
    assert batch.messages(fourth) == ["shard 7 of 20, fast"]
    nothing = app("--retry", fourth)
    assert (nothing.status, nothing.out, nothing.err) == (
        0,
        "",
        f"submit-image: no shard of {fourth} failed; there is nothing to submit\n",
    )


def test_dry_run_changes_nothing_and_its_lines_do_the_same(batch, ecr, app, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOST", 'db"1.example')
    app.write({"docker/dockerutils.cfg": CONFIG.replace("-e MODE", "-e HOST -e 'NAME=$HOST, \"x\"' -e MODE")})
    batch.queue()
    printed = app("train", "--shards", "2", "--dry-run", "--", "echo", "$MODE ${definition}")
    assert (printed.status, printed.err) == (0, "")
    assert 'db"1.example' not in printed.out
    assert ecr.digest("app-train", "alice") is None
    assert batch.client.describe_job_definitions()["jobDefinitions"] == []
    assert batch.client.list_jobs(jobQueue="jobs", jobStatus="SUBMITTED")["jobSummaryList"] == []

    with aws_command.installed(tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        # The login is for the user's own configuration, and the tests' aws command has no such call.
        script = re.sub(r"^aws ecr get-login-password[^|]*", f"echo {PASSWORD} ", printed.out, flags=re.MULTILINE)
        monkeypatch.setenv("HOST", "db1.example")
        ran = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    job = batch.until(ran.stdout.splitlines()[-1])
    assert job["container"]["image"] == f"{ECR}/app-train@{ecr.digest('app-train', 'alice')}"
    assert job["container"]["command"] == ["echo", "$MODE ${definition}"]
    environment = {each["name"]: each["value"] for each in job["container"]["environment"]}
    assert environment["HOST"] == "db1.example"
    assert environment["NAME"] == 'db1.example, "x"'

    # What the lines registered and pushed is what the command would: now it only submits.
    printed = app("train", "--dry-run")
    assert [line.split()[:3] for line in printed.out.splitlines()] == [["aws", "batch", "submit-job"]]
    assert "job-definition/app-train:1 " in printed.out


def test_what_changes_registers_again_and_what_comes_back_does_not(batch, ecr, app) -> None:
    batch.queue()

    def registered(*argv: str) -> str:
        outcome = app("train", "--dry-run", *argv)
        assert outcome.status == 0, outcome.err
        made = [line for line in outcome.out.splitlines() if "register-job-definition" in line]
        if made:
            app("train", *argv)
            return "new"
        return re.findall(r"job-definition/app-train:(\d+)", outcome.out)[0]

    assert [registered(), registered()] == ["new", "1"]
    assert [registered("--memory", "4"), registered("--memory", "4"), registered()] == ["new", "2", "1"]
    batch.client.deregister_job_definition(jobDefinition="app-train:1")
    assert registered() == "new"


def test_publication_tag_names_the_registry(batch, ecr, app) -> None:
    batch.queue()
    app.write({"docker/dockerutils.cfg": f"{CONFIG}publication_tag = localhost:5000/x:1 {ECR}/team/x:{{tag}}\n"})
    app("train", "-q")
    digest = ecr.digest("team/x", "alice")
    [definition] = batch.client.describe_job_definitions()["jobDefinitions"]
    assert definition["containerProperties"]["image"] == f"{ECR}/team/x@{digest}"
    batch.engine.docker("image", "rm", f"{ECR}/team/x:alice")
    app.write({"docker/dockerutils.cfg": f"{CONFIG}publication_tag = localhost:5000/x:1\n"})
    assert app("train").err == (
        "submit-image: docker/dockerutils.cfg:6: [train] publication_tag: AWS Batch does not reach localhost:5000; add "
        "a name in ECR, or remove this key\n"
    )


def test_images_that_cannot_run_a_part_of_the_shards(batch, app) -> None:
    batch.queue()
    engine = batch.engine
    dockerfiles = {"entry": 'ENTRYPOINT ["busybox", "env"]\n', "plain": "RUN rm /bin/sh\n"}
    images, jobs = {}, {}
    for name, text in dockerfiles.items():
        app.write({"docker/train/Dockerfile": f"FROM local/busybox\n{text}"})
        engine.docker("build", "-t", f"local/{name}", "-f", f"{app.root}/docker/train/Dockerfile", f"{app.root}")
        [images[name]] = engine.api("GET", f"/images/local/{name}/json")["RepoDigests"]
        command = {"containerOverrides": {"command": ["busybox", "sleep", "2"]}}
        jobs[name] = batch.submit(name, "", image=images[name], shards=2, **command)
        batch.client.terminate_job(jobId=f"{jobs[name]}:1", reason="not needed")
    assert [batch.until(job)["arrayProperties"]["statusSummary"]["FAILED"] for job in jobs.values()] == [1, 1]
    refused = [app("--retry", job) for job in jobs.values()]
    engine.docker("image", "rm", "--force", "local/entry", "local/plain")
    gone = app("--retry", jobs["plain"])
    assert [(each.status, each.out, each.err) for each in (*refused, gone)] == [
        (
            1,
            "",
            f"submit-image: a retry of single shards runs sh, but {images['entry']} has the ENTRYPOINT busybox env; "
            "submit the image again, or make it the CMD\n",
        ),
        (
            1,
            "",
            f"submit-image: a retry of single shards runs sh, which {images['plain']} does not have; submit the "
            "image again, or add sh\n",
        ),
        (
            1,
            "",
            f"submit-image: this engine does not have {images['plain']}, so its ENTRYPOINT is unknown; run: docker pull "
            f"{images['plain']}\n",
        ),
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name an image, submit-image IMAGE, or a job, submit-image --retry JOB"),
        (["train", "--retry", "x"], "name an image, submit-image IMAGE, or a job, submit-image --retry JOB"),
        (["--retry", "x", "--shards", "2"], "--retry runs the same command in the failed shards; remove --shards and the command"),
        (["tarin"], "'tarin' is not an image of this project; its images: train"),
        (["train", "--shards", "0"], "--shards: '0' is not a number of shards; write a number from 1 to 10000"),
        (["train", "--shards", "10001"], "--shards: '10001' is not a number of shards; write a number from 1 to 10000"),
        (["train", "--shards", "two"], "--shards: 'two' is not a number of shards; write a number from 1 to 10000"),
        (["train", "--shards", "\u0662"], "--shards: '\u0662' is not a number of shards; write a number from 1 to 10000"),
        (["train", "--retries", "0"], "--retries: '0' is not a number of attempts; write a number from 1 to 10"),
        (["train", "--retries", "11"], "--retries: '11' is not a number of attempts; write a number from 1 to 10"),
        (["train", "--timeout", "59"], "--timeout: '59' is not a number of seconds; write a number above 59"),
        (["train", "--timeout", "1.5"], "--timeout: '1.5' is not a number of seconds; write a number above 59"),
        (["train", "--cpus", "x"], "--cpus: 'x' is not a number of vCPUs; write a number above 0"),
        (["train", "--memory", "4g"], "--memory: '4g' is not a number of GB; write a number above 0"),
        (["train", "--gpus", "all"], "--gpus: 'all' is not a number of GPUs; write a whole number"),
        (["--retry", "x", "--gpus", "all"], "--gpus: 'all' is not a number of GPUs; write a whole number"),
        (["train", "--", "a", ""], "AWS Batch takes no empty argument; remove it from the command"),
    ],
)  # fmt: skip
def test_bad_usage_calls_nothing(app, argv, message) -> None:
    outcome = app(*argv)
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"submit-image: {message}\n")


def test_no_queue(app) -> None:
    app.write({"docker/dockerutils.cfg": "[train]\ncmd = true\n"})
    assert app("train").err == (
        "submit-image: no job queue is named; use --queue, batch_queue = NAME or DOCKERUTILS_QUEUE; this lists "
        "them: aws batch describe-job-queues --query 'jobQueues[].jobQueueName'\n"
    )


_QUEUE = {"jobQueueName": "jobs", "jobQueueArn": "arn", "state": "ENABLED", "status": "VALID", "priority": 1}
_ORDER = {"computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "e"}]}
_FARGATE = {"computeEnvironmentName": "e", "computeResources": {"type": "FARGATE_SPOT", "maxvCpus": 1, "subnets": []}}


def _error(code: str) -> tuple[int, dict[str, str]]:
    return 400, {"__type": code, "message": "Because."}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([(200, {"jobQueues": []}), (200, {"jobQueues": [{**_QUEUE, "jobQueueName": "job"}]})], "us-east-1 has no job queue jobs; did you mean job?"),
        ([(200, {"jobQueues": []}), (200, {"jobQueues": [{**_QUEUE, "jobQueueName": "x"}]})], "us-east-1 has no job queue jobs; its queues: x"),
        ([(200, {"jobQueues": []})], "us-east-1 has no job queue jobs; it has none: make one on Fargate or EC2, for example in the console of AWS Batch"),
        ([(200, {"jobQueues": [{**_QUEUE, **_ORDER, "state": "DISABLED"}]})], "the job queue jobs is disabled; name another one, or run: aws batch update-job-queue --region us-east-1 --job-queue jobs --state ENABLED"),
        ([(200, {"jobQueues": [{**_QUEUE, **_ORDER, "status": "INVALID", "statusReason": "No role."}]})], "the job queue jobs is INVALID: No role; name another one, or wait for it"),
        ([(200, {"jobQueues": [{**_QUEUE, **_ORDER}]}), (200, {"computeEnvironments": [{"computeEnvironmentName": "e", "containerOrchestrationType": "EKS"}]})], "the job queue jobs has no compute environment on ECS; name a queue on Fargate or EC2"),
        ([_error("AccessDeniedException")], "AWS refused DescribeJobQueues: Because (AccessDeniedException); grant this IAM identity the permission"),
        ([_error("ExpiredTokenException")], "AWS refused DescribeJobQueues: Because (ExpiredTokenException); renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN"),
        ([(200, {"jobQueues": [{**_QUEUE, **_ORDER}]}), _error("ServerException")], "AWS refused DescribeComputeEnvironments: Because (ServerException); fix this and try again"),
    ],
)  # fmt: skip
def test_queues_that_take_no_job(app, monkeypatch, answers, message) -> None:
    with testbed_aws.answering(*answers) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        outcome = app("train")
    assert (outcome.status, outcome.out, outcome.err) == (1, "", f"submit-image: {message}\n")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("cmd = true", "docker/dockerutils.cfg: [train]: batch_execution_role is missing, which Fargate needs; name a role for ecs-tasks.amazonaws.com that has AmazonECSTaskExecutionRolePolicy"),
        (f"batch_execution_role = {ROLE}\nvolumes = -v /data:/data", "docker/dockerutils.cfg:3: [train] volumes: Fargate cannot mount host paths such as /data; use a queue on EC2, or EFS"),
        (f"batch_execution_role = {ROLE}\nbatch_memory = 1", "docker/dockerutils.cfg:3: [train] batch_memory: Fargate has no 1 vCPU with 1 GB; use 1 vCPU with 2 GB"),
        (f"batch_execution_role = {ROLE}\ngpu = --gpus 1", "docker/dockerutils.cfg:3: [train] gpu: Fargate has no GPUs; name a queue on EC2"),
    ],
)  # fmt: skip
def test_what_fargate_does_not_have(app, monkeypatch, config, message) -> None:
    app.write({"docker/dockerutils.cfg": f"[train]\n{config}\n"})
    with testbed_aws.answering(
        (200, {"jobQueues": [{**_QUEUE, **_ORDER}]}), (200, {"computeEnvironments": [_FARGATE]})
    ) as aws:
        for name, value in {**aws.environment(), "DOCKERUTILS_QUEUE": "jobs"}.items():
            monkeypatch.setenv(name, value)
        outcome = app("train")
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"submit-image: {message}\n")


def test_no_region(app) -> None:
    assert app("train").err == (
        "submit-image: no AWS region is configured; set AWS_REGION, or run: aws configure set region NAME\n"
    )


def test_the_template_of_the_docs_makes_queues(batch, monkeypatch) -> None:
    [template] = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / "batch.md").read_text(), re.MULTILINE | re.DOTALL)
    # moto does not use the service-linked role, which AWS does.
    role = batch.role("service")
    template = template.replace("      Type: MANAGED\n", f"      Type: MANAGED\n      ServiceRole: {role}\n")
    clients = {name: boto3.client(name, endpoint_url=batch.aws.url) for name in ("ec2", "cloudformation")}
    [vpc] = clients["ec2"].describe_vpcs()["Vpcs"]
    subnets = ",".join(each["SubnetId"] for each in clients["ec2"].describe_subnets()["Subnets"])
    values = [{"ParameterKey": "Vpc", "ParameterValue": vpc["VpcId"]}]
    values += [{"ParameterKey": "Subnets", "ParameterValue": subnets}]
    clients["cloudformation"].create_stack(
        StackName="jobs", TemplateBody=template, Parameters=values, Capabilities=["CAPABILITY_IAM"]
    )
    [stack] = clients["cloudformation"].describe_stacks(StackName="jobs")["Stacks"]
    assert stack["Outputs"][0]["OutputValue"].startswith(f"arn:aws:iam::{ACCOUNT}:role/jobs-StartRole")
    session = Session(os.environ, dry_run=False)
    fargate, gpu = (queues.find(session, name) for name in ("fargate", "gpu"))
    assert (fargate.is_fargate, gpu.is_fargate) == (True, False)
    assert queues.is_public(session, fargate)
    machines = {
        each["computeResources"]["type"]: each
        for each in batch.client.describe_compute_environments()["computeEnvironments"]
    }
    assert set(machines) == {"FARGATE", "SPOT"}
    assert machines["SPOT"]["computeResources"]["instanceTypes"] == ["g4dn", "g5"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDeniedException", "grant this IAM identity the permission"),
        ("ExpiredTokenException", "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN"),
        ("ClientException", "fix this and try again"),
    ],
)
def test_aws_refuses_the_job(app, monkeypatch, code, remedy) -> None:
    """The line that was refused is printed before."""
    identity = "11111111-2222-3333-4444-555555555555"
    job = {
        "jobId": identity,
        "jobName": "n",
        "jobQueue": "a/q",
        "jobDefinition": "d:1",
        "status": "FAILED",
        "container": {},
    }
    with testbed_aws.answering(*2 * [(200, {"jobs": [job]})], _error(code)) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        outcome = app("--retry", identity, "--retries", "2", directory="..")
    line = (
        "aws batch submit-job --region us-east-1 --job-name n --job-queue q --job-definition d:1 "
        """--retry-strategy '{"attempts":2}' --query jobId --output text"""
    )
    assert (outcome.status, outcome.out, outcome.echoed) == (1, "", [line])
    assert outcome.err.splitlines()[-1] == f"submit-image: AWS refused SubmitJob: Because ({code}); {remedy}"


class _Full(io.StringIO):
    """A file on a disk that is full."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_id_of_a_job_is_not_lost_on_a_full_disk(monkeypatch, capsys) -> None:
    monkeypatch.setattr(submission, "submit", lambda *_: "0f47a1b0")
    monkeypatch.setattr(sys, "stdout", _Full())
    with pytest.raises(OSError, match="No space left"):
        submit_image._submit(Session({}, dry_run=False), {"jobQueue": "jobs"}, 1)
    assert capsys.readouterr().err == "submit-image: submitted one job to jobs; to follow, run: ls-job 0f47a1b0\n"
