"""Find the mistakes in the sections of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.suggestions import nearest
from dockerutils.docker import options
from dockerutils.project import config
from dockerutils.project.config import KEYS, Key, Settings
from dockerutils.project.project import DIRECTORY, LATEST, RUN_SECTIONS, Image, Project

Readers = Sequence[Callable[[Settings], object]]


def of_image(project: Project, name: str, readers: Readers) -> Iterator[str]:
    """Yield the mistakes in each key, for a shell that is docked and one that is not, and what the readers raise."""
    for docked in (False, True):
        settings = project.settings_of(project.config.peek(name), docked=docked)
        for key in KEYS:
            yield from errors_of(settings.read, key) or _of_value(settings, key)
        for reader in readers:
            yield from errors_of(reader, settings)
        if section := settings.value("env"):
            yield from errors_of(project.variables, section)


def of_no_image(project: Project, names: Sequence[str]) -> Iterator[str]:
    """Yield the sections whose names are nearly those of images. Other sections can belong to other tools."""
    values = [project.config.peek(section) for section in (*project.config, *names)]
    used = {*RUN_SECTIONS, *names, *(each["env"].text for each in values if "env" in each)}
    near_names = {spelling: name for name in names for spelling in (name.lower(), f"{project.name}-{name.lower()}")}
    for name in project.config:
        section = project.config.file.sections[name]
        if name in used or not any(map(config.is_known, section.values)):
            continue
        if near := nearest(name.lower(), near_names):
            yield f"{section.place}: [{name}] is not an image; did you mean {near_names[near]}?"


def of_same_image(project: Project, images: Sequence[Image]) -> Iterator[str]:
    """Yield the images that replace one another because they have the same name and tag."""
    first: dict[str, Image] = {}
    for image in images:
        if image.kind != DIRECTORY or image.tag == LATEST:
            continue
        other = first.setdefault(image.reference, image)
        if other is not image:
            settings = project.settings(image.name)
            value = settings.value("name") or settings.value("tag")
            fault = f"{image.reference} is also the image of {other.name}; give one of them another name or tag"
            yield value.describe(fault) if value else f"{image.dockerfile}: {fault}"


def _of_value(settings: Settings, key: Key) -> Iterator[str]:
    """Yield the mistakes in a value that can be read."""
    value = settings.value(key.name)
    if value is None:
        return
    if key.name == "image_repo" and (fault := config.fault_in_image_repo(value)):
        yield fault
    elif key.type == "command":
        yield from settings.without_shell(key.name)
    elif key.type == "options" and key.table is not options.SERVICE:
        words = settings.options(key.name)
        command = f"docker {key.table.command}"
        for option, near in options.unknown(words, key.table):
            advice = f"did you mean {near}?" if near else f"see {command} --help"
            advice = config.INTERACTIVE_ADVICE if key.name == "interactive" else advice
            yield value.describe(f"{command} has no option {option}; {advice}")
        for path in options.values(words, key.table, "volume") if key.table is options.RUN else ():
            if path.startswith("~"):
                user = path.partition(":")[0].partition("/")[0]
                yield value.describe(f"{user} is not expanded, only ~ is; write the whole path")


def errors_of(action: Callable[..., object], *args: object) -> list[str]:
    """Return the message of the error that `action` raises, if any."""
    try:
        action(*args)
    except DockerutilsError as error:
        return [str(error)]
    return []
