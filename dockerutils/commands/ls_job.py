"""List jobs on AWS Batch, or follow one."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from typing import Any

from dockerutils.aws.session import Session
from dockerutils.cli import program
from dockerutils.core import console, progress
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.images import indices
from dockerutils.jobs import logs, lookup, states
from dockerutils.jobs.states import Job

_COMMAND = "ls-job"
_EXAMPLES = """\
  ls-job                      list the jobs of the queue
  ls-job train --watch        wait for the newest job of this name
  ls-job train 3 --logs -f    follow the log of its shard 3
  ls-job --json | jq .        print JSON: times in seconds since 1970"""

TICK = 5.0  # seconds between two looks at a job that is watched
_DAY = 86400.0
_MOST = 20  # failed shards that the table has
_HEADER = ("JOB", "ID", "STATE", "SHARDS", "AGE", "RUNTIME")


def parser() -> program.Parser:
    """Return the parser of ls-job."""
    parser = program.Parser(_COMMAND, f"{__doc__}", _EXAMPLES, environment=program.AWS_JOBS)
    parser.add_job(optional=True)
    parser.add_argument("index", metavar="INDEX", nargs="?", help="a shard of the job, from 0")
    parser.add_queue()
    parser.add_argument("--all", action="store_true", help="also list what ended more than a day ago")
    parser.add_json()
    one = parser.add_argument_group("one job")
    one.add_argument("--watch", action="store_true", help="show progress until it ends; the status is 1 if it failed")
    one.add_argument("--logs", action="store_true", help="print the log; without INDEX, of the first failed shard")
    one.add_argument("-f", "--follow", action="store_true", help="with --logs: until the job ends")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """List jobs, or show one; with --watch, fail if it fails."""
    _check(args)
    session = Session(os.environ, dry_run=False)
    if args.job is None:
        _list(args, session)
        return
    job = lookup.matching(session, args.job, args.queue, os.environ)[0]
    if args.index is not None:
        job = lookup.shard(session, job, args.index)
    if args.logs:
        _print_log(session, job, follows=args.follow)
        return
    if args.watch:
        job = _watch(session, job)
    _show(args, session, job)
    if args.watch and job.state == states.FAILED:
        raise DockerutilsError(_failure(job))


def _failure(job: Job) -> str:
    """Return what to say of a job that failed."""
    if not job.size:
        return f"job {job.name} failed; to read its log, run: ls-job {job.id} --logs"
    return (
        f"{job.counts.get(states.FAILED, 0)} of the {job.size} shards of job {job.name} failed; to read the log of the "
        f"first, run: ls-job {job.id} --logs; to run them again: submit-image --retry {job.id}"
    )


def _check(args: argparse.Namespace) -> None:
    """Raise UserError for options that do not go together."""
    if args.follow and not args.logs:
        raise UserError("-f follows a log; add --logs")
    option = next((name for name in ("watch", "logs") if getattr(args, name)), "")
    if option and args.job is None:
        raise UserError(f"--{option} needs a job; write its name or id, which ls-job lists")
    if args.logs and (args.watch or args.json):
        raise UserError(f"--logs cannot be used with --{'watch' if args.watch else 'json'}; leave one out")


def _list(args: argparse.Namespace, session: Session) -> None:
    names = lookup.queue_names(args.queue, os.environ)
    now = time.time()
    found = lookup.listed(session, names)
    if not args.all:
        found = [job for job in found if not job.has_ended or (job.stopped or job.created) > now - _DAY]
    described = states.described(session, [job.id for job in found])
    jobs = [described.get(job.id, job) for job in found]
    if args.json:
        print(json.dumps([_record(job) for job in jobs], indent=2))
        return
    # Which queue a job is in matters only if there are several.
    several = len(names) > 1
    header = (*_HEADER, "QUEUE") if several else _HEADER
    print(console.table(header, [(*_cells(job, now), job.queue)[: len(header)] for job in jobs]))
    if not jobs:
        older = "no jobs" if args.all else "no jobs in the last day; for older ones, run: ls-job --all"
        console.note(_COMMAND, f"{', '.join(names)}: {older}")


def _show(args: argparse.Namespace, session: Session, job: Job) -> None:
    """Print a job, and the shards that failed, or what is known of one that has no shards."""
    failed = states.children(session, job.id, [states.FAILED]) if job.size else []
    if args.json:
        details = states.described(session, [each.id for each in failed])
        children = [_record(details.get(each.id, each)) for each in failed]
        print(json.dumps([{**_record(job), "failed": children}], indent=2))
        return
    print(console.table(_HEADER, [_cells(job, time.time())]))
    shown = failed[:_MOST] if job.size else [job]
    details = states.described(session, [each.id for each in shown]) if job.size else {job.id: job}
    rows = [_ending(details.get(each.id, each)) for each in shown]
    if rows:
        print("\n" + console.table(("SHARD", "EXIT", "ATTEMPTS", "REASON", "LOG STREAM"), rows))
    if len(failed) > _MOST:
        console.note(_COMMAND, f"{len(failed) - _MOST} more shards failed; to list all, add --json")


def _record(job: Job) -> dict[str, Any]:
    """Return a job for JSON."""
    return {**job._asdict(), "state": job.shown_state}


def _cells(job: Job, now: float) -> tuple[str, ...]:
    runtime = "" if job.started is None else console.age((job.stopped or now) - job.started)
    name = job.name if job.shard is None else f"{job.name} {job.shard}"
    return name, lookup.short(job), job.shown_state, _shards(job), console.age(now - job.created), runtime


def _shards(job: Job) -> str:
    """Return how many shards of an array are done, failed and running."""
    if not job.size:
        return ""
    counts = {
        "done": job.counts.get(states.SUCCEEDED, 0),
        "failed": job.counts.get(states.FAILED, 0),
        "running": job.counts.get(states.RUNNING, 0) + job.counts.get("STARTING", 0),
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    return f"{', '.join(parts)} of {job.size}" if parts else f"0 of {job.size}"


def _ending(job: Job) -> tuple[str, ...]:
    """Return the cells of a shard that failed, or of a job without shards."""
    shard = "" if job.shard is None else str(job.shard)
    exit_code = "" if job.exit_code is None else str(job.exit_code)
    return shard, exit_code, str(job.attempts or ""), console.one_line(job.cause), job.log_stream


def _watch(session: Session, job: Job) -> Job:
    """Show the progress of a job on stderr until it has ended, and return it then."""
    lines = progress.Lines()
    while not job.has_ended:
        lines.update(job.id, _progress(job))
        time.sleep(TICK)
        job = states.describe(session, job.id)
    lines.end(job.id)
    return job


def _progress(job: Job) -> str:
    if not job.size:
        # What it waits for, if AWS says so.
        return f"{job.name}: {job.shown_state}" + (f": {job.cause}" if job.cause else "")
    done = sum(job.counts.get(each, 0) for each in states.ENDED)
    return f"{job.name}: {progress.bar(done, job.size)} {_shards(job)}"


def _print_log(session: Session, job: Job, *, follows: bool) -> None:
    if job.size:
        job = _first_failed(session, job)
    for message in (logs.follow if follows else logs.read)(session, job):
        print(message, flush=follows)


def _first_failed(session: Session, job: Job) -> Job:
    """Return the first shard that failed; UserError if none has."""
    failed = states.children(session, job.id, [states.FAILED])
    if not failed:
        numbers = indices.listed(lookup.numbers_of(job))
        raise UserError(
            f"none of the shards {numbers} of job {job.name} has failed; name one: ls-job {job.id} INDEX --logs"
        )
    first = states.describe(session, failed[0].id)
    console.note(_COMMAND, f"the log of shard {first.shard}, the first of {len(failed)} that failed:")
    return first
