"""moto's server with a Batch that runs its jobs as AWS does; `batch.py` starts it. Its arguments are those of moto's.

moto 5 alone starts a container for each job, through the docker package and so on the engine of DOCKER_HOST. These parts
are missing or different there, and are added here:

- AWS_BATCH_JOB_ARRAY_INDEX and _SIZE, AWS_BATCH_JOB_ATTEMPT and AWS_BATCH_JQ_NAME; moto mixes up the environments of an array's
  children where the job overrides the environment;
- exit codes and reasons, in the job and in its attempts; `arrayProperties` of children; a parent's state follows its
  children, and to terminate a parent terminates them;
- retries (`retryStrategy`, in the definition and in SubmitJob), a reason after a timeout;
- logs: moto writes them when the container has ended, here they arrive while it runs; `awslogs-group` is respected;
- ListJobs without a status lists running jobs, never the children of arrays, and has pages; DescribeJobs takes 100 ids.

A few jobs run at the same time, the others are RUNNABLE until then. An image is the engine's own if it has it,
`NAME@sha256:…` too; otherwise the engine pulls it, with the logins in DOCKER_CONFIG. What moto does not look at: cpus,
memory and GPUs, roles, secrets, EFS, the network. A timeout can be shorter than the minute that AWS demands.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

import moto.server
from moto.batch import models, responses
from moto.batch.exceptions import ClientException
from moto.batch.models import Job as MotoJob
from moto.batch.models import datetime2int_milliseconds as milliseconds

PAGE = 7  # jobs on a page of ListJobs
MOST = 100  # ids that DescribeJobs takes
ENDED = ("SUCCEEDED", "FAILED")
_STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", *ENDED)
_list_jobs = models.BatchBackend.list_jobs  # moto's
docker: Any = importlib.import_module("docker")  # an import statement means this project's directory to mypy
_places = threading.Semaphore(int(os.environ["PLACES"]))  # of jobs that run at the same time


class Job(MotoJob):
    """A job that runs its container until it ends, is terminated, or its time is over; again while it has attempts."""

    __module__ = MotoJob.__module__  # by which moto finds what to forget at a reset

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        strategy = getattr(self.backend, "retry_strategy", None) or self.job_definition.retry_strategy or {}
        self._most_attempts = int(strategy.get("attempts") or 1)
        self._reason: str | None = None
        self._late = False

    @property
    def status(self) -> str | None:
        """The state; that of an array follows its children."""
        if not self._child_jobs:
            return self._status
        states = {each.status for each in self._child_jobs}
        if states <= set(ENDED):
            return "FAILED" if "FAILED" in states else "SUCCEEDED"
        return "SUBMITTED" if states == {"SUBMITTED"} else "PENDING"

    @status.setter
    def status(self, value: str) -> None:
        self._status = str(getattr(value, "value", value))

    @property
    def index(self) -> int | None:
        """The number of a child in its array."""
        found = self.array_properties.get("index")
        return None if found is None else int(found)

    def run(self) -> None:
        """Run the job to its end."""
        if self.depends_on:
            self.status = "PENDING"
            if not self._wait_for_dependencies():
                return
        self.status = "RUNNABLE"
        while not _places.acquire(timeout=0.1):
            if self.stop:
                break
        else:
            try:
                self._run_attempts()
            finally:
                _places.release()
        self._mark_stopped(success=self.exit_code == 0 and not self.stop)

    def _run_attempts(self) -> None:
        for number in range(1, self._most_attempts + 1):
            if self.stop:
                return
            self.exit_code, self._reason = None, None
            self._run_attempt(number)
            if self.exit_code == 0 or self._late:
                return
            if number < self._most_attempts:
                self._stop_attempt()
                self.status = "RUNNABLE"

    def _run_attempt(self, number: int) -> None:
        self.status = "STARTING"
        environment = {each["name"]: each["value"] for each in self._get_container_property("environment", [])}
        environment["AWS_BATCH_JOB_ATTEMPT"] = str(number)
        volumes = {each["name"]: each.get("host") for each in self._get_container_property("volumes", [])}
        mounts = [
            docker.types.Mount(
                each["containerPath"],
                volumes[each["sourceVolume"]]["sourcePath"],
                type="bind",
                read_only=each.get("readOnly", False),
            )
            for each in self._get_container_property("mountPoints", [])
        ]
        container, image = None, self._get_container_property("image", "")
        self.job_started_at = _now()
        failure = "CannotPullContainerError"
        try:
            self._pull(image)
            failure = "CannotStartContainerError"
            container = self.docker_client.containers.run(
                image,
                self._add_parameters_to_command(self._get_container_property("command", [])),
                environment=environment,
                mounts=mounts,
                name=f"{self.job_name}-{self.job_id.replace(':', '-')}-{number}",
                privileged=self._get_container_property("privileged", False),
                detach=True,
            )
            self.status = "RUNNING"
            self._start_attempt()
            self._follow(container)
        except docker.errors.APIError as error:
            self._reason = f"{failure}: {error.explanation}"
        finally:
            if container:
                container.remove(force=True)
        if not container:
            self._start_attempt()

    def _pull(self, image: str) -> None:
        try:
            self.docker_client.images.get(image)
        except docker.errors.ImageNotFound:
            self.docker_client.images.pull(image)

    def _follow(self, container: Any) -> None:
        """Write the logs of a container while it runs, and wait until it ends; end it if the job is to stop."""
        reader = threading.Thread(target=self._write_logs, args=(container,), daemon=True)
        reader.start()
        while reader.is_alive():
            reader.join(0.05)
            seconds = self._get_attempt_duration()
            self._late = bool(seconds) and (_now() - self.job_started_at).total_seconds() > float(seconds or 0)
            if self.stop or self._late:
                with suppress(docker.errors.APIError):  # it has ended
                    container.kill()
                reader.join()
        self.exit_code = container.wait()["StatusCode"]
        if self._late:
            self.job_stopped_reason = "Job attempt duration exceeded timeout"
        elif not self.stop:
            self._reason = None
            self.job_stopped_reason = "Essential container in task exited"

    def _write_logs(self, container: Any) -> None:
        options = (self._get_container_property("logConfiguration", None) or {}).get("options", {})
        group = options.get("awslogs-group", self._log_group)
        stream = f"{self.job_definition.name}/default/{container.id[:32]}"
        self._log_backend.ensure_log_group(group)
        self._log_backend.ensure_log_stream(group, stream)
        self.log_stream_name = stream
        rest = b""
        for part in container.logs(stream=True, follow=True):
            *lines, rest = (rest + part).split(b"\n")
            self._put(group, stream, lines)
        self._put(group, stream, [rest] if rest else [])

    def _put(self, group: str, stream: str, lines: list[bytes]) -> None:
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line.decode(errors="replace").rstrip("\r")} for line in lines]
        if events:
            self._log_backend.put_log_events(group, stream, events)

    def _mark_stopped(self, success: bool = True) -> None:
        if not success and self._reason and not self.job_stopped_reason:
            self.job_stopped_reason = "Task failed to start"
        super()._mark_stopped(success)

    def _stop_attempt(self) -> None:
        if not self.job_stopped:
            self.job_stopped_at = _now()
        super()._stop_attempt()
        if self.latest_attempt:
            self.latest_attempt["statusReason"] = self.job_stopped_reason or ""
            self.latest_attempt["container"] |= self._ending()

    def _ending(self) -> dict[str, Any]:
        ending = {"exitCode": self.exit_code, "reason": self._reason}
        return {name: value for name, value in ending.items() if value is not None}

    def terminate(self, reason: str) -> None:
        """End the job, and the children of an array; one that has ended stays as it is."""
        for each in self._child_jobs or [self]:
            if each.status not in ENDED:
                MotoJob.terminate(each, reason)
        if self._child_jobs:
            self.job_stopped_reason = reason

    def _get_container_property(self, p: str, default: Any) -> Any:
        if p != "environment":
            return super()._get_container_property(p, default)
        defined = (self.job_definition.container_properties or {}).get(p, [])
        values = {each["name"]: each["value"] for each in [*defined, *self.container_overrides.get(p, [])]}
        values |= {"AWS_BATCH_JOB_ID": self.job_id, "AWS_BATCH_JQ_NAME": self.job_queue.name}
        if self.index is not None:
            parent = self.all_jobs[self.job_id.partition(":")[0]]
            values["AWS_BATCH_JOB_ARRAY_INDEX"] = str(self.index)
            values["AWS_BATCH_JOB_ARRAY_SIZE"] = str(parent.array_properties["size"])
        return [{"name": name, "value": value} for name, value in values.items()]

    def describe_short(self) -> dict[str, Any]:
        """Return the job as ListJobs does."""
        result = {
            "jobId": self.job_id,
            "jobArn": self.arn,
            "jobName": self.job_name,
            "createdAt": milliseconds(self.job_created_at),
            "status": self.status,
            "jobDefinition": self.job_definition.arn,
        }
        if self.job_stopped_reason:
            result["statusReason"] = self.job_stopped_reason
        if self._child_jobs:
            result["arrayProperties"] = {"size": len(self._child_jobs)}
            started = [each.job_started_at for each in self._child_jobs if each.attempts]
            stopped = [each.job_stopped_at for each in self._child_jobs if each.job_stopped]
            if started:
                result["startedAt"] = milliseconds(min(started))
            if self.status in ENDED:
                result["stoppedAt"] = milliseconds(max(stopped))
            return result
        if self.index is not None:
            result["arrayProperties"] = {"index": self.index}
        if self.attempts and self.status in {"RUNNING", *ENDED}:
            result["startedAt"] = milliseconds(self.job_started_at)
        if self.job_stopped:
            result["stoppedAt"] = milliseconds(self.job_stopped_at)
        result["container"] = self._ending()
        return result

    def describe(self) -> dict[str, Any]:
        """Return the job as DescribeJobs does."""
        result = {**super().describe(), **self.describe_short()}
        details = self._container_details()
        for name in ("image", "jobRoleArn", "executionRoleArn", "logConfiguration", "mountPoints", "secrets"):
            if value := self._get_container_property(name, None):
                details[name] = value
        result["container"] = details | self._ending()
        if self._child_jobs:
            states = [each.status for each in self._child_jobs]
            summary = {state: states.count(state) for state in _STATES}
            result["arrayProperties"] = {"size": len(states), "statusSummary": summary}
        return result


def list_jobs(
    self: models.BatchBackend,
    job_queue_name: str | None,
    array_job_id: str | None,
    job_status: str | None = None,
    filters: list[dict[str, Any]] | None = None,
) -> list[models.Job]:
    """Return the jobs of a queue, without the children of arrays, or the children of an array."""
    found = _list_jobs(self, job_queue_name, array_job_id, None, filters)
    if not array_job_id:
        found = [each for each in found if ":" not in each.job_id]
    return found if filters else [each for each in found if each.status == (job_status or "RUNNING")]


class BatchResponse(responses.BatchResponse):
    """The answers that are different from moto's."""

    def listjobs(self) -> str:
        """Answer with one page."""
        whole = json.loads(super().listjobs())["jobSummaryList"]
        start = int(self._get_param("nextToken") or 0)
        end = start + min(int(self._get_param("maxResults") or PAGE), PAGE)
        more = {"nextToken": str(end)} if end < len(whole) else {}
        return json.dumps({"jobSummaryList": whole[start:end], **more})

    def describejobs(self) -> str:
        """Answer with these jobs only, even if none is known."""
        ids = self._get_param("jobs") or []
        if not 0 < len(ids) <= MOST:
            raise ClientException(f"jobs must have 1 to {MOST} ids")
        return super().describejobs()

    def submitjob(self) -> str:
        """Submit with the number of attempts of this job."""
        size = (self._get_param("arrayProperties") or {}).get("size")
        if size is not None and not 2 <= size <= 10_000:
            raise ClientException("Array size must be between 2 and 10,000")
        self.batch_backend.retry_strategy = self._get_param("retryStrategy")  # type: ignore[attr-defined]
        return super().submitjob()


def _now() -> datetime:
    return datetime.now()  # noqa: DTZ005 - as moto's times


if __name__ == "__main__":
    models.Job = Job  # type: ignore[misc]
    models.BatchBackend.list_jobs = list_jobs  # type: ignore[method-assign]
    responses.BatchResponse = BatchResponse  # type: ignore[misc]
    moto.server.main(sys.argv[1:])
