"""Images of all kinds, made as OCI layouts and loaded: https://github.com/opencontainers/image-spec/blob/main/image-layout.md."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.testbed.engine import Engine

MARKER = "marker-of-the-image"
_MEDIA = "application/vnd.oci.image"
_COMPRESSED = {"tar": "", "gzip": "+gzip", "zstd": "+zstd"}
_BLOCKS = 2  # of zeros at the end of a tar file


class Layer(NamedTuple):
    """A layer: files by name, how it is compressed, and the type of its descriptor."""

    files: dict[str, bytes]
    compression: str = "gzip"
    kind: str = "layer.v1.tar"


class Image(NamedTuple):
    """An image for one platform, with an attestation or without."""

    layers: Sequence[Layer]
    architecture: str = "amd64"
    attested: bool = False


def busybox() -> Layer:
    """Return a layer that makes an image run."""
    return Layer({"bin/busybox": Path(shutil.which("busybox") or "").read_bytes()})


def load(engine: Engine, name: str, images: Sequence[Image]) -> None:
    """Load an image for one or several platforms; its command prints MARKER."""
    blobs: dict[str, bytes] = {}
    manifests = []
    for image in images:
        manifest = _manifest(blobs, image)
        platform = {"os": "linux", "architecture": image.architecture}
        manifests.append({**manifest, "platform": platform})
        if image.attested:
            manifests.append(
                {
                    **_attestation(blobs),
                    "platform": {"os": "unknown", "architecture": "unknown"},
                    "annotations": {
                        "vnd.docker.reference.type": "attestation-manifest",
                        "vnd.docker.reference.digest": manifest["digest"],
                    },
                }
            )
    index = {"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": manifests}
    top = manifests[0] if len(manifests) == 1 else _add(blobs, index, "index.v1+json")
    names = {"io.containerd.image.name": f"docker.io/library/{name}", "org.opencontainers.image.ref.name": "x"}
    layout = {"schemaVersion": 2, "manifests": [{**top, "annotations": names}]}
    with tempfile.NamedTemporaryFile() as file:
        with tarfile.open(file.name, "w") as tar:
            for digest, data in blobs.items():
                _member(tar, f"blobs/sha256/{digest}", data)
            _member(tar, "index.json", json.dumps(layout).encode())
            _member(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        engine.docker("load", "-i", file.name)


def _manifest(blobs: dict[str, bytes], image: Image) -> dict[str, Any]:
    descriptors, diff_ids = [], []
    for layer in image.layers:
        plain = _tar(layer.files)
        diff_ids.append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
        descriptors.append(
            _add(blobs, _compress(plain, layer.compression), layer.kind + _COMPRESSED[layer.compression])
        )
    config = {
        "os": "linux",
        "architecture": image.architecture,
        "config": {"Cmd": ["/bin/busybox", "echo", MARKER]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    return _with_config(blobs, _add(blobs, config, "config.v1+json"), descriptors)


def _attestation(blobs: dict[str, bytes]) -> dict[str, Any]:
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://example.com", "subject": []}
    layer = _add(blobs, statement, "application/vnd.in-toto+json")
    config = {"os": "unknown", "architecture": "unknown", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    return _with_config(blobs, _add(blobs, config, "config.v1+json"), [layer])


def _with_config(blobs: dict[str, bytes], config: dict[str, Any], layers: list[dict[str, Any]]) -> dict[str, Any]:
    kind = "manifest.v1+json"
    return _add(blobs, {"schemaVersion": 2, "mediaType": f"{_MEDIA}.{kind}", "config": config, "layers": layers}, kind)


def _add(blobs: dict[str, bytes], content: Any, kind: str) -> dict[str, Any]:
    """Add a blob and return its descriptor."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    media_type = kind if kind.startswith("application/") else f"{_MEDIA}.{kind}"
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            _member(tar, name, data)
    return stream.getvalue()


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o755
    tar.addfile(member, io.BytesIO(data))


def _compress(data: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout
    return data
