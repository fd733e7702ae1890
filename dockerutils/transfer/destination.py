"""The other side of a transfer: its docker, the images it has, and the bandwidth of the connection."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from typing import NamedTuple

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Children
from dockerutils.docks.remote import Docker, RemoteHost, find_docker

_INFO = "{{.OSType}}/{{.Architecture}} {{.ServerVersion}} {{json .DriverStatus}}"
# One script for all questions. The answers are marked: a login shell can print something before them.
_QUESTIONS = f"""\
command -v zstd >/dev/null && echo 'dockerutils zstd'
{find_docker("image ls -aq --no-trunc")}
[ -n "$docker" ] && [ -z "$refused" ] || exit 0
info=$($sudo"$docker" info --format '{_INFO}') &&
    echo "dockerutils info $info" &
images=$(echo "$answer" | grep ^sha256: | sort -u)
[ -z "$images" ] || layers=$(
    echo "$images" | xargs $sudo"$docker" image inspect --format 'dockerutils layers {{{{json .RootFS.Layers}}}}'
)
wait
echo "$layers"
exit 0
"""
# The first engine that says which images of a containerd store are complete, by API 1.47. Older ones get all layers.
_VERIFIABLE = 27, 2
# Bytes of the answers; those of a thousand images are fewer than a tenth.
_ANSWERS = 16 << 20

# What the host prints when it is ready to read, and when it has read all bytes of a measurement.
_READY = b"dockerutils\n"
# Bytes that are sent to measure the bandwidth, the more only if the fewer took less than that many seconds.
_MEASUREMENTS, _LONG_ENOUGH = (1 << 18, 1 << 20), 0.25


class Compressor(NamedTuple):
    """A program that compresses a stream, and the one that expands it, "" if docker load does that."""

    compress: tuple[str, ...]
    expand: str = ""


class Destination(NamedTuple):
    """A host and what it has: its docker, the diff ids of the images that it can share layers of, compressors.

    `platform` is that of its engine, such as linux/x86_64, "" if unknown. `is_classic`: the engine certainly has the
    classic image store, not containerd's.
    """

    host: RemoteHost
    docker: Docker
    images: list[tuple[str, ...]]
    platform: str
    is_classic: bool
    compressors: list[Compressor]


_GZIP = Compressor(("gzip", "-c", "-1"))
# Two threads and 2 MB blocks, on machines of any size: they limit the memory.
_ZSTD = [Compressor(("zstd", "-q", "-c", "-T2", "-B2M", level), "zstd -q -d -c") for level in ("-1", "-6")]


def probe(host: RemoteHost, children: Children) -> Destination:
    """Return what a host has; an error if it is not reached, or has no docker that its user is allowed to use."""
    script = children.start(host.argv("sh -s"), stdin=PIPE)
    output = script.finish(_QUESTIONS.encode(), limit=_ANSWERS).decode(errors="replace")
    if status := script.wait():
        raise CommandFailed(status, host.explain(script.stderr))
    lines = re.findall(r"(?m)^dockerutils (\w+) ?(.*)", output)
    answers = dict(lines)
    platform, version, store = f"{answers.get('info', '')}  ".split(" ", 2)
    is_classic = store.strip() != "" and "io.containerd.snapshotter" not in store
    images = [diff_ids(text) or () for kind, text in lines if kind == "layers"]
    return Destination(
        host,
        host.docker_in(output),
        images if is_classic or not _is_older(version, _VERIFIABLE) else [],
        platform,
        is_classic,
        [each for each in ([*_ZSTD, _GZIP] if "zstd" in answers else [_GZIP]) if _is_installed(each.compress[0])],
    )


def _is_older(version: str, than: tuple[int, int]) -> bool:
    match = re.match(r"(\d{1,9})\.(\d{1,9})", version)
    return match is not None and (int(match[1]), int(match[2])) < than


def diff_ids(text: str) -> tuple[str, ...] | None:
    """Return the diff ids in `{{json .RootFS.Layers}}` of docker image inspect, None if the text is something else."""
    try:
        layers = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if layers is None:  # an image without layers
        return ()
    return tuple(map(str, layers)) if isinstance(layers, list) else None


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
