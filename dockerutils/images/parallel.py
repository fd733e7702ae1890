"""Run the commands of builds: several images at once, or one after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import Command
from dockerutils.docker.invocation import Build
from dockerutils.images.batch import Batch
from dockerutils.project.ini import Value

if TYPE_CHECKING:
    from dockerutils.core.process.jobs import Job

# Docker Engine 28 and 29.1 with the containerd image store can delete a layer while a build uses it, most of all when
# several builds share it: https://github.com/moby/buildkit/issues/6521
_LOST_LAYER = rb"parent snapshot \S+ does not exist: not found"
# BuildKit gets no answer when it asks a registry for a base, or for the syntax of a Dockerfile.
_NO_REGISTRY = r"failed to resolve source metadata for (\S+): failed to do request"
_SYNTAX = "/docker/dockerfile:"


class Step(NamedTuple):
    """A command of a build: the configured script that it comes from, or what it builds."""

    command: Command
    script: Value | None = None
    build: Build | None = None


class Plan(NamedTuple):
    """How to build an image: its steps, one after the other, and the names of the images that it needs first."""

    steps: Sequence[Step]
    needs: set[str]

    @property
    def has_script(self) -> bool:
        """Whether a configured script is among the steps."""
        return any(step.script for step in self.steps)


def run(plans: Mapping[str, Plan], batches: Sequence[Batch], at_once: int, *, to_stderr: bool) -> None:
    """Build images, at most `at_once` at a time. `plans` has the plan of each image by its name, in build order.

    One command builds all images of each of the `batches`, and counts as one. If only one image can be built at a time,
    docker writes to our streams itself. An image with a script is never built at the same time as another one: the
    script can change files of the context. If a build fails, running builds continue to their end, those of the same
    batch end, no other build starts, and CommandFailed has the status of the first failure. With `to_stderr` all output
    goes to stderr.
    """
    is_chain = all(before in plans[after].needs for before, after in pairwise(plans))
    if at_once == 1 or is_chain:
        _run_in_turn(plans, to_stderr=to_stderr)
    else:
        _run_at_once(plans, batches, at_once, to_stderr=to_stderr)


def jobs(plans: Mapping[str, Plan], batches: Sequence[Batch]) -> list[Job]:
    """Return the jobs of builds, in build order. The job of a batch has its name, the others that of their image."""
    from dockerutils.core.process.jobs import Job  # late: most builds are of one image

    found: dict[str, Job] = {}
    batch_of = {image: batch for batch in batches for image in batch.images}
    for name, plan in plans.items():
        if batch := batch_of.get(name):
            found[batch.name] = Job(batch.name, [batch.command], plan.needs)
        else:
            found[name] = Job(name, [step.command for step in plan.steps], plan.needs, plan.has_script)
    return list(found.values())


def _run_in_turn(plans: Mapping[str, Plan], *, to_stderr: bool) -> None:
    names = list(plans)
    for number, name in enumerate(names, start=1):
        for step in plans[name].steps:
            try:
                process.run(step.command, to_stderr=to_stderr)
            except DockerutilsError as error:
                raise _failure([(name, step, error)], names[number:]) from None


def _run_at_once(plans: Mapping[str, Plan], batches: Sequence[Batch], at_once: int, *, to_stderr: bool) -> None:
    from dockerutils.core.process.jobs import run_jobs  # late, as above
    from dockerutils.images import bake_output, build_output

    report = bake_output.BakeOutput(build_output.output(to_stderr=to_stderr), batches)
    failures, _ = run_jobs(
        jobs(plans, batches), at_once, report, lambda stderr: re.search(_LOST_LAYER, stderr) is not None
    )
    if failures:
        failed = [report.failed(each.job) for each in failures]
        steps = [
            (", ".join(names), plans[names[0]].steps[each.number], each.error)
            for names, each in zip(failed, failures, strict=True)
        ]
        ended = report.built.union(*failed)
        raise _failure(steps, [name for name in plans if name not in ended], at_once=True)


def _failure(
    failed: Sequence[tuple[str, Step, DockerutilsError]], rest: Sequence[str], *, at_once: bool = False
) -> DockerutilsError:
    """Return the error for images that failed, with the status of the first one; `rest` are those that were not built.

    Its message is empty if there is nothing to add to that of docker, which is the last line unless several images are
    built `at_once`. A script can fail without a message.
    """
    name, step, error = failed[0]
    text = str(error)
    if step.script:
        text = step.script.describe(text or f"exited with status {error.status}; fix the script and build again")
    text = text or _explained(name, error)
    others = [
        *([f"also failed: {', '.join(name for name, *_ in failed[1:])}"] if failed[1:] else []),
        *([f"not built: {', '.join(rest)}"] if rest else []),
    ]
    if (others or at_once) and not text:
        text = f"the build of {name} failed with status {error.status}; see its output above"
    return CommandFailed(error.status, "; ".join([text, *others] if text else others))


def _explained(name: str, error: DockerutilsError) -> str:
    """Return what the failed build of an image needed from a registry that does not answer, or an empty string."""
    missing = re.search(_NO_REGISTRY, error.stderr) if isinstance(error, CommandFailed) else None
    if not missing:
        return ""
    advice = "build on an image that this engine has"
    if _SYNTAX in missing[1]:
        advice = f"delete the line # syntax= of docker/{name}/Dockerfile and of other Dockerfiles that have it"
    wrong = f"docker cannot reach the registry of {missing[1]}"
    return f"the build of {name} failed: {wrong}; check the network, or {advice}"
