"""Write a file whole or not at all, provide a copy of a file for the duration of a block, find base directories."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

_MARK = b"# Copied from %s by dockerutils and deleted after the build. Edit that file, not this one.\n"

_BASE_DIRECTORIES = {"CONFIG": ".config", "DATA": ".local/share", "STATE": ".local/state"}


def base_directory(kind: str, environ: Mapping[str, str], home: str) -> str:
    """Return the user's directory for CONFIG, DATA or STATE, by the XDG specification; a relative path is ignored.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    path = environ.get(f"XDG_{kind}_HOME", "")
    return path if os.path.isabs(path) else os.path.join(home, _BASE_DIRECTORIES[kind])


def write(path: str, text: str, mode: int | None = None, owner: os.stat_result | None = None) -> None:
    """Replace the content of `path` with `text` in UTF-8. Readers see the old file or the new one, never a part.

    Surrogate escapes become the bytes that they represent. Without `mode`, the file gets the default permissions of
    new files. Without `owner`, the current user owns it.
    """
    temporary = _name_beside(path)
    with open(temporary, "x", encoding="utf-8", errors="surrogateescape") as stream:
        try:
            if owner and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.replace(temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


@contextmanager
def temporary_copy(template: str, path: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Provide a copy of `template` at `path` during the block. Do nothing without a template.

    The copy has the permissions of the template, and a comment on its first line marks it. A file without that mark
    belongs to the user and stays as it is. Processes that need the copy at the same time share it through a lock on
    it, and the last one deletes it. A marked copy that differs from the template is replaced; if another process
    still uses it, call `on_wait` and wait until it does not.
    """
    copy = _take(template, path, on_wait) if os.path.isfile(template) else None
    try:
        yield
    finally:
        if copy is not None:
            _release(copy, path)


def is_copy(path: str, template: str) -> bool:
    """Return whether the file at `path` is a temporary copy of `template`, a file in the same directory."""
    mark = _mark(template)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            return stream.read(len(mark)) == mark
    except OSError:
        return False


def _mark(template: str) -> bytes:
    return _MARK % os.fsencode(os.path.basename(template))


def _name_beside(path: str) -> str:
    """Return the name of a temporary file in the directory of `path`.

    A process id would not be unique: containers that share a directory can have the same one.
    """
    return os.path.join(os.path.dirname(path), f".dockerutils-{os.urandom(8).hex()}.tmp")


def _take(template: str, path: str, on_wait: Callable[[], None]) -> int | None:
    """Create the copy, or join the one that exists, and return its descriptor, which holds a shared lock.

    Return None if the file at `path` is not a copy.
    """
    mark = _mark(template)
    with open(template, "rb") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        wanted = mark + stream.read()
    while True:
        try:
            present = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            with suppress(FileExistsError):
                return _create(path, wanted, mode, _link)
            continue
        except OSError:  # a symbolic link, or a file that this user cannot read
            return None
        status = os.fstat(present)
        found = os.read(present, max(status.st_size, len(wanted))) if stat.S_ISREG(status.st_mode) else b""
        is_copy = found.startswith(mark)
        is_current = (found, stat.S_IMODE(status.st_mode)) == (wanted, mode)
        if is_copy and _wait_for(present, fcntl.LOCK_SH if is_current else fcntl.LOCK_EX, on_wait, path):
            if is_current:
                return present
            replacement = _create(path, wanted, mode, os.replace)
            os.close(present)
            return replacement
        os.close(present)
        if not is_copy:
            return None


def _create(path: str, content: bytes, mode: int, publish: Callable[[str, str], None]) -> int:
    """Write a file beside `path`, lock it, and let `publish` give it that name; return its descriptor."""
    temporary = _name_beside(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(content)
        os.fchmod(descriptor, mode)
        _lock(descriptor, fcntl.LOCK_SH)
        publish(temporary, path)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return descriptor


def _link(temporary: str, path: str) -> None:
    """Give a file a second name; FileExistsError if that exists."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # this file system has no hard links
        os.rename(temporary, path)


def _release(copy: int, path: str) -> None:
    """Delete the copy unless another process still uses it."""
    if _lock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB) and _is_at(copy, path):
        os.unlink(path)
    os.close(copy)


def _wait_for(copy: int, operation: int, on_wait: Callable[[], None], path: str) -> bool:
    """Lock the copy and return whether it is still at `path`: the process that held the lock can have deleted it."""
    if not _lock(copy, operation | fcntl.LOCK_NB):
        on_wait()
        _lock(copy, operation)
    return _is_at(copy, path)


def _lock(descriptor: int, operation: int) -> bool:
    """Lock a file and return whether that succeeded; a file system without locks counts as a success."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(descriptor: int, path: str) -> bool:
    """Return whether `path` is the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
