"""Logging in at registries without a trace: in a docker configuration of the run's own, which is gone after it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dockerutils.errors import DockerutilsError, Terminated

HUB = "docker.io"

# The name that docker keeps Docker Hub's credentials under.
_HUB_KEY = "https://index.docker.io/v1/"
_FILE = "config.json"


def registry(reference: str) -> str:
    """Return the registry of an image's reference, `host[:port]`, by docker's rule: HUB when it names none.

    The rule: https://github.com/distribution/reference, `splitDockerDomain`.
    """
    host, slash, _ = reference.partition("/")
    named = slash and ("." in host or ":" in host or host == "localhost" or host != host.lower())
    return host if named and host not in (HUB, f"index.{HUB}") else HUB


@contextmanager
def private(environ: Mapping[str, str], registries: Iterable[str]) -> Iterator[dict[str, str]]:
    """Give the variables that make docker use a configuration directory of its own for the time of the block.

    All settings of the user's hold in it, but credentials for `registries` (as `registry` returns them) are written
    into it and nowhere else, whatever store the user has configured. Its file is described at
    https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties.
    """
    import tempfile

    users_own = os.path.abspath(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))
    directory = tempfile.mkdtemp(prefix="dockerutils-")  # 0700
    try:
        _furnish(directory, users_own, list(registries))
        yield {"DOCKER_CONFIG": directory}
    finally:
        _remove(directory)


def _furnish(directory: str, users_own: str, registries: list[str]) -> None:
    """Copy the user's file, and link all else: plugins, contexts, builders, keys of TLS and of content trust."""
    if os.path.isdir(users_own):
        for name in os.listdir(users_own):
            if name != _FILE:
                os.symlink(os.path.join(users_own, name), os.path.join(directory, name))
    settings = _read(os.path.join(users_own, _FILE))
    if settings is None and not registries:
        return
    settings = settings or {}
    if registries:
        # The helper without a name is the file itself.
        own = {_HUB_KEY if each == HUB else each: "" for each in registries}
        settings["credHelpers"] = {**(settings.get("credHelpers") or {}), **own}
    _write(os.path.join(directory, _FILE), settings)


def _read(path: str) -> dict[str, Any] | None:
    """Return the settings in docker's file; None when there is no file."""
    import json

    try:
        with open(path, encoding="utf-8") as stream:
            settings = json.load(stream)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DockerutilsError(f"{path} cannot be read: {error}; mend it, or remove it") from None
    if not isinstance(settings, dict):
        raise DockerutilsError(f"{path} holds no JSON object; mend it, or remove it")
    return settings


def _write(path: str, settings: Mapping[str, Any]) -> None:
    import json

    # It holds the user's credentials: for nobody else from the first moment on.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(settings, stream)


def _remove(directory: str) -> None:
    """Remove the directory; a second Ctrl-C, of somebody impatient, does not keep it."""
    import shutil

    try:
        shutil.rmtree(directory)
    except (KeyboardInterrupt, Terminated):
        shutil.rmtree(directory, ignore_errors=True)
        raise
