"""An image that one engine pushes while another one pulls it: blobs pass through, only manifests are kept.

The engine that pulls asks for the blobs that it does not have, a few at a time, and in an order of its own. The engine
that pushes asks for each blob whether it is there already, a few at a time, and uploads those that are not. So a blob
is there, for the one, unless the other one is waiting for it. A question about a blob that nobody waits for yet is kept
open: it is likely to be wanted next. But if a wanted blob does not come up meanwhile, all open questions are answered
with yes, and another push brings those that are wanted later.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from dockerutils.docker import platforms

# Seconds that a wanted blob has to come up in a push before the questions about other blobs are answered.
_PATIENCE = 0.1
# Pushes that end without a wanted blob: the image does not have it then.
_ATTEMPTS = 2

Deliver = Callable[[Iterator[bytes]], object]


class Manifest(NamedTuple):
    """A manifest, or an index of manifests, as its engine pushed it: its blobs are given by digest and size.

    An index has no blobs.
    """

    media_type: str
    digest: str
    data: bytes
    layers: list[tuple[str, int]]
    config: list[tuple[str, int]]


class _Want:
    """A blob that is waited for, with the function that takes its content."""

    def __init__(self, digest: str, deliver: Deliver) -> None:
        self.digest = digest
        self.deliver = deliver
        self.is_announced = self.is_taken = self.is_done = self.has_arrived = False
        self.attempts = 0


class Exchange:
    """The state of one image on its way; several threads use it.

    `plain` are the layers that are stored uncompressed, `arrived` the blobs that have passed. `report` is called with
    the number of bytes that have passed.
    """

    def __init__(self) -> None:
        self.report: Callable[[int], object] = lambda _: None
        self._sent = 0
        self._changed = threading.Condition()
        self._manifests: dict[str, Manifest] = {}
        self._sizes: dict[str, int] = {}
        self._wants: list[_Want] = []
        self._held: list[str] = []
        self._is_searching = False
        self._is_open = False
        self._is_closed = False
        self.plain: set[str] = set()
        self.arrived: set[str] = set()

    def add_manifest(self, reference: str, media_type: str, data: bytes) -> str:
        """Keep a manifest, pushed by its digest or as a tag, and return its digest; ValueError if it is none."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        try:
            manifest = json.loads(data)
            found = manifest.get("layers") or ()
            layers = [(layer["digest"], layer["size"]) for layer in found]
            plain = [each["digest"] for each in found if each.get("mediaType", "").endswith(".tar")]
            config = [(each["digest"], each["size"]) for each in [manifest.get("config")] if each]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"not a manifest: {error}") from error
        with self._changed:
            self._manifests[digest] = self._manifests[reference] = Manifest(media_type, digest, data, layers, config)
            self._sizes.update([*layers, *config])
            self.plain.update(plain)
        return digest

    def manifest(self, reference: str) -> Manifest | None:
        """Return a manifest by its digest or tag, None if there is none, or the exchange is closed."""
        return None if self._is_closed else self._manifests.get(reference)

    def image(self, tag: str, platform: str) -> Manifest | None:
        """Return the manifest of the image for a platform below a tag, None if there is none."""
        top = self._manifests.get(tag)
        entries = json.loads(top.data).get("manifests") if top else None
        if entries is None:
            return top
        found = (each["digest"] for each in entries if _is_for(platform, each.get("platform") or {}))
        return self._manifests.get(next(found, ""))

    @property
    def sizes(self) -> Mapping[str, int]:
        """The sizes of the blobs, by digest, that the manifests name."""
        return self._sizes

    def open(self) -> None:
        """Let blobs pass. Before, an engine that pushes only uploads manifests."""
        with self._changed:
            self._is_open = True

    def close(self) -> None:
        """End it: nobody waits for anything any more."""
        with self._changed:
            self._is_closed = True
            for want in self._wants:
                want.is_done = True
            self._changed.notify_all()

    def fetch(self, digest: str, deliver: Deliver) -> bool:
        """Wait until a blob is pushed, and call `deliver` with its content; return whether it was delivered."""
        want = _Want(digest, deliver)
        with self._changed:
            if self._is_closed or digest not in self._sizes:
                return False
            self._wants.append(want)
            self._changed.notify_all()
            # A delivery goes on when everything else has ended, and then fails.
            self._changed.wait_for(lambda: want.is_done and not want.is_taken)
            self._wants.remove(want)
        return want.has_arrived

    def is_there(self, digest: str) -> bool:
        """Answer an engine that pushes: whether it can leave out a blob; see above for how long that takes."""
        with self._changed:
            if not self._is_open:
                return True
            self._held.append(digest)
            self._changed.notify_all()
            try:
                return not self._await_want(digest)
            finally:
                self._held.remove(digest)

    def _await_want(self, digest: str) -> bool:
        """Return whether somebody waits for a blob; return when it is time to say so."""
        due = 0.0
        while not self._is_closed:
            waiting = [want for want in self._wants if not (want.is_announced or want.is_done)]
            if wanted := next((want for want in waiting if want.digest == digest), None):
                wanted.is_announced = True
                self._is_searching = False
                self._changed.notify_all()
                return True
            if all(want.digest in self._held for want in waiting):
                due = 0.0
                self._changed.wait()
                continue
            now = time.monotonic()
            due = due or now + _PATIENCE
            if self._is_searching or now >= due:
                self._is_searching = True
                self._changed.notify_all()
                break
            self._changed.wait(due - now)
        return False

    def upload(self, digest: str, content: Iterator[bytes]) -> None:
        """Pass the content of a blob to the one who waits for it; read it to its end in any case."""
        with self._changed:
            wants = (want for want in self._wants if want.digest == digest and not (want.is_taken or want.is_done))
            want = next(wants, None)
            if want:
                want.is_announced = want.is_taken = True
        if want:
            try:
                with suppress(OSError):  # of either side
                    want.deliver(self._counted(content))
                    want.has_arrived = True
                    self.arrived.add(digest)
            finally:
                with self._changed:
                    want.is_done, want.is_taken = True, False
                    self._changed.notify_all()
        for _ in content:
            pass

    def _counted(self, content: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in content:
            yield chunk
            with self._changed:
                self._sent += len(chunk)
                self.report(self._sent)

    def passed(self) -> tuple[int, int]:
        """Return how many layers have passed, and how many bytes of blobs."""
        counts = [
            sum(1 for each, _ in manifest.layers if each in self.arrived) for manifest in self._manifests.values()
        ]
        return max(counts, default=0), self._sent

    def serve(self, push: Callable[[], object]) -> None:
        """Call `push` whenever blobs are wanted, until the exchange is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or any(not want.is_done for want in self._wants))
                if self._is_closed:
                    return
                tried = list(self._wants)
                self._is_searching = False
            push()
            with self._changed:
                for want in tried:
                    want.attempts += 1
                    want.is_announced = False
                    want.is_done = want.is_done or want.attempts == _ATTEMPTS
                self._changed.notify_all()


def _is_for(platform: str, entry: Mapping[str, Any]) -> bool:
    own = "/".join(filter(None, (entry.get(key) for key in ("os", "architecture", "variant"))))
    return platforms.normal(own) == platforms.normal(platform)
