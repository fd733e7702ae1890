"""Images with layers, to send from one engine to another, and what an engine stores of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
from typing import IO, NamedTuple

from tests.testbed.engine import Engine

NAME = "layered"
# What its containers print, and what its configuration has in its environment.
MARKER, SECRET = "marker-of-the-image", "marker-of-a-secret"
SIZE = 9_000_000  # random bytes in an image's lowest layer
CHANGE = 20_000  # random bytes in an image's highest layer

# busybox by the names that Dockerfiles here use: hard links.
_APPLETS = ("sh", "cat", "rm", "mkdir", "head", "chmod", "sleep")
_BUILT = f"""\
FROM {{base}}
ENV SECRET={SECRET}
COPY same /same
COPY same /same
RUN rm -r /gone && mkdir /linked/new && cat /marker >/linked/new/file && chmod 0 /linked/new/file
CMD ["cat", "/marker"]
"""
_CHANGED = f"FROM {{base}}\nRUN head -c {CHANGE} /dev/urandom >/change\n"


class Images(NamedTuple):
    """Names of images, each based on the one before: of one layer, with a repeated layer, with a small change."""

    base: str
    first: str
    second: str


def ensure(engine: Engine, owner: str) -> Images:
    """Return images of an engine whose layers no other engine has; build them if they do not exist."""
    images = Images(*(f"{NAME}:{owner}-{each}" for each in Images._fields))
    if f"{owner}-second" not in _tags(engine):
        import_image(engine, images.base, SIZE)
        build(engine, _BUILT.format(base=images.base), images.first)
        build(engine, _CHANGED.format(base=images.first), images.second)
    return images


def import_image(engine: Engine, name: str, size: int, *, content: str = "/dev/urandom") -> None:
    """Make an image of one layer with all kinds of files, and a file of `size` bytes of a device."""
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(f"{work}/layer.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            _fill(tar)
            with open(content, "rb") as stream:
                _file(tar, "big", stream, size)
        engine.docker("import", "--change", 'CMD ["cat", "/marker"]', f"{work}/layer.tar", name)


def build(engine: Engine, dockerfile: str, name: str) -> None:
    """Build an image; the context has the file `same`."""
    with tempfile.TemporaryDirectory() as context:
        for file, text in {"Dockerfile": dockerfile, "same": "the same\n"}.items():
            with open(f"{context}/{file}", "w", encoding="utf-8") as stream:
                stream.write(text)
            os.utime(f"{context}/{file}", (0, 0))
        engine.docker("build", "-t", name, context)


def _fill(tar: tarfile.TarFile) -> None:
    with open(shutil.which("busybox") or "busybox", "rb") as busybox:
        _file(tar, "bin/busybox", busybox, os.fstat(busybox.fileno()).st_size, mode=0o755)
    for applet in _APPLETS:
        _link(tar, f"bin/{applet}", tarfile.LNKTYPE, "bin/busybox")
    _text(tar, "marker", f"{MARKER}\n")
    _text(tar, "gone/file", "it is removed by a layer above")
    _text(tar, "real/deep/file", "behind a link")
    _link(tar, "linked", tarfile.SYMTYPE, "real/deep")
    _link(tar, "dangling", tarfile.SYMTYPE, "/nowhere/at/all")
    _text(tar, "unreadable", "nobody may read it", mode=0)
    _text(tar, "caf\udce9", "its name is in Latin-1")
    _text(tar, "ünï", "its name is in UTF-8")
    _text(tar, "/".join(["long" * 50] * 3), "its name is long")
    _text(tar, "empty", "")
    # As setcap(8) leaves it: cap_net_raw+ep.
    capability = b"\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".decode("latin-1")
    _text(tar, "capable", "", extra={"SCHILY.xattr.security.capability": capability})
    pipe = tarfile.TarInfo("pipe")
    pipe.type = tarfile.FIFOTYPE
    tar.addfile(pipe)


def _text(
    tar: tarfile.TarFile, name: str, text: str, *, mode: int = 0o644, extra: dict[str, str] | None = None
) -> None:
    _file(tar, name, io.BytesIO(text.encode()), len(text.encode()), mode=mode, extra=extra)


def _file(
    tar: tarfile.TarFile,
    name: str,
    content: IO[bytes],
    size: int,
    *,
    mode: int = 0o644,
    extra: dict[str, str] | None = None,
) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.pax_headers = size, mode, extra or {}
    tar.addfile(member, content)


def _link(tar: tarfile.TarFile, name: str, kind: bytes, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, target, 0o755
    tar.addfile(member)


def layers(engine: Engine, reference: str) -> list[str]:
    """Return the diff ids of an image, as the engine lists them."""
    found: list[str] = engine.api("GET", f"/images/{reference}/json")["RootFS"]["Layers"]
    return found


def saved_layers(engine: Engine, reference: str) -> list[str]:
    """Return the diff ids of an image, hashed from its layers as docker save writes them."""
    with tempfile.TemporaryDirectory() as work:
        engine.docker("save", "-o", f"{work}/image.tar", reference)
        with tarfile.open(f"{work}/image.tar") as tar:
            return [_hash(tar, path) for path in json.load(_open(tar, "manifest.json"))[0]["Layers"]]


def _hash(tar: tarfile.TarFile, path: str) -> str:
    member = tar.getmember(path)
    if member.issym():
        path = posixpath.normpath(f"{posixpath.dirname(path)}/{member.linkname}")
    data = _open(tar, path).read()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        data = subprocess.run(["zstd", "-q", "-d", "-c"], input=data, capture_output=True, check=True).stdout
    digest = hashlib.sha256(data)
    return f"sha256:{digest.hexdigest()}"


def _open(tar: tarfile.TarFile, path: str) -> IO[bytes]:
    stream = tar.extractfile(path)
    assert stream
    return stream


def remove(engine: Engine, but: str = "") -> None:
    """Remove these images from an engine, except those with tags that begin with `but`."""
    for tag in _tags(engine):
        if not (but and tag.startswith(f"{but}-")):
            engine.api("DELETE", f"/images/{NAME}:{tag}", force=1)
    engine.api("POST", "/images/prune")


def _tags(engine: Engine) -> list[str]:
    found = engine.api("GET", "/images/json", filters={"reference": [NAME]})
    names = [name for image in found for name in image["RepoTags"] or []]
    return [name.removeprefix(f"{NAME}:") for name in names if name.startswith(f"{NAME}:")]


def stored_files(engine: Engine) -> dict[str, list[str]]:
    """Return what an engine stores of images: their ids, layers, and temporary files."""
    data = engine.path(f"{engine.directory}/data")
    places = ("tmp", "overlay2", "image/overlay2/layerdb/sha256", "image/overlay2/layerdb/tmp")
    content = "containerd/daemon/io.containerd.content.v1.content"
    found = {place: _names(f"{data}/{place}") for place in (*places, f"{content}/ingest", f"{content}/blobs/sha256")}
    # An engine that is killed while it starts leaves a directory with which it looks at the kernel.
    found["tmp"] = [name for name in found["tmp"] if not name.startswith("moby-detect-")]
    return found | {"images": sorted(image["Id"] for image in engine.api("GET", "/images/json", all=1))}


def _names(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []
