"""Which images of a project are built from which, and the order of builds that follows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from dockerutils.core.errors import UserError
from dockerutils.docker import references
from dockerutils.project import dockerfile
from dockerutils.project.project import Image, Project


def bases(project: Project, image: Image) -> list[Image]:
    """Return the images of the project that another one's Dockerfile is built from."""
    content = dockerfile.read(os.path.join(project.root, image.dockerfile), shown_as=image.dockerfile)
    arguments = dockerfile.build_arguments(project.settings(image.name).options("build_args"), project.environ)
    named = {references.split(reference)[0] for reference in content.bases(arguments)}
    others = [name for name in project.directories() if name != image.name]
    return [project.image(name) for name in others if named & _names(project, name)]


def _names(project: Project, directory: str) -> set[str]:
    """Return what images built from a sub-directory's, or from its builder stage, may name.

    Nothing where the section has a fault: it is no matter to a build of another image.
    """
    try:
        repository = project.repository(directory)
    except UserError:
        return set()
    return {repository, f"{repository}-builder"}


def in_order(project: Project, images: Iterable[Image]) -> list[Image]:
    """Order images so that each comes after those of them that it is built from, `base` as early as that allows."""
    by_name = {image.name: image for image in images}
    needs = {name: [base.name for base in bases(project, image)] for name, image in by_name.items()}
    sorter = TopologicalSorter({name: set(needed) & by_name.keys() for name, needed in needs.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = ", ".join(by_name[name].dockerfile for name in sorted(set(error.args[1])))
        raise UserError(f"{circle}: each is built from another of these; break the circle of FROM lines") from None
    ready: list[str] = []
    ordered: list[Image] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=lambda name: (name != "base", name))
        name = ready.pop(0)
        ordered.append(by_name[name])
        sorter.done(name)
    return ordered
