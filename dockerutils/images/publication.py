"""The form in which an image is published: checked on the engine before the push, and at the registry afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import engine, references
from dockerutils.project.config import Fields
from dockerutils.project.project import Image, Project
from dockerutils.registries import credentials

if TYPE_CHECKING:
    from dockerutils.registries.client import Client, Manifest

_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Form(NamedTuple):
    """The form to publish an image in: its `platforms`, () for those that it has; whether with a Docker v2 manifest.

    `selected` is the platform of --platform if that names only one: docker pushes the image's manifest for it. `remedy`
    is the command line that builds the image in this form.
    """

    platforms: tuple[str, ...]
    is_docker: bool
    selected: str
    remedy: str


class Target(NamedTuple):
    """A full name and tag at a registry; `env` has the docker configuration with its login."""

    reference: str
    project: Project
    env: Mapping[str, str]
    warn: Callable[[str], None]

    @property
    def host(self) -> str:
        """The registry."""
        return references.registry(self.reference)


def tag_fields(image: Image, account: str, region: Callable[[], str]) -> Fields:
    """Return the values of `{name}` in the key publication_tag."""
    return {"account": lambda: account, "region": region, "image": lambda: image.repository, "tag": lambda: image.tag}


def ecr_tag(image: Image, account: str, region: str) -> str:
    """Return where an image goes in ECR if there is no publication_tag."""
    return f"{account}.dkr.ecr.{region}.amazonaws.com/{image.repository}:{image.tag}"


def form(project: Project, image: Image, given: str | None) -> Form:
    """Return the form that the section of an image asks for; `given` is the value of --platform."""
    platforms = project.platforms(image, given)
    is_docker = project.has_docker_manifest(image, platforms)
    selected = platforms[0] if given is not None and len(platforms) == 1 else ""
    option = f" --platform {','.join(platforms)}" if given is not None else ""
    if image.directory is None:
        return Form(platforms, is_docker, selected, f"docker pull{option} {image.reference}")
    return Form(platforms, is_docker, selected, project.build_command(image) + option)


def require(project: Project, image: Image, wanted: Form) -> None:
    """Raise DockerutilsError if the engine does not have the image, or has it in another form."""
    if not engine.has_image(image.reference, project.environ):
        problem = "is not on this engine" if image.directory is None else "is not built yet"
        raise DockerutilsError(f"{image.reference} {problem}; run: {wanted.remedy}")
    if not wanted.platforms and not wanted.is_docker:
        return
    record = engine.inspect([image.reference]).get(image.reference, {})
    if missing := engine.missing_platforms(image.reference, record, wanted.platforms):
        raise DockerutilsError(f"{image.reference} is not for {' and '.join(missing)}; run: {wanted.remedy}")
    media_type = (record.get("Descriptor") or {}).get("mediaType", _DOCKER_MANIFEST)
    if wanted.is_docker and media_type != _DOCKER_MANIFEST:
        problem = f"{image.reference} has no plain Docker manifest, which manifest = docker asks for"
        advice = "build it as an image of this project" if image.directory is None else f"run: {wanted.remedy}"
        raise DockerutilsError(f"{problem}; {advice}")


def push_words(target: Target, wanted: Form) -> list[str]:
    """Return the words of `docker push`."""
    return ["push", *(("--platform", wanted.selected) if wanted.selected else ()), target.reference]


def verified_digest(target: Target, wanted: Form) -> str:
    """Return the digest that the registry has for a tag; DockerutilsError if that is not what docker pushed.

    If only the engine can reach the registry, return the digest that docker prints, with a warning.
    """
    found = _manifest(target)
    record = engine.inspect([target.reference]).get(target.reference, {})
    pushed = engine_digests(target.reference, record)
    if found is None:
        # With the containerd store, what was pushed can be a part of what the engine has.
        is_known = len(pushed) == 1 and engine.image_store_of(record) != engine.CONTAINERD
        return pushed.pop() if is_known else _digest_of_push(target, wanted)
    if pushed and found.digest not in pushed:
        # Docker pushes the manifest of one platform if that is selected, or all that the engine has of an index.
        single = engine.manifest_digest(target.reference, record, wanted.selected)
        if found.digest != single:
            raise DockerutilsError(
                f"{target.host} has {found.digest} for {target.reference}, but docker pushed "
                f"{single if wanted.selected else ', '.join(sorted(pushed))}; check who else pushes this tag, and "
                "publish again"
            )
    _require_form(target, found, wanted)
    return found.digest


def refuses_login(target: Target) -> bool:
    """Return whether the registry says that the login is wrong, or that there is none; False if it cannot be asked."""
    try:
        client, login = _client(target)
        return client is not None and client.refuses_login(push_needs_one=login is None)
    except DockerutilsError:
        return False


def _require_form(target: Target, found: Manifest, wanted: Form) -> None:
    if wanted.is_docker and found.media_type != _DOCKER_MANIFEST:
        raise DockerutilsError(
            f"{target.host} has {target.reference} as {found.media_type}, not as a plain Docker manifest; "
            f"run: {wanted.remedy}"
        )
    if not wanted.platforms or (len(wanted.platforms) == 1 and not found.platforms):
        return
    if set(found.platforms) != set(wanted.platforms):
        others = " and ".join(found.platforms) or "one platform"
        is_one = len(wanted.platforms) == 1
        advice = f"publish it with --platform {wanted.platforms[0]}" if is_one else f"run: {wanted.remedy}"
        raise DockerutilsError(
            f"{target.host} has {target.reference} for {others}, not for {' and '.join(wanted.platforms)}; {advice}"
        )


def engine_digests(reference: str, record: engine.Record) -> set[str]:
    """Return the digests that the engine knows of an image in the repository of a reference."""
    pairs = (each.split("@") for each in record.get("RepoDigests") or ())
    name = engine.familiar(references.split(reference)[0])
    return {digest for repository, digest in pairs if repository == name}


def _digest_of_push(target: Target, wanted: Form) -> str:
    """Return the digest that docker prints when it pushes again, which sends nothing."""
    words = ["docker", "--config", target.env["DOCKER_CONFIG"], *push_words(target, wanted)]
    if found := re.search(r"\bdigest: (sha256:[0-9a-f]{64})", process.capture(words).stdout):
        return found[1]
    raise DockerutilsError(f"{target.reference} was pushed, but docker did not print its digest; ask the registry")


def _manifest(target: Target) -> Manifest | None:
    """Return what the registry has for the tag, None if it cannot be reached from here."""
    client, _ = _client(target)
    if client is None:
        target.warn(
            f"{target.host} is a registry on the engine's machine; the digest of {target.reference} is the engine's"
        )
        return None
    from dockerutils.registries import http  # late: urllib is slow, and only few pushes need it

    try:
        return client.manifest(references.split(target.reference)[1])
    except http.Unreachable as error:
        target.warn(f"{str(error).partition('; ')[0]}; the digest of {target.reference} is the engine's")
        return None


def _client(target: Target) -> tuple[Client | None, credentials.Login | None]:
    """Return a client for the repository and its login; no client for a registry that only the engine reaches."""
    from dockerutils.registries import client, http  # late, as above

    project = target.project
    host, name = references.split_registry(references.split(target.reference)[0])
    is_far = project.docked or engine.local_socket(project.environ) is None
    if is_far and http.is_local(host.partition(":")[0]):
        return None, None
    login = credentials.stored(host, {**project.environ, **target.env})
    return client.Client(host, name, login, target.warn), login
