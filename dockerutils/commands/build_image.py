"""Build an image of the project, or all of them, or remove them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence

from dockerutils.cli import program
from dockerutils.core import console, files, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Command
from dockerutils.docker import engine, invocation
from dockerutils.project import build_order, dockerfile, version_file
from dockerutils.project.ini import Value
from dockerutils.project.project import DIRECTORY, LATEST, Image, Project, renamed

_EXAMPLES = """\
  build-image dev                     build docker/dev/Dockerfile as <project>-dev:<user>
  build-image all                     every image, each after those that it is built from
  build-image dev -f -- --no-cache    base first; everything behind -- goes to docker build"""


def parser() -> program.Parser:
    """Return the parser of build-image."""
    parser = program.Parser(
        "build-image",
        f"{__doc__} What stands behind -- goes to docker build.",
        _EXAMPLES,
        passes_on="DOCKER BUILD OPTION ...",
    )
    parser.add_argument(
        "image",
        metavar="IMAGE|all|clean",
        help="a sub-directory of docker/; all of them, in the order that they need; or clean: remove what was built",
    )
    base = parser.add_argument_group("what it is built from")
    base.add_argument("-f", "--force-build-base", action="store_true", help="build docker/base first")
    base.add_argument("-p", "--pull-base", action="store_true", help="pull newer versions of the FROM images")
    name = parser.add_argument_group("what it is called")
    name.add_argument("-i", "--image-name", metavar="NAME", help="call the image NAME")
    name.add_argument("-t", "--image-tag", metavar="TAG", help="tag the image TAG")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Build, or remove, what was asked for."""
    project = program.project()
    images = requested(project, args)
    if args.image == "clean":
        clean(project, images, dry_run=args.dry_run)
        return
    for name in dict.fromkeys(image.name for image in images):
        for warning in project.config.unknown_keys(name):
            console.warn("build-image", warning)
    # Composed before the first one runs: a fault in the last image's section is told before anything has happened.
    commands = [step for image in images for step in steps(project, image, args)]
    if args.dry_run:
        for command, _ in commands:
            process.run(command, dry_run=True)
        return
    require_bases(project, images)
    if version_file.applies(project.root):
        version_file.generate(project.root)
    pip_conf = os.path.join(project.root, "pip.conf")
    with files.borrowed(f"{pip_conf}.template", pip_conf):
        for command, script in commands:
            execute(command, script)


def execute(command: Command, script: Value | None) -> None:
    """Run one step; a script that fails may have said nothing, so its place is told."""
    try:
        process.run(command)
    except CommandFailed as failure:
        if script is None:
            raise
        raise CommandFailed(
            failure.status, script.describe(f"ended with status {failure.status}; the build stops here")
        ) from None


def requested(project: Project, args: argparse.Namespace) -> list[Image]:
    """Return the images to build, in order, under the names that the options give them."""
    if args.image in ("all", "clean"):
        if args.image_name:
            raise UserError(f"-i would give one name to {args.image} images; name the image")
        images = [named(project, name, None, args.image_tag) for name in project.directories()]
        return build_order.in_order(project, images) if args.image == "all" else images
    image = named(project, args.image, args.image_name, args.image_tag)
    if image.kind != DIRECTORY:
        advice = f"run: build-image {image.directory}" if image.directory else "docker pulls it when it is run"
        raise UserError(f"{image.name!r} has no Dockerfile of its own; {advice}")
    base = ["base"] if args.force_build_base and image.name != "base" and "base" in project.directories() else []
    return [*(named(project, name, None, None) for name in base), image]


def named(project: Project, name: str, image_name: str | None, image_tag: str | None) -> Image:
    """Return an image that is to be built, under the name and the tag that the options give it."""
    tag = project.settings(name).value("tag")
    if tag and LATEST in tag.text and image_tag is None:
        raise tag.error(f"{LATEST} finds a version, it makes none; build with -t, or with tag = {{datetime}}")
    return renamed(project.image(name, image_tag), image_name, image_tag)


def steps(project: Project, image: Image, args: argparse.Namespace) -> Iterator[tuple[Command, Value | None]]:
    """Yield the commands that build one image: the pre-script, the builder stage, the image, the post-script.

    Beside a script stands the value that it comes from.
    """
    settings = project.settings(image.name)
    content = dockerfile.read(os.path.join(project.root, image.dockerfile), shown_as=image.dockerfile)
    options = [*pull(project, image, args), *settings.options("build_args"), *(args.rest or ())]
    env = {"IMAGE": image.name, "IMAGE_NAME": image.repository, "IMAGE_TAG": image.tag}
    if before := settings.command("pre_build_script"):
        yield Command(before, env, project.root), settings.value("pre_build_script")
    if content.builder:
        # Tagged, so that a prune keeps the layers which the next build would otherwise have to make again.
        yield invocation.build(image.builder, image.dockerfile, options, project.root, target=content.builder), None
    yield invocation.build(image.reference, image.dockerfile, options, project.root), None
    if after := settings.command("post_build_script"):
        yield Command(after, env, project.root), settings.value("post_build_script")


def pull(project: Project, image: Image, args: argparse.Namespace) -> list[str]:
    """Return `--pull` when the FROM images are to be pulled.

    Not for an image built from another one of the project, which no registry has: docker would fail.
    """
    asked = args.pull_base or (
        args.force_build_base
        and any(project.settings(name).boolean("pull_FROM_on_force") for name in {image.name, args.image} - {"all"})
    )
    return ["--pull"] if asked and not build_order.bases(project, image) else []


def require_bases(project: Project, images: Sequence[Image]) -> None:
    """See that the engine answers, and has the project's images that these are built from."""
    made = {image.name for image in images}
    needed = {
        base.reference: base for image in images for base in build_order.bases(project, image) if base.name not in made
    }
    engine.require()
    present = engine.inspect(needed)
    for reference, base in needed.items():
        if reference not in present:
            raise DockerutilsError(
                f"{reference}, which it is built from, is not built yet; run: build-image {base.name}"
            )


def clean(project: Project, images: Sequence[Image], *, dry_run: bool) -> None:
    """Remove those of the images, and of their builder stages, that the engine has."""
    references = [reference for image in images for reference in (image.reference, image.builder)]
    if present := engine.inspect(references):
        process.run(Command(["docker", "image", "rm", *present], {}, project.root), dry_run=dry_run)
