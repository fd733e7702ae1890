"""Push an image to Docker Hub, ECR or others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from dockerutils.aws.session import Session
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.images import publication, push
from dockerutils.project.project import renamed
from dockerutils.registries import credentials

_EXAMPLES = """\
  publish-image prod                  push what publication_tag names
  publish-image prod -t 1.2           publish <project>-prod:1.2
  publish-image prod --dry-run        print the commands"""

_warn = partial(console.warn, "publish-image")


def parser() -> program.Parser:
    """Return the parser of publish-image."""
    parser = program.Parser("publish-image", f"{__doc__}", _EXAMPLES, environment=credentials.ENVIRONMENT)
    parser.add_image()
    parser.add_argument("-i", "--image-name", metavar="NAME", help="publish the image with this name")
    parser.add_argument("-t", "--image-tag", metavar="TAG", help="publish the image with this tag")
    parser.add_argument("--platform", metavar="PLATFORM[,...]", help=f"publish the image {program.FOR_PLATFORM}")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Log in, tag and push; print the digest of each tag on stdout."""
    project = program.project()
    image = renamed(project.image(args.image, args.image_tag), args.image_name, args.image_tag)
    for warning in project.config.unknown_keys(image.name):
        _warn(warning)
    form = publication.form(project, image, args.platform)
    session = Session(project.environ, dry_run=args.dry_run)
    # Find all configuration errors before the first command runs, and before AWS is called.
    wanted = push.destinations(project, image, session)
    for pushed in push.Publisher(project, image, form, session, _warn).push(wanted):
        print(pushed, flush=True)
