"""What AWS Batch gets: limits, names, and definitions that are the same as known ones."""

from __future__ import annotations

from typing import Any

import pytest

from dockerutils.core.errors import UserError
from dockerutils.jobs import submission
from dockerutils.jobs.queues import Queue
from dockerutils.jobs.resources import Amount, Resources
from dockerutils.jobs.section import Section
from dockerutils.jobs.submission import Limits, Machines
from tests.testbed.aws import answering

_PROPERTIES: dict[str, Any] = {
    "image": "i@sha256:0",
    "command": ["b", "a"],
    "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}],
    "networkConfiguration": {"assignPublicIp": "DISABLED"},
    "linuxParameters": {"initProcessEnabled": True},
}
_WANTED: dict[str, Any] = {
    "jobDefinitionName": "app-train",
    "type": "container",
    "platformCapabilities": ["FARGATE"],
    "containerProperties": _PROPERTIES,
}
# As AWS returns it: with its defaults, in another order.
_KNOWN: dict[str, Any] = {
    **_WANTED,
    "jobDefinitionArn": "arn:7",
    "revision": 7,
    "status": "ACTIVE",
    "parameters": {},
    "tags": {},
    "containerOrchestrationType": "ECS",
    "propagateTags": False,
    "timeout": None,
    "retryStrategy": {"attempts": 1, "evaluateOnExit": []},
    "containerProperties": {
        **_PROPERTIES,
        "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resourceRequirements": [{"value": "2048", "type": "MEMORY"}, {"value": "1", "type": "VCPU"}],
        "volumes": [],
        "mountPoints": [],
        "ulimits": [],
        "secrets": [],
        "privileged": False,
        "fargatePlatformConfiguration": {"platformVersion": "LATEST"},
        "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"},
        "linuxParameters": {"initProcessEnabled": True, "devices": [], "tmpfs": []},
    },
}


def _changed(**properties: object) -> dict[str, object]:
    return {**_KNOWN, "containerProperties": {**_KNOWN["containerProperties"], **properties}}


@pytest.mark.parametrize(
    ("known", "is_same"),
    [
        (_KNOWN, True),
        (_changed(command=["a", "b"]), False),
        (_changed(image="i@sha256:1"), False),
        (_changed(privileged=True), False),
        (_changed(networkConfiguration={"assignPublicIp": "ENABLED"}), False),
        ({**_KNOWN, "platformCapabilities": ["EC2"]}, False),
        ({**_KNOWN, "retryStrategy": {"attempts": 2}}, False),
        ({**_KNOWN, "timeout": {"attemptDurationSeconds": 60}}, False),
    ],
)
def test_a_definition_that_is_the_same_is_not_registered_again(connect_to, capfd, known, is_same) -> None:
    older = {**known, "jobDefinitionArn": "arn:6", "revision": 6}
    registered = {"jobDefinitionArn": "arn:8", "jobDefinitionName": "app-train", "revision": 8}
    with answering((200, {"jobDefinitions": [older, known]}), (200, registered)) as aws:
        session = connect_to(aws)
        assert submission.register(session, session, _WANTED) == ("arn:7" if is_same else "arn:8")
    assert ("register-job-definition" in capfd.readouterr().err) is not is_same


def test_limits_as_parameters() -> None:
    assert Limits().parameters() == {}
    assert Limits(1, 10, 60).parameters() == {
        "retryStrategy": {"attempts": 10},
        "timeout": {"attemptDurationSeconds": 60},
    }
    assert Limits(10_000).parameters() == {"arrayProperties": {"size": 10000}}


@pytest.mark.parametrize(
    ("machines", "capability", "network", "platform"),
    [
        (Machines(False, True, "arm64"), "EC2", None, None),
        (Machines(True, True, "amd64"), "FARGATE", "ENABLED", None),
        (Machines(True, False, "arm64"), "FARGATE", "DISABLED", "ARM64"),
    ],
)
def test_a_definition_says_what_machines_it_needs(machines, capability, network, platform) -> None:
    def amount(number: float) -> Amount:
        return Amount(number, UserError)

    section = Section({"command": ["x"]}, Resources(amount(0.5), amount(1024), amount(0)), [])
    made = submission.definition("d", section, machines, "i")
    properties = made["containerProperties"]
    assert made["platformCapabilities"] == [capability]
    assert properties.get("networkConfiguration") == (network and {"assignPublicIp": network})
    assert properties.get("runtimePlatform") == (
        platform and {"operatingSystemFamily": "LINUX", "cpuArchitecture": platform}
    )
    assert properties["resourceRequirements"] == [{"type": "VCPU", "value": "0.5"}, {"type": "MEMORY", "value": "1024"}]


@pytest.mark.parametrize("is_fargate", [True, False])
def test_secrets_need_a_role_that_reads_them(is_fargate) -> None:
    amounts = Resources(Amount(1, UserError), Amount(2048, UserError), Amount(0, UserError))
    section = Section({"secrets": [{"name": "A", "valueFrom": "arn"}]}, amounts, [])
    with pytest.raises(UserError) as caught:
        submission.check(section, Queue("q", is_fargate=is_fargate), "docker/dockerutils.cfg: [x]")
    assert str(caught.value) == (
        f"docker/dockerutils.cfg: [x]: batch_execution_role is missing, which {'Fargate needs' if is_fargate else 'secrets need'}; "
        "name a role for ecs-tasks.amazonaws.com that has AmazonECSTaskExecutionRolePolicy and secretsmanager:GetSecretValue"
    )


def test_names_have_only_what_aws_takes() -> None:
    assert submission.name("ann.b", "my app") == "ann-b-my-app"
    assert submission.name("_x", "y" * 200) == f"x-{'y' * 126}"
