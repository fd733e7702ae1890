"""What builds for a platform, or with a Docker v2 manifest, need: an image store for them, and suitable bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import engine, options, platforms
from dockerutils.docker.options import BUILD
from dockerutils.project import dockerfile
from dockerutils.project.build_order import Base
from dockerutils.project.project import Image, Project

# BuildKit adds attestations and writes OCI manifests into the containerd store. The classic store writes neither.
_DOCKER_MANIFEST = ("--provenance=false", "--sbom=false", "--output", "type=image,oci-mediatypes=false")
# Options of docker build with which the result can go elsewhere.
_ELSEWHERE = {"builder", "output", "push"}


def manifest_options(project: Project, image: Image, words: Sequence[str]) -> list[str]:
    """Return the options of docker build that make a Docker v2 manifest, if the section of an image asks for one.

    `words` are the other options of its build.
    """
    wanted = ",".join(options.values(words, BUILD, "platform")).split(",")
    return [*_DOCKER_MANIFEST] if project.has_docker_manifest(image, wanted) and _is_stored(words) else []


def manifest_options_of_store(project: Project, image: Image, words: Sequence[str], *, dry_run: bool) -> list[str]:
    """Return `manifest_options` if the engine needs them: in the classic store every manifest is Docker's.

    For a dry run without an engine, the image store is containerd.
    """
    found = manifest_options(project, image, words)
    try:
        return found if found and engine.image_store() == engine.CONTAINERD else []
    except DockerutilsError:
        if not dry_run:
            raise
        return found


def require_store(words: Sequence[str]) -> None:
    """Raise DockerutilsError if these options of docker build need an image store that holds several platforms."""
    wanted = next((each for each in options.values(words, BUILD, "platform") if "," in each), "")
    if wanted and _is_stored(words) and (store := engine.image_store()) != engine.CONTAINERD:
        raise DockerutilsError(
            f"{wanted} are several platforms, and the engine's image store, {store}, holds one of an image; "
            f"name one (--platform {wanted.partition(',')[0]}), or let the engine use the containerd image store"
        )


def _is_stored(words: Sequence[str]) -> bool:
    """Return whether a build with these options puts its result into the engine's image store."""
    return not any(_ELSEWHERE.intersection(option.names) for option in options.parse(words, BUILD))


def require_bases(
    project: Project, image: Image, bases: Sequence[Base], present: Mapping[str, engine.Record], given: Sequence[str]
) -> None:
    """Raise DockerutilsError if the engine has a base of an image for other platforms only.

    `present` are the records of bases that the engine has, `given` the options of the request.
    """
    content = dockerfile.read(project.root, image.dockerfile)
    text = ",".join(options.values(project.build_options(image, given), BUILD, "platform"))
    if not text or any(each.keyword == "FROM" and any(each.flag("platform")) for each in content.instructions):
        return
    try:
        wanted = platforms.parse(text)
    except ValueError:  # docker has more words for platforms
        return
    for base in bases:
        record = present.get(base.reference)
        if record and (missing := engine.missing_platforms(base.reference, record, wanted)):
            build = f"{project.build_command(base.image)} --platform {text}"
            raise DockerutilsError(f"the base image {base.reference} is not for {' and '.join(missing)}; run: {build}")
