"""Questions to the Docker Engine: its version, its images and containers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import platforms

Record = dict[str, Any]

CONTAINERD = "containerd"  # an image store; the classic ones have the names of their storage drivers

# Labels of runs and services: their project and image, who started them, and in which checkout.
PROJECT, IMAGE, USER, ORIGIN = (f"dockerutils.{name}" for name in ("project", "image", "user", "origin"))

_NO_IMAGE = "none:none"  # docker image inspect needs an argument
_NO_PLATFORM = "does not (?:provide|match) the specified platform"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_THOUSAND = 1000

_TIMEOUT = 5.0  # seconds for the socket to answer


def require(environ: Mapping[str, str]) -> None:
    """Raise DockerutilsError, which says why, if no engine answers. Ask its socket first, as `has_image` does."""
    socket = local_socket(environ)
    if socket and _socket_agrees(socket, "/_ping", environ):
        return
    answer = process.capture(["docker", "version", "--format", "{{.Server.Version}}"])
    if answer.status:
        raise refusal(answer.stderr)


def has_image(reference: str, environ: Mapping[str, str]) -> bool:
    """Return whether the engine has an image; DockerutilsError if no engine answers.

    A local engine is asked at its socket first: to start docker for that would take longer than the rest of run-image.
    Any answer but yes is checked with docker, which also reports errors.
    """
    socket = local_socket(environ)
    if socket and _socket_agrees(socket, f"/images/{reference}/json", environ):
        return True
    answer = process.capture(_inspection([reference]))
    _require_answer(answer)
    return not answer.status


def platforms_of(reference: str) -> tuple[str | None, str]:
    """Return the platform of an image and that of the engine, such as linux/amd64 and linux/x86_64.

    The platform of the image is None if the engine does not have it; that of the engine is "" if unknown.
    DockerutilsError if no engine answers.
    """
    records = _records([reference], process.capture(_inspection([reference])))
    if not records:
        return None, ""
    # Not at the same time: two clients would open two connections to a dock.
    answer = process.capture(["docker", "info", "--format", "{{.OSType}}/{{.Architecture}}"])
    return _platform(records[reference]), "" if answer.status else answer.stdout.strip()


def local_socket(environ: Mapping[str, str]) -> str | None:
    """Return the path of the Unix socket that docker connects to, None if it connects to something else.

    The order is docker's: DOCKER_HOST, DOCKER_CONTEXT, the configuration's current context, the default.
    """
    if host := environ.get("DOCKER_HOST"):
        return host.removeprefix("unix://") if host.startswith("unix://") else None
    directory = environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(directory, "config.json"), encoding="utf-8", errors="replace") as stream:
            has_context = "currentContext" in stream.read()
    except OSError:
        has_context = False
    return None if has_context or environ.get("DOCKER_CONTEXT") else "/var/run/docker.sock"


def is_manager(socket: str, environ: Mapping[str, str]) -> bool:
    """Return whether the engine at a socket is a manager of a swarm; False also if none answers."""
    return _socket_agrees(socket, "/swarm", environ)


def _socket_agrees(path: str, resource: str, environ: Mapping[str, str]) -> bool:
    """Return whether the engine has a resource, in the user's version of the API; False also if nothing answers.

    The API: https://docs.docker.com/reference/api/engine/ (ImageInspect, SystemPing).
    """
    import socket  # late: only some commands ask the engine

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(path)
            version = environ.get("DOCKER_API_VERSION")
            prefix = f"/v{version}" if version else ""
            connection.sendall(f"GET {prefix}{resource} HTTP/1.0\r\n\r\n".encode())
            return connection.recv(len("HTTP/1.0 200")).endswith(b" 200")
    except OSError:
        return False


def inspect(references: Iterable[str]) -> dict[str, Record]:
    """Return the records of those images that the engine has, by reference, as `docker image inspect` prints them.

    DockerutilsError if no engine answers.
    """
    wanted = list(references)
    return _records(wanted, process.capture(_inspection(wanted))) if wanted else {}


def inspect_one(reference: str) -> Record | None:
    """Return the record of an image, which a tag, a digest or an id names; None if the engine does not have it."""
    import json  # late, as socket

    answer = process.capture(_inspection([reference]))
    _require_answer(answer)
    records: list[Record] = [] if answer.status else json.loads(answer.stdout)
    return records[0] if records else None


def tags(repository: str) -> list[str]:
    """Return the tags of a repository's images on the engine; DockerutilsError if no engine answers."""
    answer = process.capture(["docker", "image", "ls", "--format", "{{.Tag}}", "--", familiar(repository)])
    if answer.status:
        raise refusal(answer.stderr)
    return [tag for tag in answer.stdout.split() if tag != "<none>"]


