"""The runs of images on docks: their containers have labels that say whose they are, and `docker ps` finds them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.docker import engine
from dockerutils.docks import copy_state
from dockerutils.project.project import Project

_LABELS = (engine.PROJECT, engine.IMAGE, engine.USER, engine.ORIGIN)
_UP = "Up"
HEADER = ("RUN", "IMAGE", "STATUS", "STARTED IN")  # of tables of runs

# Arguments of docker that list the runs of all users, newest first, for `parse`.
QUERY = [
    *("ps", "--all", "--no-trunc", "--filter", f"label={engine.PROJECT}"),
    *("--format", "\t".join(["{{.Names}}", "{{.Status}}", *(f'{{{{.Label "{label}"}}}}' for label in _LABELS)])),
]

_MARK, _MOST = "run=", 100
# A line of sh behind that of `remote.find_docker`, whose variables it uses; `marked` reads what it prints.
PROBE = f'$sudo "$docker" {shlex.join(QUERY)} 2>/dev/null | head -n {_MOST} | sed "s/^/{_MARK}/"'


class Run(NamedTuple):
    """A container that run-image has started on a dock, kept or running.

    `status` is docker's, such as `Up 3 hours` or `Exited (0) 2 days ago`. `origin` is the checkout that it was started
    in, `host:path`.
    """

    container: str
    status: str
    project: str
    image: str
    user: str
    origin: str

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.status.startswith(_UP)


def labels(project: Project, image: str) -> list[str]:
    """Return the options of `docker run` that label a run of an image of a project."""
    values = (project.name, image, project.user, copy_state.origin(project.root))
    return [word for label, value in zip(_LABELS, values, strict=True) for word in ("--label", f"{label}={value}")]


def parse(output: str) -> list[Run]:
    """Read what docker prints for QUERY; others can write there whatever they like."""
    lines = [line.split("\t", len(Run._fields) - 1) for line in output.splitlines()]
    return [Run(*fields) for fields in lines if len(fields) == len(Run._fields) and copy_state.is_container(fields[0])]


def marked(output: str) -> list[Run]:
    """Return the runs in what PROBE and other lines have printed."""
    return parse("\n".join(line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)))


def of_project(project: Project) -> list[Run]:
    """Return the user's own runs of a project on the engine of the shell; DockerutilsError if no engine answers."""
    answer = process.capture(["docker", *QUERY])
    if answer.status:
        raise engine.refusal(answer.stderr)
    return [run for run in parse(answer.stdout) if (run.project, run.user) == (project.name, project.user)]


def table(found: Sequence[Run]) -> str:
    """Return runs as a table."""
    return console.table(HEADER, [cells(run) for run in found])


def cells(run: Run) -> tuple[str, ...]:
    """Return the row of a run in a table below HEADER."""
    return tuple(map(console.one_line, (run.container, run.image, run.status, run.origin)))
