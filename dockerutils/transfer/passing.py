"""Pass an image from the engine here to another host, as the engine here pushes it to a receiver in this process.

An engine with the containerd image store pulls from the same receiver, through a port that ssh forwards. It asks for
what it does not have, checks the digests itself, and has a complete image in the end, which it can push. Other engines
get an archive of what they do not have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process.children import Children
from dockerutils.docker import api
from dockerutils.docker.api import Api, ApiError, Disconnected
from dockerutils.docks import forwarding
from dockerutils.transfer.archive import Image
from dockerutils.transfer.arrival import Arrival, Content
from dockerutils.transfer.destination import Destination, measure_bandwidth
from dockerutils.transfer.exchange import Exchange
from dockerutils.transfer.layers import Layer, Unavailable, Write
from dockerutils.transfer.receiver import ADDRESS, TAG, Receiver
from dockerutils.transfer.source import Source

# Seconds for the engine here to take a name from an image, and to restart meanwhile.
_ANSWER, _RESTART, _PAUSE = 5.0, 10.0, 0.1
# Layers that are stored uncompressed are compressed on their way if they are that large, in bytes, and the connection
# is slower than that, in bytes a second: gzip compresses about twice as much.
_LARGE, _SLOW = 1 << 22, 30e6
# Seconds until a failure of the engine here, which makes a pull fail, is known.
_SETTLED = 1.0


class Offer:
    """An image that the engine here pushes to us, piece by piece, as somebody fetches it from `exchange`.

    `port` and `name` are the place to pull it from.
    """

    def __init__(self, image: Source, socket: str, platform: str) -> None:
        self.exchange = Exchange()
        self._receiver = Receiver(self.exchange)
        self.port, self.name = self._receiver.port, self._receiver.pull_name
        self._repository = f"{ADDRESS}:{self.port}/{self._receiver.push_name}"
        self._image_id = image.image_id
        self._socket = socket
        self._platform = platform
        self._only = platform or image.platform
        self._engine: Api | None = None
        self._failure: ApiError | None = None
        self._thread = threading.Thread(target=self._serve)

    def begin(self) -> None:
        """Have the engine push the manifests, and blobs from now on when they are fetched; ApiError if it cannot."""
        with closing(api.local(self._socket)) as named:
            named.tag(self._image_id, self._repository, TAG)
        self._push()
        if not self.exchange.manifest(TAG):
            raise ApiError("the engine pushed to something else")
        self.exchange.open()
        self._thread.start()

    def has(self, platform: str) -> bool:
        """Return whether the image is offered for a platform: the engine pushes one, or all if it has all of them."""
        found = self.exchange.image(TAG, platform)
        return found is not None and (found is not self.exchange.manifest(TAG) or platform == self._only)

    def read(self, image: Source) -> Image:
        """Return an image as the engine stores it; Unavailable if it does not push it so."""
        manifest = self.exchange.image(TAG, image.platform)
        if not (manifest and manifest.config) or len(manifest.layers) != len(image.diff_ids):
            raise Unavailable(f"the engine here pushes {image.reference} in another form")
        config: list[bytes] = []
        self._copy(manifest.config[0][0], config.append)
        layers = [
            Layer(diff_id, size, partial(self._copy, digest), digest)
            for diff_id, (digest, size) in zip(image.diff_ids, manifest.layers, strict=True)
        ]
        return Image(b"".join(config), layers, (manifest.media_type, manifest.data))

    def compress(self) -> None:
        """Compress layers that are stored uncompressed on their way."""
        self._receiver.compress()

    def end(self) -> None:
        """Stop what is going on, from any thread."""
        self.exchange.close()
        self._receiver.close()
        if current := self._engine:
            current.abort()

    def withdraw(self) -> None:
        """Wait for the end, and remove the name that the image got; ApiError if the engine does not answer."""
        self.end()
        if self._thread.ident:
            self._thread.join()
        deadline = time.monotonic() + _RESTART
        while True:
            try:
                with closing(api.local(self._socket, _ANSWER)) as named:
                    named.untag(f"{self._repository}:{TAG}")
                return
            except Disconnected:  # perhaps it is restarting
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            except ApiError:
                return  # it has no such name

    def failure(self, seconds: float) -> Exception | None:
        """Return what happened if the engine here has failed, or fails within some seconds."""
        self._thread.join(seconds)
        if isinstance(self._failure, Disconnected):
            return DockerutilsError("the engine here has stopped; start it and run the command again")
        return Unavailable(f"the engine here stopped pushing: {self._failure}") if self._failure else None

    def _copy(self, digest: str, sink: Write) -> None:
        """Write a blob to a sink; Unavailable if the engine does not push it."""
        errors: list[Exception] = []

        def deliver(content: Iterator[bytes]) -> None:
            for chunk in content:
                try:
                    sink(chunk)
                except Exception as error:
                    errors.append(error)
                    raise

        if not self.exchange.fetch(digest, deliver):
            cause = errors[0] if errors else self.failure(_SETTLED)
            raise cause or Unavailable(f"the engine here does not push {digest}")

    def _push(self) -> None:
        with closing(api.local(self._socket)) as self._engine:
            self._engine.push(self._repository, TAG, self._platform)

    def _serve(self) -> None:
        try:
            self.exchange.serve(self._push)
        except ApiError as error:
            self._failure = error
            self.exchange.close()


@contextmanager
def offered(image: Source, children: Children, platform: str = "") -> Iterator[Offer]:
    """Have the engine here offer an image during the block: for `platform`, or all if it has all of them.

    Unavailable if it cannot.
    """
    if not image.socket:
        raise Unavailable("the engine here does not push to this process")
    offer = Offer(image, image.socket, platform)
    try:
        children.at_end(offer.end)
        try:
            offer.begin()
        except ApiError as error:
            raise Unavailable(f"the engine here cannot push to this process: {error}") from error
        yield offer
    finally:
        with suppress(ApiError):
            offer.withdraw()


def pull(offer: Offer, image: Source, destination: Destination, children: Children) -> None:
    """Have the engine of a destination pull an image that is offered, once.

    Unavailable if the engines or ssh do not support it, LoadError if the engine there did not take the image.
    """
    host = destination.host
    with ExitStack() as stack:
        try:
            port = stack.enter_context(forwarding.forwarded_back(host, offer.port))
        except DockerutilsError as error:
            raise Unavailable(str(error)) from error
        repository = f"{ADDRESS}:{port}/{offer.name}"
        plain = sum(offer.exchange.sizes[each] for each in offer.exchange.plain)
        if plain > _LARGE and measure_bandwidth(host, children) < _SLOW:
            offer.compress()
        # It removes that name even if the connection breaks.
        arrival = stack.enter_context(closing(Arrival(destination, children, f"{repository}:{TAG}")))
        try:
            destination.engine.pull(repository, TAG, image.platform)
        except ApiError as error:
            raise _failure(error, offer, destination) from error
        finally:
            # From now on, the image has that name there, which is in arguments later, and leads to nothing.
            offer.exchange.close()
        # The pull leaves out a layer that is unpacked already, also if the store has it in another form only.
        arrival.accept(Content(image.reference, image.diff_ids, image.platform), is_unpacked=True)


def _failure(error: ApiError, offer: Offer, destination: Destination) -> Exception:
    """Return what it means that a pull failed."""
    cause = None if isinstance(error, Disconnected) else offer.failure(_SETTLED)
    if not (cause or offer.exchange.arrived or isinstance(error, Disconnected)):
        cause = Unavailable(str(error))
    return cause or destination.refusal(error)
