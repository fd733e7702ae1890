"""Run an image on AWS Batch, once or in shards."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dockerutils.aws.session import Session
from dockerutils.cli import arguments, program
from dockerutils.core import console
from dockerutils.core.errors import UserError
from dockerutils.images import indices
from dockerutils.jobs import image as images
from dockerutils.jobs import lookup, queues, resources, retry, section, submission
from dockerutils.jobs.submission import Limits, Machines

_COMMAND = "submit-image"
_EXAMPLES = """\
  submit-image train                           run the image as its section says
  submit-image train --shards 100              run it 100 times, as 0 to 99
  submit-image train --memory 16 -- train.py   run another command, in 16 GB
  submit-image --retry JOB                     run the failed shards again"""

_warn = partial(console.warn, _COMMAND)


def parser() -> program.Parser:
    """Return the parser of submit-image."""
    parser = program.Parser(_COMMAND, f"{__doc__}", _EXAMPLES, environment=program.AWS_JOBS)
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="subdirectory of docker/, or synthetic image")
    parser.add_command("COMMAND [ARG ...]", "run COMMAND instead of the key cmd")
    job = parser.add_argument_group("job")
    job.add_argument("--shards", metavar="N", help="run N shards, 2 to 10000, each with its own index")
    parser.add_queue(job)
    job.add_argument("--retries", metavar="N", help="run a shard up to N times, 1 to 10, until it succeeds")
    job.add_argument("--timeout", metavar="SECONDS", help="stop a shard after SECONDS, 60 or more")
    job.add_argument("--retry", metavar="JOB", help="run the failed shards of JOB again")
    machine = parser.add_argument_group("each shard has")
    machine.add_argument("--cpus", metavar="N", help="vCPUs (default: the key batch_cpus, or 1)")
    machine.add_argument("--memory", metavar="GB", help="memory (default: the key batch_memory, or 2)")
    machine.add_argument("--gpus", metavar="N", help="GPUs (default: the key batch_gpus, or gpu)")
    parser.add_dry_run()
    parser.add_quiet()
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Submit an image, or the failed shards of a job; print the id of the new job on stdout."""
    if (args.image is None) == (args.retry is None):
        raise UserError("name an image, submit-image IMAGE, or a job, submit-image --retry JOB")
    # Find all errors of the options and the configuration before AWS is called.
    limits = Limits(
        arguments.number("--shards", args.shards, "shards", indices.MOST),
        arguments.number("--retries", args.retries, "attempts", submission.MOST_ATTEMPTS),
        arguments.number("--timeout", args.timeout, "seconds", least=submission.LEAST_SECONDS),
    )
    given = {name: getattr(args, name) for name in resources.NAMES}
    if args.retry is None:
        _submit_image(args, limits, given)
    else:
        _submit_again(args, limits, given)


def _submit_image(args: argparse.Namespace, limits: Limits, given: Mapping[str, str | None]) -> None:
    """Publish the image, register its definition and submit it."""
    project = program.project()
    image = project.image(args.image)
    for warning in (*project.config.unknown_keys(image.name), *project.settings(image.name).without_shell("cmd")):
        _warn(warning)
    overrides = submission.overrides(args.rest or ())
    wanted = section.read(project, image, given)
    settings = project.settings_of(project.config.peek(image.name), docked=False)
    name = queues.name(args.queue, settings, project.environ)
    reads = Session(project.environ, dry_run=False)
    queue = queues.find(reads, name)
    submission.check(wanted, queue, f"{project.config.path}: [{image.name}]")

    writes = Session(project.environ, dry_run=args.dry_run)
    reference, architecture = images.published(project, image, reads, writes, _warn)
    machines = Machines(queue.is_fargate, queues.is_public(reads, queue), architecture)
    new = submission.definition(submission.name(project.name, image.name), wanted, machines, reference)
    job = {
        "jobName": submission.name(project.user, image.name),
        "jobQueue": queue.name,
        "jobDefinition": submission.register(reads, writes, new),
        **limits.parameters(),
        **overrides,
    }
    _submit(writes, job, limits.shards or 1)


def _submit_again(args: argparse.Namespace, limits: Limits, given: Mapping[str, str | None]) -> None:
    """Submit the shards of a job that failed, with the options given in place of those of the job."""
    if args.shards is not None or args.rest is not None:
        raise UserError("--retry runs the same command in the failed shards; remove --shards and the command")
    changed = {name: resources.of_option(name, text) for name, text in given.items() if text is not None}
    reads = Session(os.environ, dry_run=False)
    job, shards = retry.parameters(reads, lookup.matching(reads, args.retry, None, os.environ)[0].id)
    if not shards:
        console.note(_COMMAND, f"no shard of {args.retry} failed; there is nothing to submit")
        return
    if args.queue:
        job["jobQueue"] = queues.find(reads, args.queue).name
    job |= limits.parameters()
    submission.change(job, changed)
    _submit(Session(os.environ, dry_run=args.dry_run), job, shards)


def _submit(session: Session, job: Mapping[str, Any], shards: int) -> None:
    identity = submission.submit(session, job)
    if identity:
        what = f"{shards} shards" if shards > 1 else "one job"
        console.note(_COMMAND, f"submitted {what} to {job['jobQueue']}; to follow, run: ls-job {identity}")
        print(identity, flush=True)  # last: if stdout is on a full disk, the id is still known
