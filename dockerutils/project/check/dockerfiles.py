"""Find the mistakes in the Dockerfiles, and the secrets that they would keep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from dockerutils.core import shell_words
from dockerutils.core.errors import UserError
from dockerutils.docker import options
from dockerutils.docker.options import BUILD
from dockerutils.project import dockerfile
from dockerutils.project.dockerfile import Dockerfile
from dockerutils.project.project import Image, Project

# The parts of a name between underscores. KEYBOARD and TOKENIZER hold no secret, nor does PUBLIC_KEY.
_SECRET = re.compile(r"(?:API)?(?:TOKEN|PASSWORD|PASSWD|SECRET|KEY|CREDENTIAL)S?")
_NO_SECRET = {"PUBLIC"}


def faults(project: Project, image: Image) -> list[str]:
    """Return the mistakes in the Dockerfile of an image that make docker stop the build, with their places."""
    arguments: dict[str, str] | None = None
    with suppress(UserError):  # sections.of_image reports it
        arguments = dockerfile.build_arguments(project.build_options(image), project.environ)
    try:
        content = _read(project, image)
    except UserError as error:
        return [str(error)]
    return [f"{image.dockerfile}:{line}: {fault}" for line, fault in content.faults(arguments)]


def secrets(project: Project, image: Image) -> Iterator[str]:
    """Yield the build arguments of an image whose names look like those of secrets, and the ARG lines for them."""
    value = project.settings(image.name).value("build_args")
    try:
        words = project.settings(image.name).options("build_args")
        content = _read(project, image)
    except UserError:
        return
    given = dict.fromkeys(name for name in options.values(words, BUILD, "build-arg") if is_secret(_name(name)))
    for argument in given:
        assert value
        secret = _secret_option(argument)
        yield value.describe(
            f"docker keeps --build-arg {_name(argument)} in the image's history; write {secret} "
            "and mount it in the Dockerfile"
        )
    names = set(map(_name, given))
    for line, name in content.arguments:
        if name in names:
            yield (
                f"{image.dockerfile}:{line}: docker keeps ARG {name} in the image's history; remove it, and write "
                f"RUN --mount=type=secret,id={_id(name)},env={name} where a command needs it"
            )


def is_secret(name: str) -> bool:
    """Return whether the name of a variable looks like that of a secret."""
    parts = re.split(r"[_.-]+", name.upper())
    return any(map(_SECRET.fullmatch, parts)) and not _NO_SECRET.intersection(parts)


def _name(argument: str) -> str:
    return argument.partition("=")[0]


def _id(name: str) -> str:
    """Return the id of a secret: the name of its variable, as BuildKit's examples write it."""
    return name.lower()


def _secret_option(argument: str) -> str:
    """Return the option that passes as a secret what `--build-arg` passes: NAME, NAME=$VARIABLE, or NAME=value."""
    name, _, _ = argument.partition("=")
    variable = name
    if isinstance(argument, shell_words.Word):
        reference = re.fullmatch(r"\$\{?(\w+)\}?", argument.template.partition("=")[2])
        variable = reference[1] if reference else name
    return f"--secret id={_id(name)},env={variable}"


def _read(project: Project, image: Image) -> Dockerfile:
    return dockerfile.read(project.root, image.dockerfile)
