"""Build images of a project, and remove them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dockerutils.core import console, files, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Command
from dockerutils.docker import engine, invocation
from dockerutils.project import build_order, dockerfile, version_file
from dockerutils.project.ini import Value
from dockerutils.project.project import DIRECTORY, LATEST, Image, Project, renamed

ALL = "all"  # instead of an image: every image with a Dockerfile

_PIP_CONF = "pip.conf"


class Request(NamedTuple):
    """What to build, and how.

    `image` is the name of an image with a Dockerfile, or ALL. `with_base` builds the image `base` first. `pull` pulls
    newer versions of the FROM images. `repository`, for one image, and `tag` replace those of the project. `options`
    are further options of docker build.
    """

    image: str
    with_base: bool = False
    pull: bool = False
    repository: str | None = None
    tag: str | None = None
    options: Sequence[str] = ()


class Step(NamedTuple):
    """A command of a build, and the configured script that it comes from, if any."""

    command: Command
    script: Value | None = None


def build(
    project: Project, request: Request, *, by: str = "build-image", dry_run: bool = False, to_stderr: bool = False
) -> None:
    """Build what `request` asks for, after the images of the project that it depends on.

    `by` names the command in warnings. With `dry_run`, print the commands on stdout and run none. With `to_stderr`,
    the stdout of the commands goes to stderr. Raise UserError for a mistake in the configuration or the Dockerfiles,
    before anything runs, DockerutilsError if no engine answers or a base is missing, and CommandFailed with the status
    of a command that fails.
    """
    images = requested(project, request)
    for name in dict.fromkeys(image.name for image in images):
        for warning in project.config.unknown_keys(name):
            console.warn(by, warning)
    # Compose all commands before the first one runs, so that a mistake in any section is found in time.
    steps = [step for image in images for step in _steps(project, image, request)]
    if dry_run:
        for step in steps:
            process.run(step.command, dry_run=True)
        return
    _require_bases(project, images, request.options)
    if version_file.applies(project.root):
        version_file.generate(project.root)
    pip_conf = os.path.join(project.root, _PIP_CONF)

    def report_wait() -> None:
        console.note(by, f"another build uses an earlier {_PIP_CONF}.template; waiting for it to end")

    with files.temporary_copy(f"{pip_conf}.template", pip_conf, report_wait):
        for step in steps:
            _run(step, to_stderr=to_stderr)


def requested(project: Project, request: Request) -> list[Image]:
    """Return the images to build, bases first, with the names of the request.

    Raise UserError if an image does not exist, has no Dockerfile, or is its own base.
    """
    if request.image == ALL:
        return build_order.in_order(project, _with_dockerfile(project, request.tag), request.options)
    image = _to_build(project, request.image, request.repository, request.tag)
    if image.kind != DIRECTORY:
        advice = f"run: build-image {image.directory}" if image.directory else "docker pulls it when you run it"
        raise UserError(f"{image.name!r} has no Dockerfile; {advice}")
    if request.with_base and image.name != "base" and "base" in project.directories():
        return [_to_build(project, "base", None, None), image]
    return [image]


def clean(project: Project, tag: str | None, *, dry_run: bool = False) -> None:
    """Remove the images that have a Dockerfile, and their builder stages, from the engine. Ignore absent ones.

    `tag` replaces the configured tags.
    """
    images = _with_dockerfile(project, tag)
    references = [reference for image in images for reference in (image.reference, image.builder)]
    if present := engine.inspect(references):
        process.run(Command(["docker", "image", "rm", *present], {}, project.root), dry_run=dry_run)


def _with_dockerfile(project: Project, tag: str | None) -> list[Image]:
    return [_to_build(project, name, None, tag) for name in project.directories()]


def _to_build(project: Project, name: str, repository: str | None, tag: str | None) -> Image:
    """Return an image under the name and tag to build it with."""
    configured = project.settings(name).value("tag")
    if configured and LATEST in configured.text and tag is None:
        raise configured.error(
            f"{LATEST} is the newest version that exists, not a new one; build with -t, or set tag = {{datetime}}"
        )
    return renamed(project.image(name, tag), repository, tag)


def _steps(project: Project, image: Image, request: Request) -> Iterator[Step]:
    """Yield the commands that build one image: the pre-script, the builder stage, the image, the post-script."""
    settings = project.settings(image.name)
    content = dockerfile.read(os.path.join(project.root, image.dockerfile), shown_as=image.dockerfile)
    options = [*_pull(project, image, request), *settings.options("build_args"), *request.options]
    env = {"IMAGE": image.name, "IMAGE_NAME": image.repository, "IMAGE_TAG": image.tag}
    if before := settings.command("pre_build_script"):
        yield Step(Command(before, env, project.root), settings.value("pre_build_script"))
    if content.builder:
        # The tag keeps `docker image prune` from deleting the layers that the next build needs.
        yield Step(invocation.build(image.builder, image.dockerfile, options, project.root, target=content.builder))
    yield Step(invocation.build(image.reference, image.dockerfile, options, project.root))
    if after := settings.command("post_build_script"):
        yield Step(Command(after, env, project.root), settings.value("post_build_script"))


def _pull(project: Project, image: Image, request: Request) -> list[str]:
    """Return `--pull` if docker should pull the FROM images.

    An image that is built from another one of the project is left out: no registry has that one, so docker would fail.
    """
    sections = {image.name, request.image} - {ALL}
    is_wanted = request.pull or (
        request.with_base and any(project.settings(name).boolean("pull_FROM_on_force") for name in sections)
    )
    return ["--pull"] if is_wanted and not build_order.bases(project, image, request.options) else []


def _require_bases(project: Project, images: Sequence[Image], options: Sequence[str]) -> None:
    """Raise DockerutilsError if no engine answers, or if it does not have a base that this build does not make."""
    made = {image.name for image in images}
    bases = [base for image in images for base in build_order.bases(project, image, options)]
    needed = {base.reference: base for base in bases if base.name not in made}
    engine.require()
    present = engine.inspect(needed)
    for reference, base in needed.items():
        if reference not in present:
            raise DockerutilsError(f"the base image {reference} is not built yet; run: {project.build_command(base)}")


def _run(step: Step, *, to_stderr: bool) -> None:
    """Run a step. Name the configured script if it fails: it can have failed without a message."""
    try:
        process.run(step.command, to_stderr=to_stderr)
    except CommandFailed as failure:
        if step.script is None:
            raise
        raise CommandFailed(
            failure.status, step.script.describe(f"exited with status {failure.status}; fix the script and build again")
        ) from None
