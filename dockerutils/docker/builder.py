"""Which builder `docker build` uses: BuildKit, or the classic one, without the newer features of Dockerfiles.

https://docs.docker.com/build/buildkit/#getting-started: DOCKER_BUILDKIT decides; without it, clients from version 23 on
use BuildKit if its plugin is installed.
"""

from __future__ import annotations

from collections.abc import Mapping

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError

BUILDKIT, CLASSIC, UNKNOWN = "BuildKit", "classic", ""

_FIRST, _BUILDKIT_CLIENT = 17, 23  # versions of docker; podman, which can have its name, has lower ones


def find(environ: Mapping[str, str]) -> str:
    """Return BUILDKIT or CLASSIC; UNKNOWN if no engine answers, or if this is not docker."""
    probes = [
        ["docker", "version", "--format", "{{.Client.Version}} {{.Server.Version}}"],
        ["docker", "buildx", "version"],
    ]
    try:
        versions, plugin = process.capture_all(probes)
    except DockerutilsError:
        return UNKNOWN
    if versions.status:
        return UNKNOWN
    if chosen := environ.get("DOCKER_BUILDKIT"):
        return CLASSIC if chosen.lower() in {"0", "f", "false"} else BUILDKIT
    major = versions.stdout.partition(".")[0]
    if not major.isdigit() or int(major) < _FIRST:
        return UNKNOWN
    return BUILDKIT if int(major) >= _BUILDKIT_CLIENT and not plugin.status else CLASSIC
