"""Follow a run on a dock, and fetch its files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core.errors import UserError

_EXAMPLES = """\
  attach-image train                 show the log of the newest run of train
  attach-image train --tail 20       begin with the last 20 lines
  attach-image train --name alice_train_26-11-21_09.30.00.000001    another run

Ctrl-C ends attach-image, not the run. The exit status is that of the
container. The files of a run that was started with run-image --sync are synced
down when it ends."""


def parser() -> program.Parser:
    """Return the parser of attach-image."""
    parser = program.Parser("attach-image", f"{__doc__}", _EXAMPLES)
    parser.add_image()
    parser.add_argument("-n", "--tail", metavar="LINES", help="begin with the last LINES lines (default: all)")
    parser.add_argument("--name", metavar="CONTAINER", help="container to follow (default: the newest run)")
    parser.add_dry_run()
    parser.add_quiet()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Find the run on the dock of this shell, and attach to it."""
    from dockerutils.images import attach  # late, for the start of -h

    if args.tail is not None and not (args.tail.isascii() and args.tail.isdecimal()):
        raise UserError(f"--tail: {args.tail!r} is not a number of lines; write a number, or omit it for the whole log")
    project = program.project()
    if not project.docked:
        raise UserError("this shell is not docked; run: source dock NAME")
    image = project.image(args.image, "latest")
    attach.attach(project, image.name, args.name, args.tail, dry_run=args.dry_run)
