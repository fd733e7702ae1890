"""The logs of jobs on AWS Batch, in CloudWatch Logs.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from dockerutils.aws.errors import Refused
from dockerutils.aws.session import Call, Session
from dockerutils.aws.throttling import patient_call
from dockerutils.core.errors import DockerutilsError
from dockerutils.jobs import states
from dockerutils.jobs.states import Job

TICK = 2.0  # seconds between two polls of a log; AWS allows 10 requests a second for an account


class Log:
    """The log of a job, or of one attempt of it."""

    def __init__(self, session: Session, group: str, stream: str) -> None:
        self.stream = stream
        self._session = session
        self._parameters = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}

    def new(self) -> Iterator[str]:
        """Yield the messages since the previous call; none while the stream does not exist."""
        while True:
            call = Call("logs", "get-log-events", self._parameters)
            try:
                answer = patient_call(self._session, call)
            except Refused as error:
                if error.code != "ResourceNotFoundException":
                    raise
                return
            yield from (each["message"] for each in answer["events"])
            # At the end AWS returns the token of the request.
            token = answer["nextForwardToken"]
            if token == self._parameters.get("nextToken"):
                return
            self._parameters["nextToken"] = token


def read(session: Session, job: Job) -> Iterator[str]:
    """Yield the messages of a job's log; DockerutilsError if it has none yet."""
    if not job.log_stream:
        raise DockerutilsError(_without_log(job))
    yield from Log(session, job.log_group, job.log_stream).new()


def follow(session: Session, job: Job) -> Iterator[str]:
    """Yield the messages of a job's log until the job has ended; of each attempt that starts meanwhile, too.

    DockerutilsError if the job ends without a log.
    """
    log: Log | None = None
    late = False
    while True:
        if job.log_stream and (not log or log.stream != job.log_stream):
            if log:
                yield from log.new()
            log = Log(session, job.log_group, job.log_stream)
        if log:
            yield from log.new()
        if late and not log:
            raise DockerutilsError(_without_log(job))
        if late:
            return
        # The last messages arrive after the end.
        late = job.has_ended
        time.sleep(TICK)
        job = states.describe(session, job.id)


def _without_log(job: Job) -> str:
    if job.has_ended:
        return f"job {job.name} has no log: it did not start; AWS says: {job.cause or 'nothing'}"
    return f"job {job.name} has no log yet: it is {job.state}; to wait for it, add -f"
