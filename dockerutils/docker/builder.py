"""Which builder `docker build` uses: BuildKit, or the classic one, without the newer features of Dockerfiles.

https://docs.docker.com/build/buildkit/#getting-started: DOCKER_BUILDKIT decides; without it, clients from version 23 on
use BuildKit if its plugin is installed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError

BUILDKIT, CLASSIC, UNKNOWN = "BuildKit", "classic", ""

_FIRST, _BUILDKIT_CLIENT = 17, 23  # versions of docker; podman, which can have its name, has lower ones


def find(environ: Mapping[str, str]) -> str:
    """Return BUILDKIT or CLASSIC; UNKNOWN if no engine answers, or if this is not docker."""
    return _ask(environ)[0]


def has_bake(environ: Mapping[str, str]) -> bool:
    """Return whether `docker build` uses BuildKit, and its plugin is installed, which has `docker buildx bake`."""
    return _ask(environ) == (BUILDKIT, True)


def selection(environ: Mapping[str, str]) -> list[str]:
    """Return the option with which `docker buildx` uses the builder that `docker build` uses.

    That is the one of the current context, not the one that the user chose with `docker buildx use`, unless
    BUILDX_BUILDER names one or `docker buildx install` made buildx the builder of `docker build`.
    """
    configuration = _configuration(environ)
    aliases = configuration.get("aliases")
    if environ.get("BUILDX_BUILDER") or (isinstance(aliases, dict) and "builder" in aliases):
        return []
    context = environ.get("DOCKER_CONTEXT") or configuration.get("currentContext")
    return ["--builder", str(context or "default") if not environ.get("DOCKER_HOST") else "default"]


def _configuration(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the user's configuration of docker, an empty one if docker could not read it either."""
    import json  # late: few builds use it

    directory = environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as stream:
            read = json.load(stream)
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _ask(environ: Mapping[str, str]) -> tuple[str, bool]:
    """Return what `find` returns, and whether the plugin of BuildKit is installed."""
    probes = [
        ["docker", "version", "--format", "{{.Client.Version}} {{.Server.Version}}"],
        ["docker", "buildx", "version"],
    ]
    try:
        versions, plugin = process.capture_all(probes)
    except DockerutilsError:
        return UNKNOWN, False
    has_plugin = not plugin.status
    if versions.status:
        return UNKNOWN, has_plugin
    if chosen := environ.get("DOCKER_BUILDKIT"):
        return CLASSIC if chosen.lower() in {"0", "f", "false"} else BUILDKIT, has_plugin
    major = versions.stdout.partition(".")[0]
    if not major.isdigit() or int(major) < _FIRST:
        return UNKNOWN, has_plugin
    return BUILDKIT if int(major) >= _BUILDKIT_CLIENT and has_plugin else CLASSIC, has_plugin
