"""Archives of images for `docker load`, without the layers that the destination has.

The format is an OCI image layout, https://github.com/opencontainers/image-spec/blob/main/image-layout.md, plus the
`manifest.json` of Docker's own format: engines from 1.10 on load one or the other. The classic image store skips
a layer that it has, in either format; the containerd store does so only in the OCI layout.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from tarfile import TarFile, TarInfo
from typing import IO, Any, NamedTuple, Protocol, cast

from dockerutils.transfer.layers import CHUNK, Delta, Layer, Write


class Image(NamedTuple):
    """An image as an engine stores it: its configuration and its layers, from the bottom.

    `manifest` is its manifest with its media type; without one, the layers are not compressed.
    """

    config: bytes
    layers: Sequence[Layer]
    manifest: tuple[str, bytes] | None = None


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most `size` bytes, none at the end."""


_BLOBS = "blobs/sha256/"
_BLOCK = 512
# The members that name the image. Engines read `repositories` only without manifest.json.
_NAMING, _OLD_NAMING = ("manifest.json", "index.json"), "repositories"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def write(image: Image, reference: str, delta: Delta, sink: Write) -> None:
    """Write the archive of an image with the layers that are missing; `reference` is its full name and tag there."""
    written = set(delta.omitted)
    for layer in image.layers:
        if layer.diff_id not in written:
            written.add(layer.diff_id)
            sink(_header(_blob(layer.digest), layer.size))
            layer.copy(sink)
            sink(bytes(-layer.size % _BLOCK))
    _finish(image, reference, sink)


def _finish(image: Image, reference: str, sink: Write) -> None:
    """Write the rest of an archive, after its layers."""

    def add(data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        _file(_blob(digest), data, sink)
        return digest

    config = add(image.config)
    kind, manifest = image.manifest or (_MANIFEST_TYPE, _manifest(image, config))
    index = _descriptor(kind, add(manifest), len(manifest), annotations=_names(reference))
    docker = {
        "Config": _blob(config),
        "RepoTags": [reference],
        "Layers": [_blob(layer.digest) for layer in image.layers],
    }
    for name, content in {
        "index.json": {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": [index]},
        "manifest.json": [docker],
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
    }.items():
        _file(name, json.dumps(content).encode(), sink)
    sink(bytes(2 * _BLOCK))


def _manifest(image: Image, config: str) -> bytes:
    """Return a manifest of layers that are not compressed."""
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": _descriptor(_CONFIG_TYPE, config, len(image.config)),
        "layers": [_descriptor(_LAYER_TYPE, layer.digest, layer.size) for layer in image.layers],
    }).encode()  # fmt: skip


def _descriptor(kind: str, digest: str, size: int, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size, **more}


def _names(reference: str) -> dict[str, str]:
    """Return the annotations by which the containerd store names an image."""
    return {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rpartition(":")[2]}


def _renamed(name: str, content: bytes, reference: str) -> bytes:
    """Return a member that names the image, with another name."""
    document = json.loads(content)
    if name == "manifest.json":
        document[0]["RepoTags"] = [reference]
    else:
        for each in document["manifests"]:
            each["annotations"] = each.get("annotations", {}) | _names(reference)
    return json.dumps(document).encode()


