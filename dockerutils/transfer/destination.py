"""The other side of a transfer: its engine, the images it has, and the bandwidth of the connection."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Child, Children
from dockerutils.docks import engine_api
from dockerutils.docks.remote import Docker, RemoteHost
from dockerutils.docks.ssh_config import SSH_FAILED

if TYPE_CHECKING:
    from dockerutils.docker.api import Api, ApiError

_ASK_FOR_ZSTD = 'command -v zstd >/dev/null && echo "dockerutils zstd"'
# The first engine that says which images of a containerd store are complete, by API 1.47. Older ones get all layers.
_VERIFIABLE = 27, 2

# What an engine says when it takes no image at all, and what it means.
_FATAL = {
    r"no space left": "the disk there is full; free some space, see: docker system df",
    r"cannot connect|error during connect|eof|broken pipe|connection reset": (
        "the engine there has stopped; start it and run the command again"
    ),
    r"no such image": "the image was removed there after it arrived; run the command again",
}

# What the host prints when it is ready to read, and when it has read all bytes of a measurement.
_READY = b"dockerutils\n"
# Bytes that are sent to measure the bandwidth, the more only if the fewer took less than that many seconds.
_MEASUREMENTS, _LONG_ENOUGH = (1 << 18, 1 << 20), 0.25


class Compressor(NamedTuple):
    """A program that compresses a stream, and the one that expands it, "" if docker load does that."""

    compress: tuple[str, ...]
    expand: str = ""


class LoadError(Exception):
    """The destination did not take what was sent; the message says why."""


class Destination(NamedTuple):
    """A host: its docker command, a connection to its engine and the child that makes it, compressors.

    `platform` is that of the engine, such as linux/x86_64. `is_classic`: the engine has the classic image store, not
    containerd's. `is_verifiable`: the engine knows which images are complete.
    """

    host: RemoteHost
    docker: Docker
    engine: Api
    dial: Child
    platform: str
    is_classic: bool
    is_verifiable: bool
    compressors: list[Compressor]

    def images(self) -> list[tuple[str, ...]]:
        """Return the diff ids of the images that an image can share layers with."""
        return list(self.engine.layers()) if self.is_verifiable else []

    def image_id(self, reference: str) -> str:
        """Return the ID of an image there, by its full name; of a containerd store, that is its digest."""
        from dockerutils.docker.api import ApiError  # late, as in `probe`

        try:
            return str(self.engine.image(reference)["Id"])
        except ApiError as error:
            raise self.refusal(error) from error

    def failure(self, status: int, message: str) -> Exception:
        """Return what a command means that failed there with this status and message.

        CommandFailed if no image can arrive there now, LoadError if another attempt with all layers can succeed.
        """
        if status == SSH_FAILED:
            return CommandFailed(status, self.host.explain(message))
        for pattern, meaning in _FATAL.items():
            if re.search(pattern, message, re.IGNORECASE):
                return CommandFailed(status, f"{self.host.name}: {meaning}")
        return LoadError((message.strip().splitlines() or ["no message"])[-1].strip())

    def refusal(self, error: ApiError) -> Exception:
        """Return what an error of the engine's API means, see `failure`."""
        from dockerutils.docker.api import Disconnected  # late, as in `probe`

        if not isinstance(error, Disconnected):
            return self.failure(1, str(error))
        self.dial.finish()
        return self.failure(SSH_FAILED, self.dial.stderr) if self.dial.wait() == SSH_FAILED else self.failure(1, "eof")


_GZIP = Compressor(("gzip", "-c", "-1"))
# Two threads and 2 MB blocks, on machines of any size: they limit the memory.
_ZSTD = [Compressor(("zstd", "-q", "-c", "-T2", "-B2M", level), "zstd -q -d -c") for level in ("-1", "-6")]


def probe(host: RemoteHost, children: Children) -> Destination:
    """Return what a host has; an error if it is not reached, or has no docker that its user is allowed to use."""
    dial = engine_api.dial(host, children, _ASK_FOR_ZSTD)
    docker, engine, info, text = engine_api.connect(host, dial)
    from dockerutils.docker import api  # late: ssh connected meanwhile

    is_classic = api.is_classic(info)
    has_zstd = "\ndockerutils zstd\n" in text
    return Destination(
        host,
        docker,
        engine,
        dial,
        f"{info['OSType']}/{info['Architecture']}",
        is_classic,
        is_classic or not _is_older(info["ServerVersion"], _VERIFIABLE),
        [each for each in ([*_ZSTD, _GZIP] if has_zstd else [_GZIP]) if _is_installed(each.compress[0])],
    )


def _is_older(version: str, than: tuple[int, int]) -> bool:
    match = re.match(r"(\d{1,9})\.(\d{1,9})", version)
    return match is not None and (int(match[1]), int(match[2])) < than


def _is_installed(program: str) -> bool:
    return any(os.access(os.path.join(each, program), os.X_OK) for each in os.get_exec_path())


def measure_bandwidth(host: RemoteHost, children: Children) -> float:
    """Return about how many bytes a second the connection transfers, measured with bytes that cannot be compressed.

    The time of a round trip is subtracted. Other work only slows a machine down, so the best measurement counts.
    """
    reads = "".join(f"head -c {size} >/dev/null; echo dockerutils; " for size in (1, *_MEASUREMENTS))
    child = children.start(host.argv(f"sh -c 'echo dockerutils; {reads}'"), stdin=PIPE)
    child.await_line(_READY)

    def seconds_for(size: int) -> float:
        start = time.monotonic()
        with suppress(BrokenPipeError):  # the transfer reports it
            child.write(os.urandom(size))
        child.await_line(_READY)
        return time.monotonic() - start

    round_trip, bandwidth = seconds_for(1), 0.0
    for size in _MEASUREMENTS:
        seconds = seconds_for(size)
        bandwidth = max(bandwidth, size / max(seconds - round_trip, seconds / 10))
        if seconds > _LONG_ENOUGH:
            break
    child.finish()
    return bandwidth
