"""Build an image of the project, or all images, or remove them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core.errors import UserError
from dockerutils.images import build

_EXAMPLES = """\
  build-image dev                     build docker/dev/Dockerfile as <project>-dev:<user>
  build-image all                     build every image, each after its bases
  build-image dev -f -- --no-cache    build base first; pass --no-cache to docker build"""

_CLEAN = "clean"


def parser() -> program.Parser:
    """Return the parser of build-image."""
    parser = program.Parser(
        "build-image",
        f"{__doc__} Arguments after -- go to docker build.",
        _EXAMPLES,
        passes_on="DOCKER BUILD OPTION ...",
    )
    parser.add_argument(
        "image",
        metavar="IMAGE|all|clean",
        help="subdirectory of docker/; all: build every image, bases first; clean: remove the built images",
    )
    base = parser.add_argument_group("base images")
    base.add_argument("-f", "--force-build-base", action="store_true", help="build docker/base first")
    base.add_argument("-p", "--pull-base", action="store_true", help="pull newer versions of the FROM images")
    name = parser.add_argument_group("image name")
    name.add_argument("-i", "--image-name", metavar="NAME", help="set the name of the image")
    name.add_argument("-t", "--image-tag", metavar="TAG", help="set the tag of the image")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Build or remove images."""
    project = program.project()
    if args.image in (build.ALL, _CLEAN) and args.image_name:
        raise UserError(f"-i cannot be used with {args.image}; name one image")
    if args.image == _CLEAN:
        build.clean(project, args.image_tag, dry_run=args.dry_run)
        return
    request = build.Request(
        args.image,
        with_base=args.force_build_base,
        pull=args.pull_base,
        repository=args.image_name,
        tag=args.image_tag,
        options=args.rest or (),
    )
    build.build(project, request, dry_run=args.dry_run)
