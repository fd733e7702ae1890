"""Which images of a project are built from which others, and the order of builds that follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from dockerutils.core.errors import UserError
from dockerutils.docker import references
from dockerutils.project import dockerfile
from dockerutils.project.project import Image, Project


class Base(NamedTuple):
    """What an image is built from: the reference in its Dockerfile, and the image of the project with that name.

    The reference can have another tag than the image has today.
    """

    reference: str
    image: Image

    @property
    def is_current(self) -> bool:
        """Whether a build of the image, as it is configured, makes this reference."""
        return self.reference in {self.image.reference, self.image.builder}


def bases(project: Project, image: Image, options: Sequence[str] = ()) -> list[Base]:
    """Return what the Dockerfile of `image` takes from images of the project, and from their builder stages.

    `options` are options of docker build in addition to build_args. Raise UserError if the Dockerfile cannot be read or
    its build_args have a mistake.
    """
    of_directories = repositories(project, image)
    found: list[Base] = []
    for reference in base_references(project, image, options):
        repository = references.split(reference)[0]
        same = [Base(reference, project.image(name)) for name, own in of_directories.items() if repository in own]
        # Images can share a name and differ in their tags.
        found += [each for each in same if each.is_current] or same
    return found


def base_references(project: Project, image: Image, options: Sequence[str] = ()) -> list[str]:
    """Return all images that the Dockerfile of `image` takes something from; for arguments and errors, see `bases`."""
    content = dockerfile.read(project.root, image.dockerfile)
    return content.bases(dockerfile.build_arguments(project.build_options(image, options), project.environ))


def graph(project: Project, images: Iterable[Image], options: Sequence[str] = ()) -> dict[Image, set[str]]:
    """Return the images in their build order, each with the names of those of them that it is built from.

    `base` comes as early as possible. `options` are options of docker build in addition to build_args. Raise UserError
    if an image is built from itself, through others.
    """
    by_name = {image.name: image for image in images}
    needs = {
        name: {base.image.name for base in bases(project, image, options)} & by_name.keys()
        for name, image in by_name.items()
    }
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = ", ".join(by_name[name].dockerfile for name in sorted(set(error.args[1])))
        raise UserError(f"{cycle}: these images are built from each other; remove one of the FROM lines") from None
    ready: list[str] = []
    ordered: dict[Image, set[str]] = {}
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=lambda name: (name != "base", name))
        name = ready.pop(0)
        ordered[by_name[name]] = needs[name]
        sorter.done(name)
    return ordered


def repositories(project: Project, image: Image) -> dict[str, set[str]]:
    """Return what the other sub-directories of `docker/` build: the names of the image and of its builder stage.

    A directory is left out if its section has a mistake, which must not stop the build of another image.
    """
    found = {}
    for name in project.directories():
        with suppress(UserError):
            if name != image.name:
                repository = project.repository(name)
                found[name] = {repository, f"{repository}-builder"}
    return found
