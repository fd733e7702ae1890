"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def write(path: str, text: str, mode: int | None = None, owner: os.stat_result | None = None) -> None:
    """Write `text` to `path` in UTF-8: who looks finds the old file or the new one, never a part.

    Bytes that are no UTF-8, read with `surrogateescape`, are written as they were. Without `mode` the file has the
    permissions that new files have; `owner` says whose it is to be, ours without it.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8", errors="surrogateescape") as stream:
            if owner and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            stream.write(text)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextmanager
def borrowed(template: str, path: str) -> Iterator[None]:
    """Let a copy of `template` stand at `path` for the time of the block, unless something stands there already.

    Nothing happens when there is no template. Only the file that was made here is removed.
    """
    made: os.stat_result | None = None
    try:
        if os.path.isfile(template):
            with open(template, "rb") as source, suppress(FileExistsError), open(path, "xb") as copy:
                made = os.fstat(copy.fileno())
                copy.write(source.read())
        yield
    finally:
        with suppress(FileNotFoundError):
            if made and os.path.samestat(made, os.lstat(path)):
                os.unlink(path)
