"""Run a script that an image holds, here on the host."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import process, shell_words
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import engine

_EXAMPLES = """\
  image-script org/tools:26.11.20 /usr/local/bin/deploy --all     run the script with an argument
  image-script --dry-run tools /usr/local/bin/deploy              show the command only"""


def parser() -> program.Parser:
    """Return the parser of image-script."""
    parser = program.Parser("image-script", f"{__doc__}", _EXAMPLES)
    parser.add_dry_run()
    parser.add_argument("image", metavar="IMAGE", help="an image of the project, or any other by its name and tag")
    parser.add_argument("path", metavar="PATH", help="the script in the image; it is run by bash")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARG", help="arguments of the script")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, if the script has not taken this process's place."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Read the script, and become the bash that runs it."""
    reference = program.reference(args.image)
    reading = ["docker", "run", "--rm", "--entrypoint", "cat", reference, "--", args.path]
    text = "" if args.dry_run else read(reading, reference, args.path)
    # Shown as the shell would read it, executed as it was read: the script is the same word either way.
    script = shell_words.Word(text, f"$({shell_words.render(reading)})")
    process.replace(process.Command(["bash", "-c", script, args.path, *args.args]), dry_run=args.dry_run)


def read(reading: list[str], reference: str, path: str) -> str:
    """Return the text of the script, without the line ends behind it, as a shell's `$(…)` gives it."""
    answer = process.capture(reading)
    if answer.status == 1:  # cat's own: docker's begin at 125
        raise DockerutilsError(f"{path} cannot be read in {reference}: {answer.stderr.strip()}; correct the path")
    if answer.status:
        raise engine.refusal(answer.stderr)
    if "\0" in answer.stdout:
        raise DockerutilsError(f"{path} in {reference} is no script: it holds NUL characters; name a text file")
    return answer.stdout.rstrip("\n")
