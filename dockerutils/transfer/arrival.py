"""The arrival of an image at a destination: it gets its own name there only when it is complete.

Until then it has a temporary name, whichever way it travels. A shell at the destination removes that name when its own
input ends, also when the connection breaks or this process is killed.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Children
from dockerutils.docker.api import ApiError, platform_of
from dockerutils.transfer.destination import Destination, LoadError

# A container exists for a moment, see `accept`.
_START = """\
forget() {{ {docker} rm -fv {container}; {docker} image rm -f {name}; }}
trap 'forget >/dev/null 2>&1 </dev/null' EXIT
trap 'exit 1' HUP INT TERM
"""
_DONE = b"trap - EXIT\n"


class Content(NamedTuple):
    """What has to arrive: an image's full name and tag, its diff ids, and its platform, such as linux/amd64."""

    reference: str
    diff_ids: tuple[str, ...]
    platform: str


class Arrival:
    """An image that arrives at a destination as `name`, a temporary full name and tag, which `close` removes."""

    def __init__(self, destination: Destination, children: Children, name: str = "") -> None:
        token = secrets.token_hex(16)
        self.name = name or f"docker.io/dockerutils/arrival:{token}"
        self._container = f"dockerutils-{token}"
        self._destination = destination
        self._is_named = False
        self._shell = children.start(destination.host.argv("sh -s"), stdin=PIPE)
        script = _START.format(name=shlex.quote(self.name), container=self._container, docker=destination.docker)
        with suppress(BrokenPipeError):  # the connection has ended
            self._shell.write(script.encode())

    def close(self) -> None:
        """Remove the temporary name, and with it an image that has no other name."""
        if self._is_named:
            with suppress(ApiError, BrokenPipeError):
                self._destination.engine.untag(self.name)
                self._shell.write(_DONE)
        self._shell.finish()

    def accept(self, content: Content, *, is_unpacked: bool = False) -> None:
        """Give the image that has arrived its own name, in the place of an image that has that name now.

        `is_unpacked`: a container can certainly be created of it. LoadError if the image differs from `content`, if no
        container can be created of it, or if the store does not have all of it, so that it could not be pushed from
        there. CommandFailed if the engine or the connection there ended, or the disk is full.
        """
        engine, platform = self._destination.engine, "" if self._destination.is_classic else content.platform
        try:
            # A containerd store lists also images that it does not have all of, or could not unpack.
            familiar = self.name.removeprefix("docker.io/")
            if platform and is_available(engine.manifests(familiar), platform) is False:
                raise LoadError("its store has some layers in another form")
            record = engine.image(self.name, platform)
            if tuple(record["RootFS"].get("Layers") or ()) != content.diff_ids:
                raise LoadError("the image that arrived has other layers")
            if platform and not is_unpacked:  # it is unpacked for a container
                engine.create(self._container, self.name, platform)
                engine.remove(self._container)
            engine.tag(self.name, *content.reference.rsplit(":", 1))
        except ApiError as error:
            raise self._destination.refusal(error) from error
        self._is_named = True


def is_available(manifests: Iterable[Any], platform: str) -> bool | None:
    """Return whether all content of a platform's image is there; None if the engine does not say, before API 1.47."""
    try:
        images = {platform_of(each): each["Available"] is True for each in manifests if each["Kind"] == "image"}
    except (LookupError, TypeError, AttributeError):
        return None
    return images.get(platform, any(images.values())) if images else None
