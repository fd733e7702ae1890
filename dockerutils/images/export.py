"""Export an image and its section as values for other schedulers, such as Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.shell_words import Word
from dockerutils.docker import engine, options, references
from dockerutils.docker.invocation import AWS_VARIABLES
from dockerutils.docker.options import RUN
from dockerutils.images import publication, run
from dockerutils.project.project import CONFIGURED, Image, Project

# They stand for {account} and {region} of a publication tag; names of repositories have no upper-case letters.
_ACCOUNT, _REGION = "ACCOUNT", "REGION"
# The groups of options that apply to this machine and its engine only.
_LOCAL = ("gpu", "network", "volumes", "ports", "args")


class Definition(NamedTuple):
    """How to run an image elsewhere: the image by digest, its command and variables, and its options for docker.

    `secrets` are the variables whose values come from the environment of the user; only their names are here. `options`
    are lines for a shell, by groups of `docker run` options.
    """

    name: str
    image: str
    command: Sequence[str]
    environment: Mapping[str, str]
    secrets: Sequence[str]
    options: Mapping[str, str]


def definition(project: Project, image: Image) -> Definition:
    """Return the definition of an image; DockerutilsError if the engine knows no digest of it at its registry."""
    container = run.configure(project, image, run.Request(), by="dockerutils")
    variables = _variables(project, image, container.environment)
    local = {group: shell_words.render(words) for group in _LOCAL if (words := getattr(container, group))}
    return Definition(
        image.name,
        _published(project, image),
        list(container.cmd),
        {name: value for name, value in variables.items() if value is not None},
        [name for name, value in variables.items() if value is None],
        local | ({"platform": container.platform[-1]} if container.platform else {}),
    )


def _variables(project: Project, image: Image, environment: Sequence[str]) -> dict[str, str | None]:
    """Return the variables of the container; None is the value of those that come from the environment of the user.

    run-image passes the AWS variables that are set; elsewhere the identity of the job replaces those of the user.
    """
    own = options.values(project.settings(image.name).options("environment"), RUN, "env")
    found: dict[str, str | None] = {}
    for word in options.values(environment, RUN, "env"):
        name, equals, value = word.partition("=")
        if equals or name not in AWS_VARIABLES or name in own:
            found[name] = None if isinstance(word, Word) or not equals else value
    return found


def _published(project: Project, image: Image) -> str:
    """Return `<repository>@sha256:...` of the image on this engine, as it was pushed to the section's registry."""
    known = engine.inspect([image.reference]).get(image.reference, {}).get("RepoDigests") or []
    for pattern in _repositories(project, image):
        for each in known:
            if re.fullmatch(pattern, each.partition("@")[0]):
                return str(each)
    advice = f"docker pull {image.reference}" if image.kind == CONFIGURED else f"publish-image {image.name}"
    raise DockerutilsError(f"{image.reference} has no digest at a registry; run: {advice}")


def _repositories(project: Project, image: Image) -> Iterator[str]:
    """Yield patterns of the repositories that the image is published to, as the engine writes them."""
    settings = project.settings(image.name)
    tags = settings.tags("publication_tag", publication.tag_fields(image, _ACCOUNT, lambda: _REGION))
    if not tags and settings.text("image_repo") == "aws":
        tags = [publication.ecr_tag(image, _ACCOUNT, _REGION)]
    if image.kind == CONFIGURED:
        tags.append(image.reference)
    for tag in tags:
        pattern = re.escape(engine.familiar(references.split(tag)[0]))
        yield pattern.replace(_ACCOUNT, r"\d{12}").replace(_REGION, "[a-z0-9-]+")
