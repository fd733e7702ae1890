"""Build images of a project, and remove them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dockerutils.core import console, process, shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Command
from dockerutils.docker import builder, engine, invocation
from dockerutils.docker.invocation import Build
from dockerutils.images import batch, parallel, pip_conf, platforms
from dockerutils.images.parallel import Plan, Step
from dockerutils.project import build_order, checkouts, dockerfile, version_file
from dockerutils.project.project import DIRECTORY, LATEST, Image, Project, renamed

ALL = "all"  # instead of an image: every image with a Dockerfile

# Builds that run at the same time by default, if this machine has fewer CPUs: a build waits for networks and disks.
AT_ONCE = 8
# The same over ssh://: a build opens several ssh sessions, and sshd drops logins beyond ten at once.
_AT_ONCE_OVER_SSH = 2


class Request(NamedTuple):
    """What to build, and how.

    `images` are the names of images with a Dockerfile, or ALL. `with_base` also builds the image `base`, before those
    that need it. `pull` pulls newer versions of the FROM images. `repository`, for one image, and `tag` replace those
    of the project. `options` are further options of docker build. `with_missing` also builds images of the project
    that these are built from and that the engine does not have. `at_once` is the number of builds that run at the same
    time, each with a docker build; None also allows batches, and is the number of CPUs, but at least AT_ONCE, and over
    ssh:// 2.
    """

    images: Sequence[str]
    with_base: bool = False
    pull: bool = False
    repository: str | None = None
    tag: str | None = None
    options: Sequence[str] = ()
    with_missing: bool = True
    at_once: int | None = None


def build(
    project: Project, request: Request, *, by: str = "build-image", dry_run: bool = False, to_stderr: bool = False
) -> None:
    """Build what `request` asks for, each image after those that it is built from.

    `by` names the command in warnings. With `dry_run`, print the commands on stdout and run none. With `to_stderr`,
    the stdout of the commands goes to stderr. Raise UserError for a mistake in the configuration or the Dockerfiles,
    before anything runs, DockerutilsError if no engine answers or a base is missing, and CommandFailed with the status
    of a command that fails.
    """
    wanted = requested(project, request)
    # Compose all commands before the first one runs, so that a mistake in any section is found in time.
    steps = {image.name: list(_steps(project, image, request, dry_run=dry_run)) for image in wanted}
    missing = _missing_bases(project, wanted, request, dry_run=dry_run)
    for image in missing:
        steps[image.name] = list(_steps(project, image, request, dry_run=dry_run))
        console.note(by, f"the base image {image.reference} is not built yet; building it too")
    for name in steps:
        scripts = project.settings(name).without_shell("pre_build_script", "post_build_script")
        for warning in (*project.config.unknown_keys(name), *scripts):
            console.warn(by, warning)
    needs = build_order.graph(project, [*wanted, *missing], request.options)
    plans = {image.name: Plan(steps[image.name], names) for image, names in needs.items()}
    batches = batch.find(plans, project.root, project.environ) if request.at_once is None else []
    if dry_run:
        for job in parallel.jobs(plans, batches):
            for command in job.commands:
                process.run(command, dry_run=True)
        return
    for image in needs:
        platforms.require_store(project.build_options(image, request.options))
    _warn_of_checkouts(project, needs, by)
    if version_file.applies(project.root):
        version_file.generate(project.root)
    with pip_conf.in_context(project.root, (_content(project, image) for image in needs), by):
        try:
            parallel.run(plans, batches, at_once(project, request.at_once), to_stderr=to_stderr)
        except CommandFailed as error:
            raise CommandFailed(error.status, _missing_buildkit(project, needs) or str(error)) from None
    checkouts.record(project, needs)


def at_once(project: Project, wanted: int | None) -> int:
    """Return the number of docker commands that run at the same time: `wanted`, or what suits the engine."""
    if wanted:
        return wanted
    if project.environ.get("DOCKER_HOST", "").startswith("ssh://"):
        return _AT_ONCE_OVER_SSH
    # macOS has no affinity.
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cpus, AT_ONCE)


def build_to_run(
    project: Project, image: Image, options: Sequence[str] = (), *, by: str, dry_run: bool = False
) -> None:
    """Build an image of a directory, or a synthetic one, under the name and the tag that it runs with.

    The stdout of the commands goes to stderr. `options` are options of docker build. The errors are those of `build`;
    UserError if the image has no Dockerfile.
    """
    if image.directory is None:
        raise UserError(f"{image.name!r} has no Dockerfile; docker pulls it when you run it")
    tag = image.tag if image.tag != project.image(image.directory).tag else None
    build(project, Request([image.directory], tag=tag, options=options), by=by, dry_run=dry_run, to_stderr=True)


def _warn_of_checkouts(project: Project, images: Iterable[Image], by: str) -> None:
    """Warn of each image that another checkout of the project builds under the same name."""
    for image in images:
        if root := checkouts.other(project, image):
            console.warn(by, checkouts.warning(image, root))


def requested(project: Project, request: Request) -> list[Image]:
    """Return the images to build, with the names of the request.

    Raise UserError if an image does not exist or has no Dockerfile.
    """
    if ALL in request.images:
        return _with_dockerfile(project, request.tag)
    images = []
    for name in dict.fromkeys(request.images):
        image = _to_build(project, name, request.repository, request.tag)
        if image.kind != DIRECTORY:
            advice = f"run: build-image {image.directory}" if image.directory else "docker pulls it when you run it"
            raise UserError(f"{image.name!r} has no Dockerfile; {advice}")
        images.append(image)
    if request.with_base and "base" not in request.images and "base" in project.directories():
        images.insert(0, _to_build(project, "base", None, None))
    return images


def command_for(project: Project, image: Image, platform: str) -> str:
    """Return the command line that gets an image for a platform: that builds it with its bases, or that pulls it."""
    if image.directory is None:
        return f"docker pull --platform {platform} {image.reference}"
    command = project.build_command(image)
    names = [image.directory]
    for name in names:
        bases = build_order.bases(project, project.image(name, LATEST), ["--platform", platform])
        names += [base.image.name for base in bases if base.image.name not in names]
    if len(names) > 1 and command == f"build-image {image.directory}":  # -i and -t are for one image
        command = shell_words.render(["build-image", *reversed(names)])
    return f"{command} --platform {platform}"


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


def builds(project: Project, image: Image, request: Request, *, dry_run: bool) -> list[Build]:
    """Return what docker builds of an image: its builder stage, if it has one, and the image.

    The engine is asked only for an image with a Docker v2 manifest; for a dry run it can be absent.
    """
    content = _content(project, image)
    given = project.build_options(image, request.options)
    words = [*_pull(project, image, request), *pip_conf.secret(project.root, content, given), *given]
    manifest = platforms.manifest_options_of_store(project, image, words, dry_run=dry_run)
    # The tag keeps `docker image prune` from deleting the layers that the next build needs.
    stage = [Build(image.builder, image.dockerfile, words, content.builder)] if content.builder else []
    return [*stage, Build(image.reference, image.dockerfile, [*words, *manifest])]


def _steps(project: Project, image: Image, request: Request, *, dry_run: bool) -> Iterator[Step]:
    """Yield the commands that build one image: the pre-script, the builder stage, the image, the post-script."""
    settings = project.settings(image.name)
    env = {"IMAGE": image.name, "IMAGE_NAME": image.repository, "IMAGE_TAG": image.tag}
    if before := settings.command("pre_build_script"):
        yield Step(Command(before, env, project.root), settings.value("pre_build_script"))
    for each in builds(project, image, request, dry_run=dry_run):
        yield Step(invocation.build(each, project.root), build=each)
    if after := settings.command("post_build_script"):
        yield Step(Command(after, env, project.root), settings.value("post_build_script"))


def _content(project: Project, image: Image) -> dockerfile.Dockerfile:
    return dockerfile.read(project.root, image.dockerfile)


def _missing_buildkit(project: Project, images: Iterable[Image]) -> str:
    """Return why the classic builder cannot build one of these images; "" if it can, or if docker uses BuildKit."""
    needing = ((image, _content(project, image).needs_buildkit) for image in images)
    image, what = next(((image, what) for image, what in needing if what), (None, ""))
    if image is None or builder.find(project.environ) != builder.CLASSIC:
        return ""
    return (
        f"{image.dockerfile}:{what} needs BuildKit, and docker build uses the classic builder here; "
        "install docker's buildx plugin (docker-buildx), or set DOCKER_BUILDKIT=1"
    )


def _pull(project: Project, image: Image, request: Request) -> list[str]:
    """Return `--pull` if docker should pull the FROM images.

    An image that is built from another one of the project is left out: no registry has that one, so docker would fail.
    """
    sections = {image.name, *request.images} - {ALL}
    is_wanted = request.pull or (
        request.with_base and any(project.settings(name).boolean("pull_FROM_on_force") for name in sections)
    )
    return ["--pull"] if is_wanted and not build_order.bases(project, image, request.options) else []


def _missing_bases(project: Project, images: Sequence[Image], request: Request, *, dry_run: bool) -> list[Image]:
    """Return the images of the project that others are built from, that the engine does not have, and their own bases.

    Raise DockerutilsError if no engine answers, or if the request is to build none of them. For a dry run without an
    engine none is missing.
    """
    missing: list[Image] = []
    known = {image.name for image in images}
    added: Sequence[Image] = images
    try:
        engine.require(project.environ)
        while added:
            needs = {image: build_order.bases(project, image, request.options) for image in added}
            bases = [base for each in needs.values() for base in each]
            # docker finds or pulls a version that a build would not make.
            needed = {base.reference: base.image for base in bases if base.is_current and base.image.name not in known}
            present = engine.inspect(needed)
            for image, own in needs.items():
                platforms.require_bases(project, image, own, present, request.options)
            names = dict.fromkeys(base.name for reference, base in needed.items() if reference not in present)
            added = [_to_build(project, name, None, None) for name in names]
            known.update(names)
            missing += added
    except DockerutilsError as error:
        if not dry_run or isinstance(error, UserError):
            raise
    if missing and not request.with_missing:
        base = missing[0]
        raise DockerutilsError(f"the base image {base.reference} is not built yet; run: {project.build_command(base)}")
    return missing
