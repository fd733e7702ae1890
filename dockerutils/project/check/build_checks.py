"""Let the Docker Engine check Dockerfiles, as `docker build --check` does, without a build.

The rules: https://docs.docker.com/reference/build-checks/.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Captured
from dockerutils.docker import engine, invocation, options, references
from dockerutils.docker.options import BUILD
from dockerutils.project import build_order
from dockerutils.project.project import Image, Project

_CHECK = ["docker", "build", "--call", "check,format=json"]
_AT_ONCE = 8
_TIMEOUT = 60.0  # seconds for each check
# Options of docker build that decide which images and stages there are.
_READ = {("build-arg",), ("build-context",)}

# An ARG without a default is no mistake here if the section gives it a value; otherwise dockerfile.faults has it.
_ALWAYS_SKIPPED = {"InvalidDefaultArgInFrom"}
_NEEDS_BASES = {"UndefinedVar"}  # the base can set the variable
_NOT_FOUND = "failed to resolve source metadata for "


class Result(NamedTuple):
    """What the engine found, with its places, and one line on what it could not check, with the reasons, or nothing."""

    problems: list[str]
    left_out: str


class _Check(NamedTuple):
    """A command that checks the Dockerfile of an image, with its variables, and whether all bases are there."""

    image: Image
    argv: list[str]
    env: dict[str, str]
    has_bases: bool


def run(project: Project, images: Sequence[Image]) -> Result:
    """Check the Dockerfiles of images, several at once."""
    problems: list[str] = []
    reasons: dict[str, list[str]] = {}
    try:
        checks = _checks(project, images)
    except DockerutilsError as error:
        checks, reasons[str(error)] = [], [image.name for image in images]
    for start in range(0, len(checks), _AT_ONCE):
        some = checks[start : start + _AT_ONCE]
        answers = process.capture_all(
            [check.argv for check in some],
            directory=project.root,
            seconds=_TIMEOUT,
            environs=[{**os.environ, **check.env} for check in some],
        )
        for check, answer in zip(some, answers, strict=True):
            found, reason = _read(check, answer)
            problems += found
            if reason:
                reasons.setdefault(reason, []).append(check.image.name)
    if not reasons:
        return Result(problems, "")
    if len(reasons) == 1:
        ((why, names),) = reasons.items()
        which = "" if len(names) == len(images) else f" for {', '.join(names)}"
    else:
        why = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        which = " in part"
    return Result(problems, f"docker build --check was skipped{which}: {why}")


def _checks(project: Project, images: Sequence[Image]) -> list[_Check]:
    """Return the commands. DockerutilsError if no engine answers."""
    bases = {image: list(_own_bases(project, image)) for image in images}
    engine.require(project.environ)
    present = engine.inspect(reference for each in bases.values() for reference in each)
    checks = []
    for image, needed in bases.items():
        given = options.parse(project.build_options(image), BUILD)
        kept = options.join(option for option in given if option.names in _READ or _is_platform(option))
        missing = [reference for reference in needed if reference not in present]
        # Any directory does in the place of an image that is not built yet. Docker would look for it in a registry.
        contexts = [word for each in missing for word in ("--build-context", f"{each}=docker")]
        words, env = invocation.by_name([*kept, *contexts], BUILD, "build-arg")
        checks.append(_Check(image, [*_CHECK, "-f", image.dockerfile, *words, "."], env, not missing))
    return checks


def _is_platform(option: options.Option) -> bool:
    """Return whether an option names one platform: for several ones, an engine can need another builder."""
    return option.names == ("platform",) and "," not in (option.value or "")


def _own_bases(project: Project, image: Image) -> Iterator[str]:
    """Yield the other images of this project in the Dockerfile of an image, as they are written there."""
    repositories = set().union(*build_order.repositories(project, image).values())
    for reference in build_order.base_references(project, image):
        if references.split(reference)[0] in repositories and "@" not in reference:
            yield reference


def _read(check: _Check, answer: Captured) -> tuple[list[str], str]:
    """Return what an answer of docker found, and why it could not check all, if so.

    The format: https://docs.docker.com/reference/cli/docker/buildx/build/#call.
    """
    try:
        answered = json.loads(answer.stdout)
        found = [
            f"{check.image.dockerfile}:{_line(each)}: {each['ruleName']}: {each['detail']}; see {each['url']}"
            for each in answered["warnings"] or ()
            if each["ruleName"] not in (_ALWAYS_SKIPPED if check.has_bases else _ALWAYS_SKIPPED | _NEEDS_BASES)
        ]
        error = answered.get("buildError")
        if not error:
            return found, ""
        message = str(error["message"])
        if reason := _missing_image(message):
            return found, reason
        return [*found, f"{check.image.dockerfile}:{_line(error)}: docker rejects this line: {message}"], ""
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return [], _reason(answer)


def _line(found: dict[str, Any]) -> int:
    return int(found["location"]["ranges"][0]["start"]["line"])


def _reason(answer: Captured) -> str:
    """Return why docker did not check a Dockerfile."""
    if "unknown flag" in answer.stderr:
        return "this docker does not have it; install buildx 0.15 or newer, and do not set DOCKER_BUILDKIT=0"
    errors = [line for line in answer.stderr.splitlines() if line.lower().startswith("error")]
    last = errors[-1] if errors else f"docker exited with status {answer.status}"
    return _missing_image(last) or last


def _missing_image(message: str) -> str:
    """Return the reason in an error if docker cannot read what it needs of an image, else an empty string."""
    _, found, reason = message.partition(_NOT_FOUND)
    image, *reasons = reason.split(": ")
    return f"docker cannot read {engine.familiar(image)}: {reasons[-1]}" if found and reasons else ""
