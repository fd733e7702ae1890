"""Read the files of an engine's classic image store directly: `docker save` first copies the whole image.

No trust is needed: layers are identified by their sha256, which the engine that loads them checks. The layout has been
the same since Docker 1.10: https://github.com/moby/moby, `layer/filestore.go`, `image/fs.go`. How the tar file of a
layer is rebuilt from its files: https://github.com/vbatts/tar-split.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial

from dockerutils.transfer.archive import Image
from dockerutils.transfer.layers import CHUNK, Layer, Unavailable, Write, chain_ids

_DRIVER = "overlay2"
_SEGMENT = 2  # a literal piece of the tar file; the other type is the content of a file


def read(root: str, driver: str, image_id: str, diff_ids: Sequence[str]) -> Image:
    """Return an image of the store in the directory `root`; Unavailable if it cannot be read from here.

    `driver` is the engine's storage driver, `image_id` the digest of the configuration.
    """
    if driver != _DRIVER:
        raise Unavailable(f"the files of the storage driver {driver or 'of that engine'} cannot be read")
    try:
        with open(os.path.join(root, "image", driver, "imagedb", "content", *image_id.split(":")), "rb") as stream:
            config = stream.read()
        layers = [_layer(root, *each) for each in zip(diff_ids, chain_ids(diff_ids), strict=True)]
    except (OSError, ValueError) as error:
        raise Unavailable(f"the files of the engine here cannot be read: {error}") from error
    return Image(config, layers)


def _layer(root: str, diff_id: str, chain_id: str) -> Layer:
    metadata = os.path.join(root, "image", _DRIVER, "layerdb", *chain_id.split(":"))
    with open(os.path.join(metadata, "cache-id"), encoding="ascii") as stream:
        files = os.path.join(root, _DRIVER, stream.read().strip(), "diff")
    record = os.path.join(metadata, "tar-split.json.gz")
    size = sum(len(part) if isinstance(part, bytes) else part[1] for part in _parts(record))
    os.stat(files)
    return Layer(diff_id, size, partial(_copy, record, files))


def _parts(record: str) -> Iterator[bytes | tuple[bytes, int]]:
    """Yield the parts of a layer's tar file in order: literal pieces, and files by name and size."""
    with gzip.open(record) as stream:
        for line in stream:
            part = json.loads(line)
            if part["type"] == _SEGMENT:
                yield base64.b64decode(part["payload"] or "")
            elif size := part.get("size"):
                # A name that is not UTF-8 is in name_raw.
                name = part.get("name")
                yield (os.fsencode(name) if name else base64.b64decode(part["name_raw"])), size


def _copy(record: str, files: str, sink: Write) -> None:
    for chunk in _content(record, files):
        sink(chunk)


def _content(record: str, files: str) -> Iterator[bytes]:
    try:
        tree = _Tree(os.fsencode(os.path.realpath(files)))
        for part in _parts(record):
            if isinstance(part, bytes):
                yield part
            else:
                yield from tree.read(*part)
    except (OSError, ValueError) as error:  # the image was removed meanwhile
        raise Unavailable(str(error)) from error


class _Tree:
    """The files of a layer. Symbolic links are not followed: they could lead out of the store."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._seen: set[bytes] = set()

    def read(self, name: bytes, size: int) -> Iterator[bytes]:
        """Yield the content of a file."""
        path = os.path.normpath(self._root + b"/" + name)
        directory = os.path.dirname(path)
        if directory not in self._seen:
            inside = path.startswith(self._root + b"/")
            if not inside or os.path.realpath(directory) != directory:
                raise Unavailable(os.fsdecode(path))
            self._seen.add(directory)
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as stream:
            left = size
            while left and (chunk := stream.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
        if left:
            raise Unavailable(os.fsdecode(path))
