"""Questions to the docker command itself."""

from __future__ import annotations

import re

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker.options import Table

# `  -e, --env list   Set …`: a letter, a name, and a type unless it is a switch.
_ROW = re.compile(r"^ +(?:-(\w), |    )--([\w-]+)(?: (\w[\w-]*))?(?:  |$)", re.MULTILINE)


def options(command: str) -> Table:
    """Return the options of a docker command, by its own help."""
    answer = process.capture(["docker", *command.split(), "--help"])
    if answer.status:
        message = (answer.stderr.strip().splitlines() or ["nothing"])[-1]
        raise DockerutilsError(f"docker {command} --help failed: {message}; repair the docker command-line client")
    return read_help(command, answer.stdout)


def read_help(command: str, text: str) -> Table:
    """Return the options in a help page of docker."""
    rows = _ROW.findall(text)
    return Table(
        command,
        frozenset(name for _, name, kind in rows if kind),
        frozenset(name for _, name, kind in rows if not kind),
        {letter: name for letter, name, _ in rows if letter},
    )
