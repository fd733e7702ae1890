"""AWS Batch for the tests: moto's, in a process of its own, which runs each job in a container on a test engine.

`moto_batch.py` says what moto does not do by itself. Measured on two busy cores: the server starts in 5 s, a
job that does nothing ends 0.8 s after it was submitted, an array of 20 such jobs after 7 to 10 s.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3  # type: ignore[import-untyped]

from tests.support import wait_for
from tests.testbed import aws as testbed_aws
from tests.testbed.aws import ACCOUNT, Aws
from tests.testbed.engine import Engine
from tests.testbed.images import BUSYBOX

PLACES = 4  # jobs that run at the same time
FARGATE, EC2 = "FARGATE", "EC2"
GROUP = "/aws/batch/job"  # of the logs, unless the definition names another one
ENDED = ("SUCCEEDED", "FAILED")
_SERVICES = ("batch", "ecs-tasks", "ec2")


@dataclass(frozen=True)
class Batch:
    """An AWS with Batch, ECR, IAM and CloudWatch Logs, and the engine of its jobs."""

    aws: Aws
    engine: Engine

    @cached_property
    def client(self) -> Any:
        """A client of Batch."""
        return self._client("batch")

    @cached_property
    def logs(self) -> Any:
        """A client of CloudWatch Logs."""
        return self._client("logs")

    def role(self, name: str) -> str:
        """Return the ARN of a role that Batch, ECS and EC2 can assume, new or known."""
        iam = self._client("iam")
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            trust = ",".join(
                f'{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{{"Service":"{each}.amazonaws.com"}}}}'
                for each in _SERVICES
            )
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=f'{{"Version":"2012-10-17","Statement":[{trust}]}}')
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return f"arn:aws:iam::{ACCOUNT}:role/{name}"

    def queue(self, name: str = "jobs", kind: str = FARGATE) -> str:
        """Make a queue and its compute environment, of FARGATE or EC2; return the queue's ARN."""
        ec2 = self._client("ec2")
        resources = {
            "type": kind,
            "maxvCpus": 256,
            "subnets": [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]][:2],
            "securityGroupIds": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
        }
        if kind == EC2:
            profile = self.role("instances").replace(":role/", ":instance-profile/")
            resources |= {"minvCpus": 0, "desiredvCpus": 0, "instanceTypes": ["optimal"], "instanceRole": profile}
        made = self.client.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", computeResources=resources, serviceRole=self.role("service")
        )
        order = [{"order": 1, "computeEnvironment": made["computeEnvironmentArn"]}]
        made = self.client.create_job_queue(
            jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
        )
        return str(made["jobQueueArn"])

    def submit(
        self, name: str, script: str, queue: str = "jobs", shards: int = 0, image: str = BUSYBOX, **more: Any
    ) -> str:
        """Submit a job that runs a shell script, an array with `shards`; return its id. `more` are keys of SubmitJob."""
        needs = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}]
        made = self.client.register_job_definition(
            jobDefinitionName=name,
            type="container",
            containerProperties={"image": image, "command": ["sh", "-c", script], "resourceRequirements": needs},
        )
        array = {"arrayProperties": {"size": shards}} if shards else {}
        options = {"jobDefinition": made["jobDefinitionArn"], **array, **more}
        return str(self.client.submit_job(jobName=name, jobQueue=queue, **options)["jobId"])

    def job(self, job: str) -> dict[str, Any]:
        """Return what DescribeJobs has of a job."""
        [found] = self.client.describe_jobs(jobs=[job])["jobs"]
        return dict(found)

    def until(self, job: str, *states: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a job is in one of the states, by default until it has ended; return what DescribeJobs has."""
        wanted = states or ENDED
        return wait_for(lambda: found if (found := self.job(job))["status"] in wanted else None, seconds) or {}

    def messages(self, job: str) -> Sequence[str]:
        """Return the log of a job, line by line."""
        stream = self.job(job)["container"]["logStreamName"]
        events = self.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)["events"]
        return [each["message"] for each in events]

    def _client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self.aws.url, **keys)


@contextlib.contextmanager
def serving(engine: Engine) -> Iterator[Batch]:
    """Start such an AWS, whose jobs run on an engine, and end it."""
    variables = {**engine.client(f"{engine.directory}/client"), "PATH": os.environ["PATH"], "PLACES": str(PLACES)}
    with testbed_aws.serving("tests.testbed.moto_batch", **variables) as aws:
        yield Batch(aws, engine)
