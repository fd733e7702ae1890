"""Pass an image from the engine here to the engine of another host: one pushes what the other one pulls.

Both reach a receiver in this process, the other one through a port that ssh forwards. The engine there asks for what it
does not have, checks the digests itself, and has a complete image in the end, which it can push.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Child, Children
from dockerutils.docker import api
from dockerutils.docker.api import Api, ApiError, Disconnected
from dockerutils.docks import forwarding
from dockerutils.docks.ssh_config import SSH_FAILED
from dockerutils.transfer.arrival import Arrival, LoadError, failure, is_available
from dockerutils.transfer.destination import Destination, measure_bandwidth
from dockerutils.transfer.exchange import Exchange
from dockerutils.transfer.receiver import ADDRESS, TAG, Receiver

if TYPE_CHECKING:
    from dockerutils.transfer.delivery import Source

# Seconds for the engine here to take a name from an image, and to restart meanwhile.
_ANSWER, _RESTART, _PAUSE = 5.0, 10.0, 0.1
# Layers that are stored uncompressed are compressed on their way if they are that large, in bytes, and the connection
# is slower than that, in bytes a second: gzip compresses about twice as much.
_LARGE, _SLOW = 1 << 22, 30e6
# Seconds until a failure of the engine here, which makes a pull fail, is known.
_SETTLED = 1.0


class Unavailable(Exception):
    """An image cannot be passed this way; the message says why. Nothing has changed."""


class Offer:
    """An image that the engine here pushes to us, piece by piece, as somebody fetches it from `exchange`.

    `port` and `name` are the place to pull it from.
    """

    def __init__(self, image_id: str, socket: str, report: Callable[[int], object]) -> None:
        self.exchange = Exchange(report)
        self._receiver = Receiver(self.exchange)
        self.port, self.name = self._receiver.port, self._receiver.pull_name
        self._repository = f"{ADDRESS}:{self.port}/{self._receiver.push_name}"
        self._image_id = image_id
        self._socket = socket
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
        return LoadError(str(self._failure)) if self._failure else None

    def _push(self) -> None:
        with closing(api.local(self._socket)) as self._engine:
            self._engine.push(self._repository, TAG)

    def _serve(self) -> None:
        try:
            self.exchange.serve(self._push)
        except ApiError as error:
            self._failure = error
            self.exchange.close()


def send(image: Source, destination: Destination, children: Children, report: Callable[[int], object]) -> Exchange:
    """Pass an image, and return what has passed.

    Unavailable if the engines or ssh do not support it, LoadError if the engine there did not take the image.
    """
    host = destination.host
    dial = children.start(host.argv(f"{destination.docker} system dial-stdio"), stdin=PIPE)
    with ExitStack() as stack:
        there = stack.enter_context(closing(api.through(dial)))
        offer = stack.enter_context(_offered(image, children, report))
        try:
            port = stack.enter_context(forwarding.forwarded_back(host, offer.port))
        except DockerutilsError as error:
            raise Unavailable(str(error)) from error
        repository = f"{ADDRESS}:{port}/{offer.name}"
        plain = sum(offer.exchange.sizes[each] for each in offer.exchange.plain)
        if plain > _LARGE and measure_bandwidth(host, children) < _SLOW:
            offer.compress()
        name = f"{repository}:{TAG}"
        # It removes that name even if the connection breaks.
        stack.enter_context(closing(Arrival(destination, children, name)))
        try:
            there.pull(repository, TAG, image.platform)
            _accept(there, name, image)
        except ApiError as error:
            raise _failure(error, offer, dial, destination) from error
        finally:
            # Later the name is in arguments over there, and leads to nothing.
            offer.exchange.close()
    return offer.exchange


def _accept(there: Api, name: str, image: Source) -> None:
    """Give the image that was pulled its own name; LoadError if it is another image, or not complete.

    A pull fails if the engine cannot unpack a layer. But it leaves out a layer that is unpacked already, also if the
    store has it in another form only, so that the image cannot be pushed.
    """
    if tuple(there.image(name)["RootFS"].get("Layers") or ()) != image.diff_ids:
        raise LoadError("the image that arrived has other layers")
    if is_available(there.manifests(name), image.platform) is False:
        raise LoadError("its store has some layers in another form")
    there.tag(name, *image.reference.rsplit(":", 1))


@contextmanager
def _offered(image: Source, children: Children, report: Callable[[int], object]) -> Iterator[Offer]:
    assert image.socket
    offer = Offer(image.image_id, image.socket, report)
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


def _failure(error: ApiError, offer: Offer, dial: Child, destination: Destination) -> Exception:
    """Return what it means that a pull failed."""
    if isinstance(error, Disconnected):
        dial.finish()
        if dial.wait() == SSH_FAILED:
            return failure(destination, SSH_FAILED, dial.stderr)
    elif cause := offer.failure(_SETTLED):
        return cause
    if not offer.exchange.arrived:
        return Unavailable(str(error))
    return failure(destination, 1, "eof" if isinstance(error, Disconnected) else str(error))
