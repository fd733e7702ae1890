"""Deliver an image from this machine's engine to another one: read it, send it, verify what arrived."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import NamedTuple

from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process.children import Children
from dockerutils.docker import engine
from dockerutils.transfer import archive, layers, overlay2, passing
from dockerutils.transfer.arrival import Arrival, Content, LoadError
from dockerutils.transfer.destination import Destination
from dockerutils.transfer.layers import Delta
from dockerutils.transfer.loading import Upload


class Source(NamedTuple):
    """An image of this machine's engine: its full name and tag, its id, its layers, its platform, such as linux/amd64.

    `driver` and `root` say where the engine stores it; `environ` is the environment that leads docker to the engine.
    `socket` is the Unix socket of an engine that pushes layers as it stores them: one with the containerd image store.
    """

    reference: str
    image_id: str
    diff_ids: tuple[str, ...]
    platform: str
    driver: str
    root: str
    environ: Mapping[str, str]
    socket: str | None


class Progress(NamedTuple):
    """The state of a transfer: layers that the destination has, and missing ones; bytes sent, and all of them.

    Bytes are counted before compression. `total` is an estimate if docker save writes the image, None if unknown.
    """

    present: int
    missing: int
    sent: int = 0
    total: int | None = None


Report = Callable[[Progress], None]


def source(reference: str, children: Children, environ: Mapping[str, str]) -> Source:
    """Return what the engine knows of an image; DockerutilsError if there is no such image, or no engine."""
    inspect = children.start(["docker", "image", "inspect", "--format", "{{json .}}", "--", reference], environ=environ)
    info = children.start(
        ["docker", "info", "--format", "{{.Driver}} {{.DockerRootDir}} {{json .DriverStatus}}"], environ=environ
    )
    inspected, place = inspect.finish(), info.finish().decode()
    if inspect.wait():
        if "no such image" in inspect.stderr.lower():
            raise DockerutilsError(f"{engine.familiar(reference)} does not exist on this engine; build or pull it")
        raise engine.refusal(inspect.stderr)
    record = json.loads(inspected)
    # The files of an engine on another machine are there.
    socket = engine.local_socket(environ)
    driver, root = match.groups() if socket and (match := re.match(r"(\S*) (.*) [\[n]", place)) else ("", "")
    pushes = "io.containerd.snapshotter" in place
    return Source(
        reference,
        record["Id"],
        tuple(record["RootFS"].get("Layers") or ()),
        "/".join(record[key] for key in ("Os", "Architecture", "Variant") if record.get(key)),
        driver,
        root,
        environ,
        socket if pushes else None,
    )


class Listener(NamedTuple):
    """Who hears of a transfer: `report` of its progress, `warn` of what users should know, `explain` of its way."""

    report: Report
    warn: Callable[[str], None]
    explain: Callable[[str], None]


def send(image: Source, destination: Destination, children: Children, listener: Listener) -> Progress:
    """Send the layers that are missing at a destination, and verify that the whole image is there.

    If the destination cannot use the layers that it has, there is a warning, and all layers are sent, once.
    """
    report, warn = listener.report, listener.warn
    delta = layers.delta(image.diff_ids, destination.images)
    if image.socket and not destination.is_classic:
        try:
            return _passed(image, destination, delta, children, report)
        except passing.Unavailable as error:
            listener.explain(f"{error}; sending an archive")
        except LoadError as error:
            warn(f"{destination.host.name}: the pull there failed ({error}); sending all layers")
            delta = Delta((), image.diff_ids)
    try:
        return _deliver(image, destination, delta, children, report)
    except LoadError as error:
        if not delta.present:
            raise _failure(destination, error) from None
        warn(f"{destination.host.name}: cannot use the layers there ({error}); sending all layers")
    try:
        return _deliver(image, destination, Delta((), image.diff_ids), children, report)
    except LoadError as error:
        raise _failure(destination, error) from None


def _passed(image: Source, destination: Destination, delta: Delta, children: Children, report: Report) -> Progress:
    """Have the engine there pull what the engine here pushes; for the errors, see `passing`."""
    progress = Progress(len(delta.present), len(delta.missing))
    report(progress)
    exchange = passing.send(image, destination, children, lambda sent: report(progress._replace(sent=sent)))
    missing, sent = exchange.passed()
    return Progress(len(image.diff_ids) - missing, missing, sent, sent)


def _failure(destination: Destination, error: LoadError) -> CommandFailed:
    return CommandFailed(
        1, f"{destination.host.name}: docker load failed: {error}; check the engine there: docker info"
    )


class _Export(NamedTuple):
    """A way to read an image: about how many bytes it yields, and a function that writes its archive.

    The function takes the full name and tag that the image has in the archive.
    """

    total: int | None
    write: Callable[[str, archive.Write], None]


def _deliver(image: Source, destination: Destination, delta: Delta, children: Children, report: Report) -> Progress:
    """Send an image without the layers that are present; LoadError if it is not complete at the destination then."""
    content = Content(image.reference, image.diff_ids, image.platform)
    with closing(Arrival(destination, children)) as arrival:
        try:
            done = _upload(_stored(image, delta), arrival.name, delta, Upload(destination, children), report)
        except overlay2.Unreadable:
            export = _saved(image, delta, children)
            done = _upload(export, arrival.name, delta, Upload(destination, children), report)
        arrival.accept(content, partial=bool(delta.present))
    return done


def _upload(export: _Export, name: str, delta: Delta, upload: Upload, report: Report) -> Progress:
    progress = Progress(len(delta.present), len(delta.missing), 0, export.total)

    def sink(data: bytes) -> None:
        upload.write(data)
        report(progress._replace(sent=upload.sent))

    report(progress)
    try:
        export.write(name, sink)
        upload.close()
    except BaseException:
        upload.abort()
        raise
    return progress._replace(sent=upload.sent, total=upload.sent)


def _stored(image: Source, delta: Delta) -> _Export:
    """Read the engine's own files: only what is sent, and at once."""
    stored = overlay2.read(image.root, image.driver, image.image_id, image.diff_ids)
    sizes = {layer.diff_id: layer.size for layer in stored.layers}
    total = sum(sizes[diff_id] for diff_id in set(delta.missing))
    return _Export(total, lambda name, sink: archive.write(stored.config, stored.layers, name, delta, sink))


def _saved(image: Source, delta: Delta, children: Children) -> _Export:
    """Run docker save, which writes the whole image, and drop what is not sent."""

    def write(name: str, sink: archive.Write) -> None:
        save = children.start(["docker", "save", image.reference], environ=image.environ)
        fault = ""
        try:
            archive.forward(save, delta, name, sink)
        except ValueError as error:
            fault = str(error)
        except BaseException:
            save.terminate()
            raise
        save.finish()
        if save.wait():
            if "unexpected eof" in save.stderr.lower():
                raise DockerutilsError("the engine here has stopped; start it and run the command again")
            raise engine.refusal(save.stderr)
        if fault:
            raise DockerutilsError(f"docker save wrote an incomplete image: {fault}; build or pull it again")

    return _Export(_estimate(image, delta, children), write)


def _estimate(image: Source, delta: Delta, children: Children) -> int | None:
    """Return the size of the layers on top, of docker history, which does not say which of its steps made a layer."""
    format_ = ["--human=false", "--no-trunc", "--format", "{{.Size}}"]
    history = children.start(["docker", "history", *format_, image.reference], environ=image.environ)
    sizes = [int(each) for each in history.finish().split() if each != b"0"]
    return sum(sizes[: len(delta.missing)]) if not history.wait() else None
