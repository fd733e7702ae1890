"""Paths that runs on a dock mount and that `.dockerignore` keeps out of builds: they are copied all the same.

Each sync copies what any run has mounted: what a sync leaves out, it cannot tell from what both sides have.
`~/.docker/<address>/mounts-<project>` records the paths here, because a dock does not decide which files are sent or
fetched. It holds, separated by NUL, the project's root, and each path with its size in bytes when it was copied.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from dockerutils.core import console, files
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docks.project_copy import Copy
from dockerutils.project.dockerignore import Ignore

ASKED = 10**9  # bytes; more than that is not sent unasked


def read(copy: Copy) -> dict[str, int]:
    """Return the paths, from the root, that runs on the dock have mounted, and their sizes when they were copied."""
    try:
        with open(_file(copy), encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            root, *fields = stream.read().split("\0")
    except FileNotFoundError:
        return {}
    sizes = {path: int(size) for path, size in zip(fields[::2], fields[1::2], strict=True)}
    return sizes if root == copy.project.root else {}


def add(copy: Copy, ignore: Ignore, paths: Iterable[str], *, yes: bool) -> None:
    """Record those of the paths that `ignore` keeps out; ask first if much has to be sent, unless `yes`.

    UserError if there is no terminal to ask on, DockerutilsError if the answer is no.
    """
    before = read(copy)
    sizes = _sizes(copy, filter(ignore.leaves_out, paths))
    for path, size in sizes.items():
        if not yes and size - before.get(path, 0) > ASKED:
            _ask(copy, path, size)
    _write(copy, before, {**before, **sizes})


@contextmanager
def fetching(copy: Copy) -> Iterator[None]:
    """Take note of what the block fetches into the recorded paths: it does not have to be sent."""
    before = _sizes(copy, read(copy))
    yield
    recorded = read(copy)
    after = _sizes(copy, recorded)
    _write(copy, recorded, {path: size + after[path] - before.get(path, 0) for path, size in recorded.items()})


def _ask(copy: Copy, path: str, size: int) -> None:
    what, dock = f"{path} ({size / 1e9:.1f} GB)", f"dock {copy.dock.moniker}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(
            f"{what} was not sent to {dock} and nothing was run, because there is no terminal to ask on; "
            "add -y to send it"
        )
    if not console.agreed(f"{what} is mounted, and .dockerignore keeps it out of builds; send it to {dock}?"):
        raise DockerutilsError(
            f"{path} was not sent and nothing was run; to mount other files of the dock instead, set volumes_docked"
        )


def _sizes(copy: Copy, paths: Iterable[str]) -> dict[str, int]:
    return {path: _size(os.path.join(copy.project.root, path)) for path in paths}


def _size(path: str) -> int:
    """Return the bytes of a file, or of the files below a directory; 0 if there is none."""
    with suppress(OSError):
        if os.path.islink(path) or not os.path.isdir(path):
            return os.lstat(path).st_size
        with os.scandir(path) as entries:
            return sum(
                _size(entry.path) if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_size
                for entry in entries
            )
    return 0


def _write(copy: Copy, before: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    if sizes != before:
        fields = (field for path, size in sizes.items() for field in (path, str(size)))
        files.write(_file(copy), "\0".join([copy.project.root, *fields]), mode=0o600)


def _file(copy: Copy) -> str:
    return os.path.join(copy.records, f"mounts-{copy.project.name}")
