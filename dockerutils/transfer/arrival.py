"""The arrival of an image at a destination: it gets its own name there only when it is complete.

Until then it has a temporary name, whichever way it travels. A shell at the destination removes that name when its own
input ends: after the transfer, and also when the connection breaks or this process is killed.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Child, Children
from dockerutils.docks.ssh_config import SSH_FAILED
from dockerutils.transfer.destination import Destination, diff_ids

# What an engine writes when it takes no image at all, and what it means.
_FATAL = {
    r"no space left": "the disk there is full; free some space, see: docker system df",
    r"cannot connect|error during connect|eof|broken pipe|connection reset": (
        "the engine there has stopped; start it and run the command again"
    ),
    r"no such image": "the image was removed there after it arrived; run the command again",
}
_END = b"dockerutils end\n"
_LIMIT = 1 << 20  # bytes of an answer

# `ask` does not read the shell's own input, which is this script. A container exists for a moment, see `_QUESTIONS`.
_START = """\
name={name} container=
ask() {{ {docker} "$@" </dev/null; }}
forget() {{ [ -z "$container" ] || ask rm -fv "$container"; ask image rm -f "$name"; }}
trap 'forget >/dev/null 2>&1' EXIT
trap 'exit 1' HUP INT TERM
"""
_LAYERS = "ask image inspect --format 'dockerutils layers {{json .RootFS.Layers}}' \"$name\"\n"
# The containerd store also lists an image that it could not unpack. To create a container, it unpacks what is not.
_CREATE = """\
container=$(ask create --pull never --network none --platform {platform} --entrypoint /dockerutils "$name") &&
    ask rm -v "$container" >/dev/null && container= && echo dockerutils runs yes
"""


class LoadError(Exception):
    """The destination did not take what was sent; the message says why."""


class Content(NamedTuple):
    """What has to arrive: an image's full name and tag, its diff ids, and its platform, such as linux/amd64."""

    reference: str
    diff_ids: tuple[str, ...]
    platform: str


class Arrival:
    """An image that arrives at a destination as `name`, a temporary full name and tag, which `close` removes."""

    def __init__(self, destination: Destination, children: Children, name: str = "") -> None:
        self.name = name or f"docker.io/dockerutils/arrival:{secrets.token_hex(16)}"
        self._destination = destination
        self._children = children
        self._docker = str(destination.docker)
        self._shell = children.start(destination.host.argv("sh -s"), stdin=PIPE)
        with suppress(BrokenPipeError):  # `accept` reports it
            self._shell.write(_START.format(name=shlex.quote(self.name), docker=self._docker).encode())

    def close(self) -> None:
        """Remove the temporary name, and with it an image that has no other name."""
        self._shell.finish()

    def accept(self, content: Content, *, partial: bool) -> None:
        """Give the image that has arrived its own name, in the place of an image that has that name now.

        `partial`: only missing layers were sent. LoadError if the image differs from `content`, if no container can be
        created of it, or if the store does not have all of it, so that it could not be pushed from there. CommandFailed
        if the engine or the connection there ended, or the disk is full.
        """
        if self._destination.is_classic:
            self._require(self._ask(_LAYERS), content)
        else:
            # Asked meanwhile.
            listing = self._start_listing()
            answers = self._ask(_LAYERS + _CREATE.format(platform=shlex.quote(content.platform)))
            complete = is_available(_body(listing), content.platform)
            if complete is False:
                raise LoadError("its store has some layers in another form")
            self._require(answers, content)
            if complete is None and partial:
                raise LoadError("the engine does not say whether it has all layers of the image")
            if "runs" not in answers:
                raise self._failure()
        if "named" not in self._ask(
            f'ask tag "$name" {shlex.quote(content.reference)} && echo dockerutils named yes\n'
        ):
            raise self._failure()

    def _require(self, answers: Mapping[str, str], content: Content) -> None:
        if "layers" not in answers:
            raise self._failure()
        if diff_ids(answers["layers"]) != content.diff_ids:
            raise LoadError("the image that arrived has other layers")

    def _start_listing(self) -> Child:
        """Ask the engine's API for the image, by https://docs.docker.com/reference/api/engine/ (ImageList)."""
        filters = quote(json.dumps({"reference": [self.name.removeprefix("docker.io/")]}))
        child = self._children.start(self._destination.host.argv(f"{self._docker} system dial-stdio"), stdin=PIPE)
        # We do not end its input before its output ends: the engine would cancel the request.
        with suppress(BrokenPipeError):
            child.write(f"GET /images/json?manifests=1&filters={filters} HTTP/1.0\r\n\r\n".encode())
        return child

    def _ask(self, script: str) -> dict[str, str]:
        """Run a script in the shell at the destination and return what it prints; CommandFailed if ssh has ended."""
        output = b""
        with suppress(BrokenPipeError):
            self._shell.write(script.encode() + b"echo dockerutils end\n")
            while not output.endswith(_END) and len(output) < _LIMIT and (data := self._shell.read()):
                output += data
        if not output.endswith(_END):
            self._shell.finish()
            raise failure(self._destination, self._shell.wait() or 1, self._shell.stderr)
        return dict(re.findall(r"(?m)^dockerutils (\w+) (.+)", output.decode(errors="replace")))

    def _failure(self) -> Exception:
        return failure(self._destination, 1, self._shell.stderr)


def failure(destination: Destination, status: int, message: str) -> Exception:
    """Return what a command means that failed at a destination with this status and message.

    CommandFailed if no image can arrive there now, LoadError if another attempt with all layers can succeed.
    """
    host = destination.host
    if status == SSH_FAILED:
        return CommandFailed(status, host.explain(message))
    for pattern, meaning in _FATAL.items():
        if re.search(pattern, message, re.IGNORECASE):
            return CommandFailed(status, f"{host.name}: {meaning}")
    return LoadError((message.strip().splitlines() or ["no message"])[-1].strip())


def _body(answer: Child) -> bytes:
    output = b""
    while len(output) < _LIMIT and (data := answer.read()):
        output += data
    answer.finish()
    return output.partition(b"\r\n\r\n")[2]


def is_available(text: bytes, platform: str) -> bool | None:
    """Return whether all content of a platform's image is there; None if the answer does not say, before API 1.47."""
    try:
        images = {_platform(each): each["Available"] is True for each in _image_manifests(json.loads(text))}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return images.get(platform, any(images.values())) if images else None


def _image_manifests(images: Any) -> Iterator[dict[str, Any]]:
    return (each for image in images for each in image["Manifests"] if each["Kind"] == "image")


def _platform(manifest: dict[str, Any]) -> str:
    platform = manifest["ImageData"]["Platform"]
    return "/".join(filter(None, (platform["os"], platform["architecture"], platform.get("variant"))))