class _Spooled(NamedTuple):
    """Members of an archive in a temporary file, by name: the offset and size of each."""

    stream: IO[bytes]
    places: dict[str, tuple[int, int]]

    def add(self, name: str, source: IO[bytes]) -> None:
        """Copy a member from `source`."""
        start = self.stream.tell()
        for chunk in _chunks(source):
            self.stream.write(chunk)
        self.places[name] = start, self.stream.tell() - start

    def copy(self, name: str, sink: Write) -> None:
        """Write the content of a member to a sink."""
        for chunk in self.read(name):
            sink(chunk)

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the content of a member."""
        start, left = self.places[name]
        self.stream.seek(start)
        while left:
            chunk = self.stream.read(min(CHUNK, left))
            left -= len(chunk)
            yield chunk

    def json(self, name: str) -> Any:
        """Return a member that is JSON."""
        return json.loads(b"".join(self.read(name)))


def forward(saved: Readable, delta: Delta, reference: str, sink: Write) -> None:
    """Pass on the archive that `docker save` writes, without the layers that are present, as the image `reference`.

    Engines from 25 on name a layer by its digest, and write the manifest last. Layers whose names are not diff ids, as
    those of the containerd store, wait for the manifest in an unnamed temporary file. So do the layers of older
    engines, whose archive is converted to an OCI layout. (Hashing the layers to identify them takes longer than writing
    and reading the file.) ValueError: it is not an archive of an image.
    """
    try:
        if delta.present:
            _forward_missing(saved, delta, reference, sink)
        else:
            _forward_all(saved, reference, sink)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not an archive of an image: {error}") from error
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error


def _forward_all(saved: Readable, reference: str, sink: Write) -> None:
    with _opened(saved) as tar:
        for member in tar:
            if member.name in _NAMING:
                _file(member.name, _renamed(member.name, _content(tar, member).read(), reference), sink)
            elif not member.isreg():  # a directory or a link
                sink(member.tobuf())
            elif member.name != _OLD_NAMING:
                _member(member.name, member.size, _chunks(_content(tar, member)), sink)
    sink(bytes(2 * _BLOCK))


def _forward_missing(saved: Readable, delta: Delta, reference: str, sink: Write) -> None:
    # /tmp can be in memory, /var/tmp is not.
    with tempfile.TemporaryFile(dir=os.environ.get("TMPDIR") or "/var/tmp") as stream:  # noqa: S108
        spooled = _Spooled(stream, {})
        sizes, links = _sort(saved, delta, spooled, sink)
        manifest = spooled.json("manifest.json")[0]
        diff_ids = spooled.json(manifest["Config"])["rootfs"]["diff_ids"]
        paths = [links.get(path, path) for path in manifest["Layers"]]
        layers = [(path, diff_id, sizes[path]) for path, diff_id in zip(paths, diff_ids, strict=True)]
        if "index.json" not in spooled.places:
            own = [Layer(diff_id, size, partial(spooled.copy, path)) for path, diff_id, size in layers]
            write(Image(b"".join(spooled.read(manifest["Config"])), own), reference, delta, sink)
            return
        dropped = {_OLD_NAMING, *(path for path, diff_id, _ in layers if diff_id in delta.omitted)}
        for name, (_, size) in spooled.places.items():
            if name in _NAMING:
                _file(name, _renamed(name, b"".join(spooled.read(name)), reference), sink)
            elif name not in dropped:
                _member(name, size, spooled.read(name), sink)
        sink(bytes(2 * _BLOCK))


def _sort(saved: Readable, delta: Delta, spooled: _Spooled, sink: Write) -> tuple[dict[str, int], dict[str, str]]:
    """Pass on the layers that are missing, drop those that are present, and spool everything else.

    Return the sizes of the members, and the targets of those that are links to another member.
    """
    sizes, links = {}, {}
    with _opened(saved) as tar:
        for member in tar:
            sizes[member.name] = member.size
            digest = f"sha256:{member.name.removeprefix(_BLOBS)}"
            if member.issym():
                links[member.name] = posixpath.normpath(f"{posixpath.dirname(member.name)}/{member.linkname}")
            elif not member.isreg() or digest in delta.omitted:
                continue
            elif digest in delta.missing:
                _member(member.name, member.size, _chunks(_content(tar, member)), sink)
            else:
                spooled.add(member.name, _content(tar, member))
    return sizes, links


def _opened(saved: Readable) -> TarFile:
    return tarfile.open(fileobj=cast("IO[bytes]", saved), mode="r|", bufsize=CHUNK)


def _content(tar: TarFile, member: TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream  # a regular file
    return stream


def _chunks(stream: Readable) -> Iterator[bytes]:
    return iter(partial(stream.read, CHUNK), b"")


def _file(name: str, data: bytes, sink: Write) -> None:
    _member(name, len(data), [data], sink)


def _member(name: str, size: int, content: Iterable[bytes], sink: Write) -> None:
    """Write a member of a tar archive: its header, its content, and zeros up to a full block."""
    sink(_header(name, size))
    for chunk in content:
        sink(chunk)
    sink(bytes(-size % _BLOCK))


def _header(name: str, size: int) -> bytes:
    member = TarInfo(name)
    member.size = size
    return member.tobuf()


def _blob(digest: str) -> str:
    return digest.replace("sha256:", _BLOBS)
