from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerutils.transfer import archive, layers
from dockerutils.transfer.archive import Image
from dockerutils.transfer.layers import Delta, Layer, Write

REFERENCE = "docker.io/library/app:1"
NAMES = {"io.containerd.image.name": REFERENCE, "org.opencontainers.image.ref.name": "1"}
LAYERS = st.lists(st.sampled_from([b"", b"one", b"two" * 300, b"three" * 1000]), min_size=1, max_size=5)

Members = dict[str, bytes]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob(data: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def config(contents: Sequence[bytes]) -> bytes:
    return json.dumps({"rootfs": {"diff_ids": [digest(each) for each in contents]}}).encode()


def tar(members: Members, links: dict[str, str] | None = None) -> io.BytesIO:
    """Return an archive as docker save writes it, with the links first."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            file.addfile(link)
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    stream.seek(0)
    return stream


def untar(data: bytes) -> Members:
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        names = file.getnames()
        assert len(names) == len(set(names))
        return {name: opened.read() for name in names if (opened := file.extractfile(name))}


def old(contents: Sequence[bytes]) -> io.BytesIO:
    """Return an archive as engines up to 24 write it: random names, links for repeated layers."""
    paths = [f"{hashlib.sha256(f'{n}'.encode()).hexdigest()}/layer.tar" for n, _ in enumerate(contents)]
    first = {data: path for path, data in reversed(list(zip(paths, contents, strict=True)))}
    members = {path: data for path, data in zip(paths, contents, strict=True) if first[data] == path}
    links = {path: f"../{first[data]}" for path, data in zip(paths, contents, strict=True) if first[data] != path}
    manifest = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": paths}]
    rest = {"c.json": config(contents), "manifest.json": json.dumps(manifest).encode(), "repositories": b"{}"}
    return tar({**dict(sorted(members.items())), **rest}, links)


def oci(contents: Sequence[bytes], packed: Callable[[bytes], bytes] = bytes) -> io.BytesIO:
    """Return an archive as engines from 25 on write it; with the containerd store, layers can be compressed: `packed`."""
    blobs = [packed(each) for each in contents]
    manifest = [{"Config": blob(config(contents)), "RepoTags": ["app:1"], "Layers": [blob(each) for each in blobs]}]
    members = {blob(each): each for each in [*blobs, config(contents)]}
    annotations = {"io.containerd.image.name": "docker.io/library/before:2", "more": "kept"}
    index = {"manifests": [{"digest": digest(b"manifest"), "annotations": annotations}]}
    documents = {"index.json": index, "manifest.json": manifest, "oci-layout": {}, "repositories": {"before": {}}}
    rest = {name: json.dumps(document).encode() for name, document in documents.items()}
    return tar({**dict(sorted(members.items())), **rest})


def copy(data: bytes, sink: Write) -> None:
    sink(data[:2])
    sink(data[2:])


def part(contents: Sequence[bytes], present: int) -> Delta:
    ids = [digest(each) for each in contents]
    return layers.delta(ids, [ids[:present]])


def forwarded(saved: io.BytesIO, delta: Delta) -> Members:
    sent = io.BytesIO()
    archive.forward(saved, delta, REFERENCE, sent.write)
    return untar(sent.getvalue())


def check_name(members: Members) -> None:
    """Check that an archive has one name for the image, and what else was next to the names."""
    assert [each["RepoTags"] for each in json.loads(members["manifest.json"])] == [[REFERENCE]]
    assert "repositories" not in members
    if "index.json" in members:
        [entry] = json.loads(members["index.json"])["manifests"]
        assert entry == {"digest": digest(b"manifest"), "annotations": {"more": "kept"} | NAMES}


def check_layout(members: Members, contents: Sequence[bytes], delta: Delta) -> None:
    """Check that the archive is a complete OCI layout, and Docker's own format, without the layers that are present."""
    (entry,) = json.loads(members["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == REFERENCE
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "1"
    raw = members["blobs/sha256/" + entry["digest"].removeprefix("sha256:")]
    assert (digest(raw), len(raw)) == (entry["digest"], entry["size"])
    manifest = json.loads(raw)
    assert [each["digest"] for each in manifest["layers"]] == [digest(each) for each in contents]
    assert [each["size"] for each in manifest["layers"]] == [len(each) for each in contents]
    assert manifest["config"]["digest"] == digest(config(contents))
    assert members[blob(config(contents))] == config(contents)
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (docker,) = json.loads(members["manifest.json"])
    assert docker == {
        "Config": blob(config(contents)),
        "RepoTags": [REFERENCE],
        "Layers": [blob(each) for each in contents],
    }
    check_layers(members, contents, delta)


def check_layers(members: Members, contents: Sequence[bytes], delta: Delta) -> None:
    for data in contents:
        assert members.get(blob(data)) == (None if digest(data) in delta.omitted else data)


@given(contents=LAYERS, present=st.integers(0, 5))
def test_an_archive_is_an_oci_layout_without_the_present_layers(contents: list[bytes], present: int) -> None:
    delta = part(contents, present)
    image = [Layer(digest(each), len(each), partial(copy, each)) for each in contents]
    sent = io.BytesIO()
    archive.write(Image(config(contents), image), REFERENCE, delta, sent.write)
    check_layout(untar(sent.getvalue()), contents, delta)


@given(contents=LAYERS, present=st.integers(0, 5))
def test_an_archive_of_compressed_layers_has_their_manifest(contents: list[bytes], present: int) -> None:
    packed = [b"packed " + each for each in contents]
    delta = part(contents, present)
    image = [
        Layer(digest(plain), len(each), partial(copy, each), digest(each))
        for plain, each in zip(contents, packed, strict=True)
    ]
    sent = io.BytesIO()
    archive.write(Image(config(contents), image, ("kind", b"{}")), REFERENCE, delta, sent.write)
    members = untar(sent.getvalue())
    for plain, each in zip(contents, packed, strict=True):
        assert members.get(blob(each)) == (None if digest(plain) in delta.omitted else each)
    (entry,) = json.loads(members["index.json"])["manifests"]
    assert (entry["mediaType"], entry["digest"], entry["size"]) == ("kind", digest(b"{}"), 2)
    assert members[blob(b"{}")] == b"{}"
    assert json.loads(members["manifest.json"])[0]["Layers"] == [blob(each) for each in packed]


@given(contents=LAYERS, present=st.integers(1, 5))
def test_an_archive_of_an_old_engine_becomes_an_oci_layout(contents: list[bytes], present: int) -> None:
    delta = part(contents, present)
    check_layout(forwarded(old(contents), delta), contents, delta)


@given(contents=LAYERS, present=st.integers(1, 5))
def test_an_archive_of_a_new_engine_passes_without_the_present_layers(contents: list[bytes], present: int) -> None:
    delta = part(contents, present)
    members = forwarded(oci(contents), delta)
    check_layers(members, contents, delta)
    check_name(members)
    saved = untar(oci(contents).getvalue()) | {name: members[name] for name in ("index.json", "manifest.json")}
    assert members == {name: data for name, data in saved.items() if name in members}
    assert {"index.json", "manifest.json", "oci-layout", blob(config(contents))} <= members.keys()


@given(contents=LAYERS, present=st.integers(1, 5))
def test_layers_with_other_names_are_found_by_the_manifest(contents: list[bytes], present: int) -> None:
    def packed(data: bytes) -> bytes:
        return b"packed " + data

    delta = part(contents, present)
    members = forwarded(oci(contents, packed), delta)
    for data in contents:
        assert members.get(blob(packed(data))) == (None if digest(data) in delta.omitted else packed(data))


@pytest.mark.parametrize("saved", [old, oci])
def test_without_present_layers_only_the_name_changes(saved: Callable[[list[bytes]], io.BytesIO]) -> None:
    contents = [b"one", b"two" * 1000, b"one"]
    members = forwarded(saved(contents), part(contents, 0))
    check_name(members)
    before = untar(saved(contents).getvalue())
    named = {name: members[name] for name in ("index.json", "manifest.json") if name in before}
    del before["repositories"]
    assert members == before | named


@pytest.mark.parametrize(
    ("saved", "fault"),
    [
        pytest.param(b"no tar at all" * 100, "invalid header", id="no archive"),
        pytest.param(b"", "empty file", id="nothing"),
        pytest.param(old([b"one" * 1000]).getvalue()[:2000], "unexpected end of data", id="cut off"),
        pytest.param(tar({"a": b""}).getvalue(), "not an archive of an image: 'manifest.json'", id="of something else"),
        pytest.param(
            tar({"manifest.json": b"[]"}).getvalue(), "not an archive of an image: list index", id="of no image"
        ),
        pytest.param(tar({"manifest.json": b"{"}).getvalue(), "Expecting property name", id="not written to the end"),
    ],
)
def test_error_of_an_invalid_archive(saved: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        archive.forward(io.BytesIO(saved), part([b"one", b"two"], 1), REFERENCE, io.BytesIO().write)


@pytest.mark.parametrize(
    ("saved", "fault"),
    [
        pytest.param(b"no tar at all" * 100, "invalid header", id="no archive"),
        pytest.param(old([b"one" * 1000]).getvalue()[:2000], "unexpected end of data", id="cut off"),
        pytest.param(
            tar({"manifest.json": b"[]"}).getvalue(), "not an archive of an image: list index", id="of no image"
        ),
    ],
)
def test_error_of_an_invalid_archive_of_which_all_is_sent(saved: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        archive.forward(io.BytesIO(saved), part([b"one"], 0), REFERENCE, io.BytesIO().write)


def test_the_temporary_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    seen = []

    def sink(data: bytes) -> None:
        seen.extend(os.listdir(tmp_path))

    archive.forward(old([b"one", b"two"]), part([b"one", b"two"], 1), REFERENCE, sink)
    assert seen == []
