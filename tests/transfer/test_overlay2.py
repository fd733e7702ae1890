from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dockerutils.transfer import overlay2
from dockerutils.transfer.archive import Image
from dockerutils.transfer.layers import Layer, Unavailable, chain_ids

CONFIG = b'{"rootfs": {}}'
IMAGE = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def segment(data: bytes) -> dict[str, Any]:
    return {"type": 2, "payload": base64.b64encode(data).decode()}


def entry(name: str, size: int | None = None, **more: Any) -> dict[str, Any]:
    return {"type": 1, "name": name, "payload": None, **({"size": size} if size else {}), **more}


def pieces(layer: Layer) -> list[bytes]:
    written: list[bytes] = []
    layer.copy(written.append)
    return written


class Store:
    """An image store of an engine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        content = root / "image/overlay2/imagedb/content/sha256"
        content.mkdir(parents=True)
        (content / IMAGE.removeprefix("sha256:")).write_bytes(CONFIG)

    def add(self, chain_id: str, name: str, parts: list[dict[str, Any]]) -> Path:
        metadata = self.root / "image/overlay2/layerdb" / chain_id.replace(":", "/")
        metadata.mkdir(parents=True)
        (metadata / "cache-id").write_text(name)
        with gzip.open(metadata / "tar-split.json.gz", "wt") as stream:
            stream.writelines(json.dumps(part) + "\n" for part in parts)
        files = self.root / "overlay2" / name / "diff"
        files.mkdir(parents=True)
        return files

    def read(self, *diff_ids: str, driver: str = "overlay2") -> Image:
        return overlay2.read(str(self.root), driver, IMAGE, diff_ids)


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def test_layers_are_rebuilt_from_segments_and_files(kept: Store) -> None:
    one, two = chain_ids([ONE, TWO])
    files = kept.add(
        one, "abc", [segment(b"<a>"), entry("d/a", 5), segment(b"<b>"), entry("gone/.wh.b"), segment(b"|")]
    )
    (files / "d").mkdir()
    (files / "d/a").write_bytes(b"hello")
    more = kept.add(two, "def", [{"type": 1, "name_raw": base64.b64encode(b"\xff").decode(), "size": 2}, segment(b"")])
    Path(os.fsdecode(os.fsencode(more) + b"/\xff")).write_bytes(b"ok")
    image = kept.read(ONE, TWO)
    assert image.config == CONFIG
    assert [(each.diff_id, each.size, b"".join(pieces(each))) for each in image.layers] == [
        (ONE, 12, b"<a>hello<b>|"),
        (TWO, 2, b"ok"),
    ]


def test_a_large_file_is_read_in_pieces(kept: Store) -> None:
    files = kept.add(ONE, "abc", [entry("big", 3 << 20)])
    (files / "big").write_bytes(b"x" * (3 << 20))
    (layer,) = kept.read(ONE).layers
    assert [len(each) for each in pieces(layer)] == [1 << 20] * 3


def test_another_driver_is_unreadable(kept: Store) -> None:
    with pytest.raises(Unavailable, match="btrfs"):
        kept.read(driver="btrfs")


def test_a_missing_store_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        overlay2.read(str(tmp_path / "none"), "overlay2", IMAGE, [ONE])


def test_a_missing_layer_is_unreadable(kept: Store) -> None:
    with pytest.raises(Unavailable):
        kept.read(ONE)


def test_a_layer_without_files_is_unreadable(kept: Store) -> None:
    kept.add(ONE, "abc", [segment(b"x")]).rmdir()
    with pytest.raises(Unavailable):
        kept.read(ONE)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../../../secret", id="a path that leads out"),
        pytest.param("/../../../secret", id="a path from the root"),
        pytest.param("link", id="a link"),
        pytest.param("links/secret", id="a linked directory"),
        pytest.param("fifo", id="something that is no file"),
        pytest.param("short", id="a file that is too short"),
        pytest.param("absent", id="a file that is gone"),
        pytest.param("nul\0", id="no name at all"),
    ],
)
def test_only_files_of_the_layer_are_read(kept: Store, name: str) -> None:
    (kept.root / "secret").write_text("secret")
    files = kept.add(ONE, "abc", [entry(name, 6)])
    (files / "link").symlink_to(kept.root / "secret")
    (files / "links").symlink_to(kept.root)
    (files / "short").write_text("short")
    os.mkfifo(files / "fifo")
    (layer,) = kept.read(ONE).layers
    read: list[bytes] = []
    with pytest.raises(Unavailable):
        layer.copy(read.append)
    assert b"secret" not in b"".join(read)
