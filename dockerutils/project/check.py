"""Everything that can be found wrong with a project before a command trips over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.project import build_order, dockerfile
from dockerutils.project.config import KEYS
from dockerutils.project.project import DIRECTORY, LATEST, Image, Project


def findings(project: Project) -> list[str]:
    """Return what is wrong with the configuration and the Dockerfiles, a line each, with its place."""
    found = [*project.config.file.faults, *project.config.file.default.faults]
    names: list[str] = []
    found += _told(lambda: names.extend(project.names()))
    for name in names or project.directories():
        found += _of_image(project, name)
    found += _told(lambda: build_order.in_order(project, [_image(project, name) for name in project.directories()]))
    return list(dict.fromkeys(found))


def _of_image(project: Project, name: str) -> Iterator[str]:
    yield from project.config.faults(name)
    yield from project.config.unknown_keys(name)
    images: list[Image] = []
    yield from _told(lambda: images.append(_image(project, name)))
    yield from _of_section(project, name)
    for image in images:
        if image.kind == DIRECTORY:
            yield from _of_dockerfile(project, image)


def _image(project: Project, name: str) -> Image:
    """Return an image; which version of it is the newest, the engine knows, and it is no matter of the files."""
    tag = project.settings(name).value("tag")
    return project.image(name, LATEST if tag and tag.text == LATEST else None)


def _of_section(project: Project, name: str) -> Iterator[str]:
    """Yield the faults of each key, as it is read here and as it is read while docked."""
    for docked in (False, True):
        values = project.config.peek(name)
        settings = project.settings_of(values, docked=docked)
        for key in KEYS:
            yield from _told(settings.read, key)
        if section := settings.value("env"):
            yield from _told(project.variables, section)


def _of_dockerfile(project: Project, image: Image) -> Iterator[str]:
    path = os.path.join(project.root, image.dockerfile)
    arguments: dict[str, str] | None = None
    with suppress(UserError):  # _of_section reports it
        options = project.settings(image.name).options("build_args")
        arguments = dockerfile.build_arguments(options, project.environ)
    for line, fault in dockerfile.read(path, shown_as=image.dockerfile).faults(arguments):
        yield f"{image.dockerfile}:{line}: {fault}"


def _told(action: Callable[..., object], *args: object) -> list[str]:
    """Return what `action` complains of, nothing when it does not."""
    try:
        action(*args)
    except DockerutilsError as error:
        return [str(error)]
    return []
