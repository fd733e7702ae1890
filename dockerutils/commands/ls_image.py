"""List the project's images, runs and services."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.docker import engine
from dockerutils.project.project import LATEST, Image, Project
from dockerutils.swarm import service_list

if TYPE_CHECKING:
    from dockerutils.docks.runs import Run
    from dockerutils.swarm.service_list import Service

_EXAMPLES = """\
  ls-image                      print a table
  ls-image --json | jq .        print JSON: sizes in bytes, times in ISO 8601
  docker save $(ls-image -q)    pass the names of built images on

SIZE is that of docker image ls: with the containerd image store it includes
the compressed layers."""


class Row(NamedTuple):
    """An image. `created` is when it was built, `size` is in bytes, `store` is where the engine keeps it.

    They are None if it is not built. `runs` are the user's containers of it on a dock, running or kept.
    `services` are those of it on a swarm.
    """

    image: str
    kind: str
    reference: str
    built: bool
    created: str | None
    size: int | None
    store: str | None
    running: int
    runs: list[Run]
    services: list[Service]


def parser() -> program.Parser:
    """Return the parser of ls-image."""
    parser = program.Parser("ls-image", f"{__doc__}", _EXAMPLES)
    parser.add_json()
    parser.add_argument("-q", "--quiet", action="store_true", help="print the NAME:TAG of the built images only")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Print a row for each image of the project."""
    project = program.project()
    images = project.images()
    known, containers = engine.survey(image.reference for image in images if image.tag != LATEST)
    found = _runs(project) if project.docked else []
    served = [] if args.quiet else service_list.of_project(project)
    rows = [
        _row(image, known.get(image.reference), containers.count(image.reference))._replace(
            runs=[run for run in found if run.image == image.name],
            services=[service for service in served if service.image == image.name],
        )
        for image in images
    ]
    if args.quiet:
        for reference in dict.fromkeys(row.reference for row in rows if row.built):
            print(reference)
    elif args.json:
        print(json.dumps([_record(row) for row in rows], indent=2))
    else:
        now = datetime.now(timezone.utc)
        print(
            console.table(("IMAGE", "KIND", "NAME:TAG", "BUILT", "SIZE", "RUNNING"), [_cells(row, now) for row in rows])
        )
        if found:
            print(f"\n{_table(found)}")
        if served:
            print(f"\n{service_list.table(served)}")
        if sys.stderr.isatty() and any(row.store == engine.CONTAINERD for row in rows):
            console.note("ls-image", "sizes include the compressed layers: the engine has the containerd image store")


def _runs(project: Project) -> list[Run]:
    from dockerutils.docks import runs  # late, for the start of a command that is not docked

    return runs.of_project(project)


def _table(found: Sequence[Run]) -> str:
    from dockerutils.docks import runs  # late, as above

    return runs.table(found)


def _record(row: Row) -> dict[str, Any]:
    runs, services = ([each._asdict() for each in found] for found in (row.runs, row.services))
    return {**row._asdict(), "runs": runs, "services": services}


def _row(image: Image, record: dict[str, Any] | None, running: int) -> Row:
    created, size, store = (
        (record["Created"], record["Size"], engine.image_store_of(record)) if record else (None, None, None)
    )
    return Row(image.name, image.kind, image.reference, record is not None, created, size, store, running, [], [])


def _cells(row: Row, now: datetime) -> tuple[str, ...]:
    built = (
        f"{console.age((now - _time(row.created)).total_seconds())} ago"
        if row.created
        else "yes"
        if row.built
        else "no"
    )
    size = "" if row.size is None else engine.human_size(row.size)
    return row.image, row.kind, row.reference, built, size, str(row.running) if row.running else ""


def _time(text: str) -> datetime:
    """Parse the engine's RFC 3339 time. Its fraction of a second has up to nine digits, too many for Python 3.10."""
    return datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc)
