"""An image on its way from this machine's engine to another one: whence to take it, whether it has arrived."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import Children
from dockerutils.docker import engine
from dockerutils.transfer import archive, layers, overlay2
from dockerutils.transfer.destination import Target
from dockerutils.transfer.layers import Delta
from dockerutils.transfer.loading import Passage, Refused


class Source(NamedTuple):
    """An image of this machine's engine: its full name and tag, its id, its layers, and where the engine keeps them.

    `environ` is the environment that leads docker to the engine.
    """

    reference: str
    image_id: str
    diff_ids: tuple[str, ...]
    driver: str
    root: str
    environ: Mapping[str, str]


class Progress(NamedTuple):
    """How far a transfer is: layers that the destination has and lacks; bytes that have gone, and all that will go.

    Bytes are those before compression; `total` is about right where the engine says it, None where nobody knows.
    """

    there: int
    lacking: int
    gone: int = 0
    total: int | None = None


Tell = Callable[[Progress], None]


def source(reference: str, children: Children, environ: Mapping[str, str]) -> Source:
    """Return what the engine knows of an image; DockerutilsError when there is no image, or no engine."""
    facts = '{"id":{{json .Id}},"layers":{{json .RootFS.Layers}}}'
    inspecting = children.start(["docker", "image", "inspect", "--format", facts, "--", reference], environ=environ)
    asking = children.start(["docker", "info", "--format", "{{.Driver}} {{.DockerRootDir}}"], environ=environ)
    inspected, info = inspecting.finish(), asking.finish().decode()
    if inspecting.wait():
        if "no such image" in inspecting.stderr.lower():
            raise DockerutilsError(f"{engine.familiar(reference)} is not on this engine; build it, or pull it")
        raise engine.refusal(inspecting.stderr)
    record = json.loads(inspected)
    # The files of an engine elsewhere are elsewhere.
    driver, _, root = info.strip().partition(" ") if engine.local_socket(environ) else ("", "", "")
    return Source(reference, record["id"], tuple(record["layers"] or ()), driver, root, environ)


def send(image: Source, to: Target, children: Children, tell: Tell, warn: Callable[[str], None]) -> Progress:
    """Send what a destination lacks of an image, and see that it has arrived whole.

    `tell` is told how far it is. When the destination does not take the new layers alone, `warn` is told that, and the
    whole image is sent, once.
    """
    delta = layers.delta(image.diff_ids, to.stores)
    try:
        return _deliver(image, to, delta, children, tell)
    except Refused as refusal:
        if not delta.there:
            raise _failure(to, refusal) from None
        warn(f"{to.where.name} did not take the new layers alone ({refusal}): sending the whole image")
    try:
        return _deliver(image, to, Delta((), image.diff_ids), children, tell)
    except Refused as refusal:
        raise _failure(to, refusal) from None


def _failure(to: Target, refusal: Refused) -> CommandFailed:
    return CommandFailed(1, f"{to.where.name}: docker load failed: {refusal}; see docker info there")


class _Way(NamedTuple):
    """A way to take an image from the engine: about how many bytes will go, and what writes them into a sink.

    That returns the names of the image's layers in the archive, those that are left out included.
    """

    total: int | None
    write: Callable[[archive.Write], set[str]]


def _deliver(image: Source, to: Target, delta: Delta, children: Children, tell: Tell) -> Progress:
    """Send an image without the layers that are there; Refused when the destination does not take that."""
    try:
        return _through(_stored(image, delta), image, delta, Passage(to, image.reference, children), tell)
    except overlay2.Unreadable:
        way = _saved(image, delta, children)
        return _through(way, image, delta, Passage(to, image.reference, children), tell)


def _through(way: _Way, image: Source, delta: Delta, passage: Passage, tell: Tell) -> Progress:
    progress = Progress(len(delta.there), len(delta.lacking), 0, way.total)

    def sink(data: bytes) -> None:
        passage.write(data)
        tell(progress._replace(gone=passage.gone))

    tell(progress)
    try:
        files = way.write(sink)
        arrival = passage.close()
    except BaseException:
        passage.abandon()
        raise
    if arrival.diff_ids != image.diff_ids:
        raise Refused("what is there afterwards has other layers")
    if delta.there and arrival.files is not None and not arrival.files.issuperset(files):
        raise Refused("its store has those below in another form")
    return progress._replace(gone=passage.gone, total=passage.gone)


def _stored(image: Source, delta: Delta) -> _Way:
    """Read the engine's own files: nothing but what is sent is read, and at once."""
    stored = overlay2.read(image.root, image.driver, image.image_id, image.diff_ids)
    sizes = {layer.diff_id: layer.size for layer in stored.layers}
    total = sum(sizes[diff_id] for diff_id in set(delta.lacking))
    return _Way(total, lambda sink: archive.write(stored.config, stored.layers, image.reference, delta, sink))


def _saved(image: Source, delta: Delta, children: Children) -> _Way:
    """Have docker save all of it, and leave out what is not sent."""

    def write(sink: archive.Write) -> set[str]:
        saving = children.start(["docker", "save", image.reference], environ=image.environ)
        files, fault = set(), ""
        try:
            files = archive.forward(saving, delta, image.reference, sink)
        except ValueError as error:
            fault = str(error)
        except BaseException:
            saving.terminate()
            raise
        saving.finish()
        if saving.wait():
            if "unexpected eof" in saving.stderr.lower():
                raise DockerutilsError("the engine here has ended; see that it runs, and run the command again")
            raise engine.refusal(saving.stderr)
        if fault:
            raise DockerutilsError(f"docker save wrote no whole image: {fault}; build or pull it again")
        return files

    return _Way(_about(image, delta, children), write)


def _about(image: Source, delta: Delta, children: Children) -> int | None:
    """Return what docker says that the layers on top take: it is not told which of its steps made them."""
    format_ = ["--human=false", "--no-trunc", "--format", "{{.Size}}"]
    asking = children.start(["docker", "history", *format_, image.reference], environ=image.environ)
    sizes = [int(each) for each in asking.finish().split() if each != b"0"]
    return sum(sizes[: len(delta.lacking)]) if not asking.wait() else None