def survey(references: Iterable[str]) -> tuple[dict[str, Record], list[str]]:
    """Return the records as `inspect` does, and the image of each running container, as `references` spells it.

    A record's Size is that of `docker image ls`: with the containerd store `docker image inspect` has another one.
    """
    wanted = list(dict.fromkeys(references))
    containers = ["docker", "ps", "--no-trunc", "--format", "{{.Image}}"]
    listing = ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}\t{{.Size}}"]
    inspected, running, listed = process.capture_all([_inspection(wanted or [_NO_IMAGE]), containers, listing])
    if running.status:
        raise refusal(running.stderr)
    records = _records(wanted, inspected)
    for line in listed.stdout.splitlines():
        name, _, size = line.partition("\t")
        for each in records:
            if _is_same(name, each):
                records[each] = {**records[each], "Size": _more_exact(records[each]["Size"], size)}
    used = [next((each for each in wanted if _is_same(name, each)), name) for name in running.stdout.split()]
    return records, used


def image_store() -> str:
    """Return the engine's image store: CONTAINERD, or a storage driver such as overlay2.

    DockerutilsError if no engine answers.
    """
    answer = process.capture(["docker", "info", "--format", "{{.Driver}} {{json .DriverStatus}}"])
    driver = answer.stdout.split()
    if answer.status or not driver:
        raise refusal(answer.stderr)
    return CONTAINERD if "io.containerd.snapshotter" in answer.stdout else driver[0]


def image_store_of(record: Record) -> str | None:
    """Return the image store that the record of an image comes from, None if the record does not say."""
    # There an image has the digest of what is pushed and pulled; in the classic stores that of its configuration.
    if any(each.endswith(f"@{record['Id']}") for each in record.get("RepoDigests") or ()):
        return CONTAINERD
    return (record.get("GraphDriver") or {}).get("Name")


def missing_platforms(reference: str, record: Record, wanted: Iterable[str]) -> list[str]:
    """Return the platforms that an image of the engine does not have. `record` is what `inspect` returned.

    Docker before 28 shows one platform of an image, although the containerd store can have more: all count as present.
    """
    others = [each for each in wanted if each != _platform(record)]
    if (record.get("GraphDriver") or {}).get("Data"):  # the classic store
        return others
    answers = process.capture_all([_inspection([reference], each) for each in others])
    return [each for each, answer in zip(others, answers, strict=True) if re.search(_NO_PLATFORM, answer.stderr)]


def manifest_digest(reference: str, record: Record, platform: str) -> str:
    """Return the digest of the manifest that an image has for a platform, by default that of its record.

    An empty string if docker, before 28, does not show it.
    """
    import json  # late, as socket

    answer = process.capture(_inspection([reference], platform or _platform(record)))
    try:
        return str(json.loads(answer.stdout)[0]["Descriptor"]["digest"])
    except (ValueError, LookupError, TypeError):
        return ""


def _platform(record: Record) -> str:
    """Return the platform in a record; of an image with several, that of the engine."""
    parts = (record.get(name) for name in ("Os", "Architecture", "Variant"))
    return platforms.normal("/".join(filter(None, parts)))


def human_size(size: float) -> str:
    """Return a size in bytes as docker writes it."""
    unit = 0
    while size >= _THOUSAND and unit < len(_UNITS) - 1:
        size, unit = size / _THOUSAND, unit + 1
    return f"{size:.3g}{_UNITS[unit]}"


def _more_exact(size: int, listed: str) -> int:
    """Return `size` if docker lists it as `listed`, such as `1.99MB`, else the number of bytes in `listed`."""
    match = re.fullmatch(r"([\d.]+(?:e\+\d+)?) ?([kMGTP]?B)", listed)
    if match is None or human_size(size) == match[1] + match[2]:
        return size
    return round(float(match[1]) * float(_THOUSAND) ** _UNITS.index(match[2]))


def _inspection(references: Sequence[str], platform: str = "") -> list[str]:
    return ["docker", "image", "inspect", *(("--platform", platform) if platform else ()), "--", *references]


def _records(wanted: Sequence[str], answer: process.Captured) -> dict[str, Record]:
    _require_answer(answer)
    import json  # late, as socket

    try:
        records = [(record["RepoTags"] or (), record) for record in json.loads(answer.stdout)]
    except (ValueError, KeyError, TypeError, RecursionError):  # the engine ended meanwhile, or is not one
        raise DockerutilsError("docker image inspect printed no valid JSON; check the engine: docker info") from None
    return {name: record for name in wanted for tags, record in records if any(_is_same(tag, name) for tag in tags)}


def _is_same(tag: str, name: str) -> bool:
    """Return whether an engine's tag is the image `name`: podman puts localhost/ before the name of a local image."""
    return familiar(tag) in (familiar(name), f"localhost/{familiar(name)}")


def familiar(reference: str) -> str:
    """Return a reference as the engine spells it: without `docker.io/` and `library/`, which docker adds itself."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def _require_answer(answer: process.Captured) -> None:
    """Raise what docker's stderr means, unless it only says that there is no such image."""
    from dockerutils.core import complaints  # late: its table of patterns takes as long as the rest of this module

    if answer.status and not complaints.are_missing_images(answer.stderr):
        raise refusal(answer.stderr)


def refusal(stderr: str) -> DockerutilsError:
    """Return what docker's stderr means as an error: what is wrong; what to do."""
    from dockerutils.core import complaints  # late, as above

    return DockerutilsError(complaints.explain(stderr))
