"""Build images of the project, or remove them.

All other options go to docker build, such as --no-cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dockerutils.cli import arguments, program
from dockerutils.core.errors import UserError
from dockerutils.docker import options
from dockerutils.images import build

_EXAMPLES = """\
  build-image dev                  build docker/dev as <project>-dev:<user>
  build-image all                  build every image, each after its bases
  build-image web api -j 1         build two images, one after the other
  build-image dev -f --no-cache    build base first; --no-cache is docker's"""

_CLEAN = "clean"


def parser() -> program.Parser:
    """Return the parser of build-image."""
    parser = program.Parser(
        "build-image",
        f"{__doc__}",
        _EXAMPLES,
        docker=options.BUILD,
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE|all|clean",
        help="subdirectories of docker/; all: build every image, bases first; clean: remove the built images",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        help=f"build at most N images at a time, without bake (default: as many as CPUs, at least {build.AT_ONCE})",
    )
    base = parser.add_argument_group("base images")
    base.add_argument("-f", "--force-build-base", action="store_true", help="build docker/base first")
    base.add_argument("--no-deps", action="store_true", help="do not build images of the project that are missing")
    base.add_argument("-p", "--pull-base", action="store_true", help="pull newer versions of the FROM images")
    name = parser.add_argument_group("image name")
    name.add_argument("-i", "--image-name", metavar="NAME", help="set the name of the image")
    name.add_argument("-t", "--image-tag", metavar="TAG", help="set the tag of the image")
    program.add_docker_option(parser, "--platform", metavar="PLATFORM[,...]", what=f"build {program.FOR_PLATFORM}")
    parser.add_dry_run()
    parser.add_quiet()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Build or remove images."""
    project = program.project()
    special = [name for name in (build.ALL, _CLEAN) if name in args.images]
    if args.image_name and (special or len(args.images) > 1):
        raise UserError(f"-i cannot be used with {special[0] if special else 'several images'}; name one image")
    if special and len(args.images) > 1:
        raise UserError(f"{special[0]} cannot be combined with other images; run it on its own")
    if _CLEAN in special:
        build.clean(project, args.image_tag, dry_run=args.dry_run)
        return
    request = build.Request(
        args.images,
        with_base=args.force_build_base,
        pull=args.pull_base,
        repository=args.image_name,
        tag=args.image_tag,
        options=args.docker,
        with_missing=not args.no_deps,
        at_once=arguments.number("-j", args.jobs, "builds"),
    )
    build.build(project, request, dry_run=args.dry_run)
