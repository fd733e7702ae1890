"""Print a version made from the time in UTC."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.docker import version_tags

_EXAMPLES = """\
  make-version                                       26.11.20
  build-image dev -t "$(make-version --datetime)"    tag: 20261120-183000"""


def parser() -> program.Parser:
    """Return the parser of make-version."""
    parser = program.Parser("make-version", f"{__doc__}", _EXAMPLES)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "--date", dest="form", action="store_const", const=version_tags.DATE, default=version_tags.DATE,
        help="print yy.mm.dd (default)",
    )  # fmt: skip
    forms.add_argument(
        "--datetime", dest="form", action="store_const", const=version_tags.DATETIME,
        help="print yyyymmdd-hhmmss, for several builds a day",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Print the version of this moment."""
    print(version_tags.make(args.form, time.gmtime()))
