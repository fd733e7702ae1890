"""Which images of a project are built from which others, and the order of builds that follows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

from dockerutils.core.errors import UserError
from dockerutils.docker import references
from dockerutils.project import dockerfile
from dockerutils.project.project import Image, Project


def bases(project: Project, image: Image, options: Sequence[str] = ()) -> list[Image]:
    """Return the images of the project that the Dockerfile of `image` is built from.

    `options` are options of docker build in addition to build_args. Raise UserError if the Dockerfile cannot be read or
    its build_args have a mistake.
    """
    content = dockerfile.read(os.path.join(project.root, image.dockerfile), shown_as=image.dockerfile)
    configured = project.settings(image.name).options("build_args")
    arguments = dockerfile.build_arguments([*configured, *options], project.environ)
    repositories = {references.split(reference)[0] for reference in content.bases(arguments)}
    others = [name for name in project.directories() if name != image.name]
    return [project.image(name) for name in others if repositories & _repositories(project, name)]


def in_order(project: Project, images: Iterable[Image], options: Sequence[str] = ()) -> list[Image]:
    """Return the images, each after those of them that it is built from, and `base` as early as possible.

    `options` are options of docker build in addition to build_args. Raise UserError if an image is built from itself,
    through others.
    """
    by_name = {image.name: image for image in images}
    bases_by_name = {name: {base.name for base in bases(project, image, options)} for name, image in by_name.items()}
    sorter = TopologicalSorter({name: needed & by_name.keys() for name, needed in bases_by_name.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = ", ".join(by_name[name].dockerfile for name in sorted(set(error.args[1])))
        raise UserError(f"{cycle}: these images are built from each other; remove one of the FROM lines") from None
    ready: list[str] = []
    ordered: list[Image] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=lambda name: (name != "base", name))
        name = ready.pop(0)
        ordered.append(by_name[name])
        sorter.done(name)
    return ordered


def _repositories(project: Project, directory: str) -> set[str]:
    """Return the names of the image that a sub-directory of `docker/` builds, and of its builder stage.

    The set is empty if its section has a mistake, which must not stop the build of another image.
    """
    try:
        repository = project.repository(directory)
    except UserError:
        return set()
    return {repository, f"{repository}-builder"}
