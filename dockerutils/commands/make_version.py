"""Print a version made of the date, which sorts and can be a tag."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from dockerutils import cli, versions

_EXAMPLES = """\
  make-version                                          26.11.20
  build-image dev -t "$(make-version --datetime)"       tag a build 20261120-183000"""


def parser() -> cli.Parser:
    """Return the parser of make-version."""
    parser = cli.Parser("make-version", f"{__doc__}", _EXAMPLES)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "--date", dest="form", action="store_const", const=versions.DATE, default=versions.DATE,
        help="yy.mm.dd, for what is built once a day at most (the default)",
    )  # fmt: skip
    forms.add_argument("--datetime", dest="form", action="store_const", const=versions.DATETIME, help="yyyymmdd-hhmmss")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return cli.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Print the version of this moment, in UTC."""
    print(versions.make(args.form, time.gmtime()))
