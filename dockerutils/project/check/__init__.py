"""Find the mistakes in a project's configuration and Dockerfiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dockerutils.project import build_order, checkouts
from dockerutils.project.check import build_checks, dockerfiles, sections
from dockerutils.project.check.sections import Readers, errors_of
from dockerutils.project.project import DIRECTORY, LATEST, Image, Project


class Report(NamedTuple):
    """The result of a check: mistakes and what can go wrong, one line each, and a note on what was left out, if any."""

    problems: list[str]
    warnings: list[str]
    note: str


def report(project: Project, readers: Readers = (), *, with_engine: bool = True) -> Report:
    """Check the configuration and the Dockerfiles of a project.

    `readers` read the keys whose values only some commands understand, and raise what is wrong. `with_engine` asks the
    Docker Engine to check the Dockerfiles too.
    """
    problems = [*project.config.file.faults, *project.config.file.default.faults]
    names: list[str] = []
    problems += errors_of(lambda: names.extend(project.names()))
    names = names or project.directories()
    images: list[Image] = []
    for name in names:
        problems += _of_image(project, name, images, readers)
    problems += sections.of_no_image(project, names)
    problems += sections.of_same_image(project, images)
    built = [image for image in images if image.kind == DIRECTORY]
    problems += errors_of(build_order.graph, project, built)
    note = ""
    if with_engine:
        found = build_checks.run(project, [image for image in built if not dockerfiles.faults(project, image)])
        places = {_place(problem) for problem in problems}
        problems += [problem for problem in found.problems if _place(problem) not in places]
        note = found.left_out
    warnings = [checkouts.warning(image, root) for image in built if (root := checkouts.other(project, image))]
    return Report(list(dict.fromkeys(problems)), list(dict.fromkeys(warnings)), note)


def _place(problem: str) -> str:
    return problem.partition(": ")[0]


def _of_image(project: Project, name: str, images: list[Image], readers: Readers) -> Iterator[str]:
    """Yield the mistakes of an image; add the image to `images`, unless it has a mistake in its name or tag."""
    yield from project.config.faults(name)
    yield from project.config.unknown_keys(name)
    found: list[Image] = []
    yield from errors_of(lambda: found.append(_image(project, name)))
    images += found
    yield from sections.of_image(project, name, readers)
    for image in found:
        if image.kind == DIRECTORY:
            yield from dockerfiles.faults(project, image)
            yield from dockerfiles.secrets(project, image)


def _image(project: Project, name: str) -> Image:
    """Return an image; its newest version is not looked up: that depends on the engine, not on the files."""
    tag = project.settings(name).value("tag")
    return project.image(name, LATEST if tag and tag.text == LATEST else None)
