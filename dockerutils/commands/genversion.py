"""Write a versioneer version to _version.py.bld.

A Dockerfile can copy the file over the project's own version file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console, process
from dockerutils.project import version_file

_EXAMPLES = """\
  genversion                write the file
  genversion --dry-run      print the command and write nothing"""


def parser() -> program.Parser:
    """Return the parser of genversion."""
    parser = program.Parser("genversion", f"{__doc__}", _EXAMPLES)
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Write the file, or say why there is nothing to write."""
    root = program.project().root
    if not version_file.applies(root):
        console.note("genversion", "nothing to do: setup.cfg and pyproject.toml have no versioneer section")
    elif args.dry_run:
        process.run(version_file.command(root), dry_run=True)
    else:
        versions = version_file.generate(root)
        if versions.get("error"):
            console.warn("genversion", f"versioneer: {versions['error']}")
        print(f"{version_file.NAME}: {versions['version']}")
