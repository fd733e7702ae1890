"""What the docker engine says when it is asked, and what its refusals mean to the user."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dockerutils.core import complaints, process
from dockerutils.core.errors import DockerutilsError

Record = dict[str, Any]

_NO_IMAGE = "none:none"  # docker wants to be asked for one at least

_PATIENCE = 5.0  # seconds that a socket may take to answer


def require() -> str:
    """Return the version of the engine that answers; DockerutilsError tells why none does."""
    answer = process.capture(["docker", "version", "--format", "{{.Server.Version}}"])
    if answer.status:
        raise refusal(answer.stderr)
    return answer.stdout.strip()


def has_image(reference: str, environ: Mapping[str, str]) -> bool:
    """Tell whether the engine has an image; DockerutilsError when no engine answers.

    An engine of this machine is asked at its socket: starting docker to ask would take longer than all else that
    stands between a user and a container. Docker is asked when that did not say yes, and has the word on what is wrong.
    """
    socket = local_socket(environ)
    if socket and _socket_has_image(socket, reference):
        return True
    answer = process.capture(_inspection([reference]))
    if answer.status and not complaints.are_missing_images(answer.stderr):
        raise refusal(answer.stderr)
    return not answer.status


def local_socket(environ: Mapping[str, str]) -> str | None:
    """Return the path of the Unix socket that docker talks to, None when it talks to something else.

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


def _socket_has_image(path: str, reference: str) -> bool:
    """Ask as https://docs.docker.com/reference/api/engine/ has it; False is no answer."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(path)
            connection.sendall(f"GET /images/{reference}/json HTTP/1.0\r\n\r\n".encode())
            return connection.recv(len("HTTP/1.0 200")).endswith(b" 200")
    except OSError:
        return False


def inspect(references: Iterable[str]) -> dict[str, Record]:
    """Return what the engine knows of those of the images that it has, by reference.

    The records are those of `docker image inspect`; DockerutilsError when no engine answers.
    """
    wanted = list(references)
    return _records(wanted, process.capture(_inspection(wanted))) if wanted else {}


def tags(repository: str) -> list[str]:
    """Return the tags that the engine has of a repository; DockerutilsError when no engine answers."""
    answer = process.capture(["docker", "image", "ls", "--format", "{{.Tag}}", "--", familiar(repository)])
    if answer.status:
        raise refusal(answer.stderr)
    return [tag for tag in answer.stdout.split() if tag != "<none>"]


def survey(references: Iterable[str]) -> tuple[dict[str, Record], list[str]]:
    """Return what `inspect` does, and the image of each running container as the container was given it."""
    wanted = list(references)
    containers = ["docker", "ps", "--no-trunc", "--format", "{{.Image}}"]
    inspected, running = process.capture_all([_inspection(wanted or [_NO_IMAGE]), containers])
    if running.status:
        raise refusal(running.stderr)
    return _records(wanted, inspected), running.stdout.split()


def _inspection(references: Sequence[str]) -> list[str]:
    return ["docker", "image", "inspect", "--", *references]


def _records(wanted: Sequence[str], answer: process.Captured) -> dict[str, Record]:
    if answer.status and not complaints.are_missing_images(answer.stderr):
        raise refusal(answer.stderr)
    import json

    records = [(_tags(record), record) for record in json.loads(answer.stdout)]
    found = ((name, next((record for tags, record in records if familiar(name) in tags), None)) for name in wanted)
    return {name: record for name, record in found if record is not None}


def _tags(record: Record) -> set[str]:
    return set(record["RepoTags"] or ())


def familiar(reference: str) -> str:
    """Return a reference as the engine's records spell it: without the host and name space that docker assumes."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def refusal(stderr: str) -> DockerutilsError:
    """Return what docker's stderr means as an error: what is wrong; what to do."""
    return DockerutilsError(complaints.explain(stderr))
