"""Job definitions and jobs: their parameters, and the calls to AWS Batch.

The calls: https://docs.aws.amazon.com/batch/latest/APIReference/. Their limits:
https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dockerutils.aws.session import Call, Session
from dockerutils.core.errors import UserError
from dockerutils.core.shell_words import Word
from dockerutils.jobs.resources import KINDS, Amount, text

if TYPE_CHECKING:  # ls-job and stop-job start without the readers of sections and Dockerfiles
    from dockerutils.jobs.queues import Queue
    from dockerutils.jobs.section import Section

MOST_ATTEMPTS, LEAST_SECONDS = 10, 60
_LONGEST_NAME = 128
_START = "AmazonECSTaskExecutionRolePolicy"  # Amazon's policy for what starts jobs

# The defaults that AWS fills in.
_DEFAULTS = {
    ("platformVersion", "LATEST"),
    ("assignPublicIp", "DISABLED"),
    ("operatingSystemFamily", "LINUX"),
    ("cpuArchitecture", "X86_64"),
    ("rootDirectory", "/"),
    ("attempts", 1),
    ("platformCapabilities", ("EC2",)),
}
_EMPTY = (None, (), "", 0, False)
_ORDERED = {"command"}  # lists whose order counts


class Limits(NamedTuple):
    """The number of shards, attempts of each, and seconds of each attempt; None is the default of AWS."""

    shards: int | None = None
    attempts: int | None = None
    seconds: int | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of SubmitJob. One shard is a plain job."""
        array = {"arrayProperties": {"size": self.shards}} if self.shards and self.shards > 1 else {}
        retries = {"retryStrategy": {"attempts": self.attempts}} if self.attempts else {}
        return {**array, **retries, **({"timeout": {"attemptDurationSeconds": self.seconds}} if self.seconds else {})}


class Machines(NamedTuple):
    """The machines of a job: on Fargate or EC2, with public addresses or not; `architecture` is that of the image."""

    is_fargate: bool
    is_public: bool
    architecture: str


def name(*parts: str) -> str:
    """Return parts as the name of a job or definition: letters, digits, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", "-".join(parts)).lstrip("-_")[:_LONGEST_NAME]


def definition(title: str, section: Section, machines: Machines, image: str) -> dict[str, Any]:
    """Return the parameters of RegisterJobDefinition. `title` is the name of the definition."""
    properties = {"image": image, **section.properties, "resourceRequirements": section.resources.requirements()}
    if machines.is_fargate:
        properties["networkConfiguration"] = {"assignPublicIp": "ENABLED" if machines.is_public else "DISABLED"}
        if machines.architecture == "arm64":
            properties["runtimePlatform"] = {"operatingSystemFamily": "LINUX", "cpuArchitecture": "ARM64"}
    return {
        "jobDefinitionName": title,
        "type": "container",
        "platformCapabilities": ["FARGATE" if machines.is_fargate else "EC2"],
        "containerProperties": properties,
    }


def check(section: Section, queue: Queue, place: str) -> None:
    """Raise UserError if the machines of a queue do not have what a job of the section needs.

    `place` names the section in a message about a key that is missing.
    """
    section.resources.check(is_fargate=queue.is_fargate)
    if queue.is_fargate and section.not_on_fargate:
        raise UserError(section.not_on_fargate[0])
    has_secrets = "secrets" in section.properties
    needing = "Fargate needs" if queue.is_fargate else "secrets need" if has_secrets else ""
    if needing and "executionRoleArn" not in section.properties:
        permissions = _START + " and secretsmanager:GetSecretValue" * has_secrets
        raise UserError(
            f"{place}: batch_execution_role is missing, which {needing}; name a role for ecs-tasks.amazonaws.com that "
            f"has {permissions}"
        )


def register(reads: Session, writes: Session, wanted: Mapping[str, Any]) -> str:
    """Return the ARN of an active definition that is the same as `wanted`; register a new one if there is none.

    In a dry run, the ARN is a variable that the printed line sets.
    """
    parameters = {"jobDefinitionName": wanted["jobDefinitionName"], "status": "ACTIVE"}
    known = reads.call(Call("batch", "describe-job-definitions", parameters, query="jobDefinitions")) or []
    for each in sorted(known, key=lambda each: -int(each["revision"])):
        if _compared(each) == _compared(wanted):
            return str(each["jobDefinitionArn"])
    new = Call("batch", "register-job-definition", wanted, query="jobDefinitionArn")
    if not writes.dry_run:
        return str(writes.call(new))
    print(f"definition=$({writes.line(new)})", flush=True)
    return Word("${definition}", "${definition}")


def submit(session: Session, parameters: Mapping[str, Any]) -> str:
    """Submit a job and return its id; a dry run prints the line, and returns an empty string."""
    return str(session.call(Call("batch", "submit-job", parameters, query="jobId")))


def overrides(command: Sequence[str], requirements: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """Return the parameter of SubmitJob that replaces parts of the definition, if there are any."""
    if "" in command:
        raise UserError("AWS Batch takes no empty argument; remove it from the command")
    changed = {"command": [*command], "resourceRequirements": [*requirements]}
    changed = {name: value for name, value in changed.items() if value}
    return {"containerOverrides": changed} if changed else {}


def change(job: dict[str, Any], amounts: Mapping[str, Amount]) -> None:
    """Replace amounts of resources in the parameters of SubmitJob."""
    if not amounts:
        return
    overrides = job.setdefault("containerOverrides", {})
    needs = {each["type"]: each["value"] for each in overrides.get("resourceRequirements", ())}
    needs |= {KINDS[name]: text(amount.number) for name, amount in amounts.items()}
    overrides["resourceRequirements"] = [{"type": kind, "value": value} for kind, value in needs.items()]


def _compared(definition: Mapping[str, Any]) -> Any:
    """Return the parts of a definition to compare with others."""
    names = ("type", "platformCapabilities", "containerProperties", "retryStrategy", "timeout", "parameters")
    return _normal({name: definition.get(name) for name in names})


def _normal(value: Any, key: str = "") -> Any:
    """Return a value to compare: without defaults, and with lists sorted if their order does not count."""
    if isinstance(value, Mapping):
        pairs = ((name, _normal(each, name)) for name, each in value.items())
        return tuple(sorted(pair for pair in pairs if pair[1] not in _EMPTY and pair not in _DEFAULTS))
    if isinstance(value, (list, tuple)):
        parts = [_normal(each) for each in value]
        return tuple(parts if key in _ORDERED else sorted(parts))
    return value
