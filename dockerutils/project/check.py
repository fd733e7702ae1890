"""Find the mistakes in a project's configuration and Dockerfiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.project import build_order, dockerfile
from dockerutils.project.config import KEYS
from dockerutils.project.project import DIRECTORY, LATEST, Image, Project


def findings(project: Project) -> list[str]:
    """Return the mistakes in the configuration and the Dockerfiles, one line each, with the place."""
    found = [*project.config.file.faults, *project.config.file.default.faults]
    names: list[str] = []
    found += _errors_of(lambda: names.extend(project.names()))
    for name in names or project.directories():
        found += _of_image(project, name)
    found += _errors_of(
        lambda: build_order.in_order(project, [_image(project, name) for name in project.directories()])
    )
    return list(dict.fromkeys(found))


def _of_image(project: Project, name: str) -> Iterator[str]:
    yield from project.config.faults(name)
    yield from project.config.unknown_keys(name)
    images: list[Image] = []
    yield from _errors_of(lambda: images.append(_image(project, name)))
    yield from _of_section(project, name)
    for image in images:
        if image.kind == DIRECTORY:
            yield from _of_dockerfile(project, image)


def _image(project: Project, name: str) -> Image:
    """Return an image; its newest version is not looked up: that depends on the engine, not on the files."""
    tag = project.settings(name).value("tag")
    return project.image(name, LATEST if tag and tag.text == LATEST else None)


def _of_section(project: Project, name: str) -> Iterator[str]:
    """Yield the faults of each key, for a shell that is docked and one that is not."""
    for docked in (False, True):
        values = project.config.peek(name)
        settings = project.settings_of(values, docked=docked)
        for key in KEYS:
            yield from _errors_of(settings.read, key)
        if section := settings.value("env"):
            yield from _errors_of(project.variables, section)


def _of_dockerfile(project: Project, image: Image) -> Iterator[str]:
    path = os.path.join(project.root, image.dockerfile)
    arguments: dict[str, str] | None = None
    with suppress(UserError):  # _of_section reports it
        options = project.settings(image.name).options("build_args")
        arguments = dockerfile.build_arguments(options, project.environ)
    for line, fault in dockerfile.read(path, shown_as=image.dockerfile).faults(arguments):
        yield f"{image.dockerfile}:{line}: {fault}"


def _errors_of(action: Callable[..., object], *args: object) -> list[str]:
    """Return the error that `action` raises, if any."""
    try:
        action(*args)
    except DockerutilsError as error:
        return [str(error)]
    return []
