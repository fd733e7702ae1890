"""A temporary docker configuration directory: new logins go there, and are removed with it.

The directory holds a locked file while its process runs. A process that was killed leaves an unlocked one, which the
next run removes.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from dockerutils.core.errors import Terminated
from dockerutils.docker.references import HUB
from dockerutils.registries.credentials import FILE, HUB_KEY, configuration_file, read

_PREFIX = "dockerutils-login-"
_LOCK = ".lock"


@contextmanager
def private(environ: Mapping[str, str], registries: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the variables that point docker at a temporary copy of the user's configuration.

    Logins for `registries` (see references.registry) are written to the copy only, whatever credential store the user
    has configured. The copy is removed when the block ends.
    """
    _remove_stale()
    directory, lock = _make_locked()
    with lock:
        try:
            _fill(directory, configuration_file(environ), list(registries))
            yield {"DOCKER_CONFIG": directory}
        finally:
            _remove(directory)


def _make_locked() -> tuple[str, IO[str]]:
    """Return a new directory, and its file that is locked until it is closed."""
    while True:
        directory = tempfile.mkdtemp(prefix=_PREFIX)  # mode 0700
        # Another run that finds the directory before it is locked removes it: then make another one.
        with suppress(FileNotFoundError):
            lock = open(os.path.join(directory, _LOCK), "x", encoding="utf-8")  # noqa: SIM115 - the caller closes it
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _exists(lock):
                return directory, lock
            lock.close()


def _exists(file: IO[str]) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    return False


def _remove_stale() -> None:
    """Remove this user's directories whose process has ended without removing them."""
    for directory in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), f"{_PREFIX}*")):
        with suppress(OSError):
            if os.lstat(directory).st_uid != os.geteuid():
                continue
            with open(os.path.join(directory, _LOCK), "r+", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory)


def _fill(directory: str, users_file: str, registries: list[str]) -> None:
    """Copy the user's file, and link everything else: plugins, contexts, builders, TLS and content trust keys."""
    users_own = os.path.dirname(users_file)
    if os.path.isdir(users_own):
        for name in os.listdir(users_own):
            if name not in (FILE, _LOCK):
                os.symlink(os.path.join(users_own, name), os.path.join(directory, name))
    settings = read(users_file)
    if settings is None and not registries:
        return
    settings = settings or {}
    if registries:
        # An empty helper name means the file itself.
        own = {HUB_KEY if each == HUB else each: "" for each in registries}
        settings["credHelpers"] = {**(settings.get("credHelpers") or {}), **own}
    _write(os.path.join(directory, FILE), settings)


def _write(path: str, settings: Mapping[str, Any]) -> None:
    # It contains credentials: create it with its final mode.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(settings, stream)


def _remove(directory: str) -> None:
    """Remove the directory, even if a second signal arrives meanwhile."""
    try:
        shutil.rmtree(directory)
    except (KeyboardInterrupt, Terminated):
        shutil.rmtree(directory, ignore_errors=True)
        raise
