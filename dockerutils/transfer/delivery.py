"""Deliver an image from this machine's engine to another one: read it, send it, verify what arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple

from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process.children import Children
from dockerutils.docker import engine
from dockerutils.docker.api import ApiError
from dockerutils.transfer import archive, layers, overlay2, passing
from dockerutils.transfer.arrival import Arrival, Content
from dockerutils.transfer.destination import Destination, LoadError
from dockerutils.transfer.layers import Delta, Unavailable, Write
from dockerutils.transfer.loading import Upload
from dockerutils.transfer.passing import Offer
from dockerutils.transfer.source import Source


class Progress(NamedTuple):
    """The state of a transfer: layers of the image, those that are missing there, None as long as that is unknown.

    `sent` are bytes before compression; `total` is all of them, an estimate if docker save writes the image, None if
    unknown.
    """

    layers: int
    missing: int | None = None
    sent: int = 0
    total: int | None = None


class Listener(NamedTuple):
    """Who hears of a transfer: `report` of its progress, `warn` of what users should know, `explain` of its way."""

    report: Callable[[Progress], None]
    warn: Callable[[str], None]
    explain: Callable[[str], None]


@contextmanager
def offered(image: Source, children: Children, listener: Listener, platform: str = "") -> Iterator[Offer | None]:
    """Have the engine here offer an image during the block, for `platform` or all; yield None if it cannot."""
    with ExitStack() as stack:
        offer = None
        if image.socket:
            try:
                offer = stack.enter_context(passing.offered(image, children, platform))
            except Unavailable as error:
                listener.explain(f"{error}; sending an archive")
        yield offer


def send(
    image: Source, destination: Destination, offer: Offer | None, children: Children, listener: Listener
) -> Progress:
    """Send what a destination does not have of an image, and verify that the whole image is there.

    `offer` is of that image, if the engine here can offer it. If the destination cannot use the layers that it has,
    there is a warning, and all layers are sent, once.
    """
    with ExitStack() as stack:
        everything = False
        if offer and not offer.has(image.platform):
            offer = stack.enter_context(offered(image, children, listener, image.platform))
        if offer and not destination.is_classic:
            try:
                return _pulled(image, destination, offer, children, listener)
            except Unavailable as error:
                listener.explain(f"{error}; sending an archive")
            except LoadError as error:
                listener.warn(f"{destination.host.name}: the pull there failed ({error}); sending all layers")
                everything = True
            offer = stack.enter_context(offered(image, children, listener, image.platform))
        return _Delivery(image, destination, offer, children, listener).send(everything=everything)


def _pulled(image: Source, destination: Destination, offer: Offer, children: Children, listener: Listener) -> Progress:
    """Have the engine there pull what the engine here pushes; for the errors, see `passing`."""
    progress = Progress(len(image.diff_ids))
    listener.report(progress)
    offer.exchange.report = lambda sent: listener.report(progress._replace(sent=sent))
    passing.pull(offer, image, destination, children)
    missing, sent = offer.exchange.passed()
    return progress._replace(missing=missing, sent=sent, total=sent)


class _Export(NamedTuple):
    """A way to read an image: about how many bytes it yields, and a function that writes its archive.

    The function takes the full name and tag that the image has in the archive.
    """

    total: int | None
    write: Callable[[str, Write], None]


class _Delivery:
    """The delivery of an image as an archive that `docker load` reads."""

    def __init__(
        self, image: Source, destination: Destination, offer: Offer | None, children: Children, listener: Listener
    ) -> None:
        self._image = image
        self._destination = destination
        self._offer = offer
        self._children = children
        self._listener = listener

    def send(self, *, everything: bool) -> Progress:
        """Send the layers that are missing, or `everything`."""
        image, name = self._image, self._destination.host.name
        delta = all_layers = Delta((), image.diff_ids)
        if not everything:
            try:
                delta = layers.delta(image.diff_ids, self._destination.images())
            except ApiError as error:
                raise self._failure(self._destination.refusal(error)) from error
        try:
            return self._deliver(delta)
        except LoadError as error:
            if not delta.present:
                raise self._failure(error) from None
            self._listener.warn(f"{name}: cannot use the layers there ({error}); sending all layers")
        try:
            return self._deliver(all_layers)
        except LoadError as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> Exception:
        if not isinstance(error, LoadError):
            return error
        name = self._destination.host.name
        return CommandFailed(1, f"{name}: docker load failed: {error}; check the engine there: docker info")

    def _deliver(self, delta: Delta) -> Progress:
        """Send an image without the layers that are present; LoadError if it is not complete there then."""
        content = Content(self._image.reference, self._image.diff_ids, self._image.platform)
        with closing(Arrival(self._destination, self._children)) as arrival:
            done = self._read(delta, arrival.name)
            arrival.accept(content)
        return done

    def _read(self, delta: Delta, name: str) -> Progress:
        """Read an image in the first way that works, and upload it."""
        for read in ([self._pushed] if self._offer else []) + [self._stored]:
            try:
                return self._upload(read(delta), delta, name)
            except Unavailable as error:
                self._listener.explain(f"{error}; running docker save")
        return self._upload(self._saved(delta), delta, name)

    def _upload(self, export: _Export, delta: Delta, name: str) -> Progress:
        upload = Upload(self._destination, self._children)
        progress = Progress(len(self._image.diff_ids), len(delta.missing), 0, export.total)

        def sink(data: bytes) -> None:
            upload.write(data)
            self._listener.report(progress._replace(sent=upload.sent))

        self._listener.report(progress)
        try:
            export.write(name, sink)
            upload.close()
        except BaseException:
            upload.abort()
            raise
        return progress._replace(sent=upload.sent, total=upload.sent)

    def _pushed(self, delta: Delta) -> _Export:
        """Have the engine push what is sent, as it stores it."""
        assert self._offer
        return _export(self._offer.read(self._image), delta)

    def _stored(self, delta: Delta) -> _Export:
        """Read the engine's own files: only what is sent, and at once."""
        image = self._image
        return _export(overlay2.read(image.root, image.driver, image.image_id, image.diff_ids), delta)

    def _saved(self, delta: Delta) -> _Export:
        """Run docker save, which writes the whole image, and drop what is not sent."""
        image = self._image
        platform = ["--platform", image.platform] if image.platform != image.platforms[0] else []

        def write(name: str, sink: Write) -> None:
            save = self._children.start(["docker", "save", *platform, image.reference], environ=image.environ)
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

        return _Export(self._estimate(delta), write)

    def _estimate(self, delta: Delta) -> int | None:
        """Return the size of the layers on top, by docker history, whose steps did not all make a layer."""
        format_ = ["--human=false", "--no-trunc", "--format", "{{.Size}}"]
        history = self._children.start(
            ["docker", "history", *format_, self._image.reference], environ=self._image.environ
        )
        sizes = [int(each) for each in history.finish().split() if each != b"0"]
        return sum(sizes[: len(delta.missing)]) if not history.wait() else None


def _export(image: archive.Image, delta: Delta) -> _Export:
    """Return an export of exactly the layers that are sent."""
    sizes = {layer.diff_id: layer.size for layer in image.layers}
    total = sum(sizes[diff_id] for diff_id in set(delta.missing))
    return _Export(total, lambda name, sink: archive.write(image, name, delta, sink))
