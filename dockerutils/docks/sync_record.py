"""What this machine remembers of the last sync with a dock, and the files that both sides have changed since.

The record, `~/.docker/<address>/sync-<project>`, is as old as the start of the last sync. It holds paths, separated by
NUL: the project's root, then the files that this sync skipped because they were newer where it copied to. A file here
that is older than the record and not in it is one that the dock had too, so it needs no backup when the dock's file
replaces it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from dockerutils.core import files
from dockerutils.docks import copy_state

BACKUPS = f"{copy_state.DIRECTORY}/replaced-here"  # in the project, until `keep_conflicts`
_SKIPPED = re.compile(rb"^\S+ \S+ \[\d+\] (.*) is newer$", re.MULTILINE)


class Record(NamedTuple):
    """When the last sync began, as seconds of the epoch, and the paths that differed after it."""

    time: float = 0.0
    different: frozenset[str] = frozenset()


def log(project: str, directory: str) -> str:
    """Return the path of the file to which rsync logs what it skips."""
    return f"{_path(project, directory)}.log"


def remove_log(project: str, directory: str) -> None:
    """Remove the log of the last sync: rsync would append to it."""
    with suppress(FileNotFoundError):
        os.unlink(log(project, directory))


def read(project: str, directory: str, root: str) -> Record:
    """Read the record of a project; an empty one if there is none, or if it is that of another checkout."""
    path = _path(project, directory)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            first, *others = stream.read().split("\0")
        return Record(os.stat(path).st_mtime, frozenset(others)) if first == root else Record()
    except FileNotFoundError:
        return Record()


def write(project: str, directory: str, root: str, start: float) -> None:
    """Write the record of a sync that began at `start` and has ended well."""
    path = _path(project, directory)
    try:
        with open(log(project, directory), "rb") as stream:
            skipped = [os.fsdecode(unescaped(name)) for name in _SKIPPED.findall(stream.read())]
    except FileNotFoundError:  # a sync that overwrites newer files skips none
        skipped = []
    files.write(path, "\0".join([root, *skipped]), mode=0o600)
    os.utime(path, (start, start))


def keep_conflicts(root: str, record: Record) -> list[tuple[str, str]]:
    """Put back, under another name, each file that rsync replaced here and that was changed here; remove the others.

    Return the paths, and the names that the files have now.
    """
    backups = os.path.join(root, BACKUPS)
    kept = []
    for path in sorted(_files(backups)):
        backup = os.path.join(backups, path)
        if os.lstat(backup).st_mtime > record.time or path in record.different:
            name = _free_name(root, path)
            os.rename(backup, os.path.join(root, name))
            kept.append((path, name))
    import shutil  # late: it imports bz2 and lzma, 2 ms of each docked command

    shutil.rmtree(backups, ignore_errors=True)
    with suppress(OSError):  # it does not exist, or this project is itself a copy, with a state
        os.rmdir(os.path.dirname(backups))
    return kept


def unescaped(name: bytes) -> bytes:
    """Return a name in which rsync has written some bytes as octal numbers."""
    return re.sub(rb"\\#([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), name)


def _files(directory: str) -> Iterator[str]:
    for parent, directories, names in os.walk(directory):
        links = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        for name in [*names, *links]:
            yield os.path.relpath(os.path.join(parent, name), directory)


def _free_name(root: str, path: str) -> str:
    number = 1
    while os.path.lexists(os.path.join(root, name := f"{path}~{number if number > 1 else ''}")):
        number += 1
    return name


def _path(project: str, directory: str) -> str:
    return os.path.join(directory, f"sync-{project}")
