"""Run a script from an image on this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import IO

from dockerutils.cli import program
from dockerutils.core import process, shell_words
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process.children import children
from dockerutils.core.shell_words import Word
from dockerutils.docker import engine

_EXAMPLES = """\
  image-script org/tools:1.2 /usr/bin/deploy --all    run it with an argument
  image-script --dry-run tools /usr/bin/deploy        print the command only"""

_LONGEST_ARGUMENT = 128 * 1024 - 1  # bytes, in Linux (MAX_ARG_STRLEN)


def parser() -> program.Parser:
    """Return the parser of image-script."""
    parser = program.Parser("image-script", f"{__doc__}", _EXAMPLES)
    parser.add_dry_run()
    parser.add_argument("image", metavar="IMAGE", help="an image of the project, or any image reference")
    parser.add_command(
        "PATH [ARG ...]", "path of the script in the image, and its arguments; bash runs it", required=True
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, if the script has not replaced this process."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Read the script, and replace this process by the bash that runs it."""
    import tempfile  # late, for -h

    path, *script_args = args.rest
    reference = program.reference(args.image)
    reading = ["docker", "run", "--rm", "--entrypoint", "cat", reference, "--", path]
    script = b"" if args.dry_run else read(reading, reference, path)
    with tempfile.TemporaryFile() as file:
        command = process.Command(["bash", "-c", word(script, reading, file), path, *script_args])
        process.replace(command, dry_run=args.dry_run)


def word(script: bytes, reading: Sequence[str], file: IO[bytes]) -> Word:
    """Return the script as one word for bash, printed as the command that reads it from the image.

    A script that is too long for an argument goes through `file`, which bash inherits.
    """
    line = shell_words.render(reading)
    if len(script) <= _LONGEST_ARGUMENT:
        return Word(os.fsdecode(script), f"$({line})")
    file.write(script)
    file.seek(0)
    os.set_inheritable(file.fileno(), True)
    escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    return Word(f'eval "$(</dev/fd/{file.fileno()})"', f'eval \\"\\$({escaped})\\"')


def read(reading: Sequence[str], reference: str, path: str) -> bytes:
    """Return the bytes of the script without the line ends behind it, as a shell's `$(…)` returns them."""
    with children() as family:
        child = family.start(reading)
        script = child.finish()
        status, stderr = child.wait(), child.stderr
    if status == 1:  # of cat; those of docker begin at 125
        raise DockerutilsError(f"{path} cannot be read in {reference}: {stderr.strip()}; correct the path")
    if status:
        raise engine.refusal(stderr)
    if b"\0" in script:
        raise DockerutilsError(f"{path} in {reference} is not a script: it holds NUL characters; name a text file")
    return script.rstrip(b"\n")
