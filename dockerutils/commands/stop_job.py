"""Stop a job on AWS Batch, with all its shards."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.aws.session import Call, Session
from dockerutils.aws.throttling import patient_call
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import UserError
from dockerutils.jobs import lookup, states
from dockerutils.jobs.states import Job

_COMMAND = "stop-job"
_REASON = "stopped with stop-job"
_EXAMPLES = """\
  stop-job train                          stop the job with this name
  stop-job 0f47a1b0 --reason 'bad data'   stop a job by the start of its id"""


def parser() -> program.Parser:
    """Return the parser of stop-job."""
    parser = program.Parser(_COMMAND, f"{__doc__}", _EXAMPLES, environment=program.AWS_JOBS)
    parser.add_job()
    parser.add_argument("--reason", metavar="TEXT", default=_REASON, help=f"what AWS shows (default: {_REASON})")
    parser.add_queue()
    parser.add_dry_run()
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Terminate the job unless it has ended; a dry run looks it up too."""
    if not args.reason.strip():
        raise UserError("--reason is empty; write why, or leave it out")
    reads, writes = (Session(os.environ, dry_run=dry_run) for dry_run in (False, args.dry_run))
    found = lookup.matching(reads, args.job, args.queue, os.environ)
    job = _chosen(found)
    if job.has_ended:
        console.note(_COMMAND, f"job {job.name} has already ended: {job.state}")
        return
    patient_call(writes, Call("batch", "terminate-job", {"jobId": job.id, "reason": args.reason}))
    if not args.dry_run:
        ending = sum(count for state, count in job.counts.items() if state not in states.ENDED)
        what = f" ({ending} of {job.size} shards)" if job.size else ""
        console.note(_COMMAND, f"job {job.name}{what} is being stopped; to see its state, run: ls-job {job.id}")


def _chosen(found: Sequence[Job]) -> Job:
    """Return the job to stop: the live one, else the newest; UserError if several are live."""
    live = [job for job in found if not job.has_ended]
    if len(live) > 1:
        ids = ", ".join(job.id for job in live)
        raise UserError(f"{len(live)} jobs named {live[0].name} have not ended: {ids}; write the id of one")
    return (live or found)[0]
