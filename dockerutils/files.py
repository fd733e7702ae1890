"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def write(path: str, text: str) -> None:
    """Write `text` to `path` in UTF-8: who looks finds the old file or the new one, never a part."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
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
