"""Run the failed shards of a job again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dockerutils.aws.session import Session
from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import engine
from dockerutils.jobs import shards as numbering
from dockerutils.jobs import states, submission

_LONGEST = 8000  # characters of a command: ECS, which starts the containers, takes 8192 for what a job overrides
# Entrypoints that run their arguments as a command.
_PASSING = ("tini", "dumb-init", "catatonit", "env", "nvidia_entrypoint.sh")


def parameters(session: Session, identity: str) -> tuple[dict[str, Any], int]:
    """Return the parameters of SubmitJob that run the failed shards of a job again, and the number of these shards.

    0 shards: nothing failed. DockerutilsError if the job is unknown or has not ended, or its image cannot run SCRIPT.
    """
    job = _ended(session, identity)
    if job["status"] != states.FAILED:
        return {}, 0
    array = (job.get("arrayProperties") or {}).get("size")
    failed = [each.shard or 0 for each in states.children(session, job["jobId"], [states.FAILED])] if array else [0]
    shards = numbering.of_job(job)
    again = {
        "jobName": job["jobName"],
        "jobQueue": job["jobQueue"].rpartition("/")[2],
        "jobDefinition": job["jobDefinition"],
        **submission.Limits(len(failed)).parameters(),
        **{name: _given(job[name]) for name in ("retryStrategy", "timeout", "parameters") if job.get(name)},
    }
    command = [*(job["container"].get("command") or ())]
    if shards and len(failed) < (array or 1):
        is_first = command == shards.command
        shards = shards._replace(indices=[shards.indices[each] for each in failed])
        if is_first:
            shards = shards._replace(command=_command_for_sh(job["container"]["image"], shards.command))
        command = shards.wrapped
        if sum(map(len, command)) > _LONGEST:
            raise DockerutilsError(
                f"the list of the {len(failed)} failed shards of {identity} is too long for one job; "
                "submit the image again"
            )
    again |= submission.overrides(command, job["container"].get("resourceRequirements") or ())
    return again, len(failed)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without the empty lists that AWS adds."""
    return {name: value for name, value in values.items() if value != []}


def _ended(session: Session, identity: str) -> dict[str, Any]:
    job = states.record(session, identity)
    if ":" in job["jobId"]:
        parent = job["jobId"].partition(":")[0]
        raise DockerutilsError(f"{identity} is one shard; name its job: submit-image --retry {parent}")
    if job["status"] not in states.ENDED:
        counts = (job.get("arrayProperties") or {}).get("statusSummary") or {}
        ended = sum(counts.get(each, 0) for each in states.ENDED)
        so_far = f", {ended} of its {job['arrayProperties']['size']} shards have ended" if counts else ""
        raise DockerutilsError(
            f"{identity} is {job['status']}{so_far}; retry it when it has ended, or end it: stop-job {identity}"
        )
    return job


def _command_for_sh(image: str, command: Sequence[str]) -> list[str]:
    """Return the command of an image's container; DockerutilsError if the image cannot run SCRIPT."""
    record = engine.inspect_one(image)
    if record is None:
        raise DockerutilsError(
            f"this engine does not have {image}, so its ENTRYPOINT is unknown; run: docker pull {image}"
        )
    config = record.get("Config") or {}
    entry = config.get("Entrypoint") or []
    advice = "submit the image again"
    if entry and entry[0].rpartition("/")[2] not in _PASSING:
        raise DockerutilsError(
            f"a retry of single shards runs sh, but {image} has the ENTRYPOINT {' '.join(entry)}; {advice}, or make it "
            "the CMD"
        )
    probe = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", "--", image, "-c", ":"]
    if process.capture(probe).status:
        raise DockerutilsError(f"a retry of single shards runs sh, which {image} does not have; {advice}, or add sh")
    found = [*(command or config.get("Cmd") or ())]
    if not found:
        raise DockerutilsError(f"{image} has no command to run; {advice} with one")
    return found
