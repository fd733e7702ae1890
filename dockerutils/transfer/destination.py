"""The other side of a transfer: whether its docker may be used, what it has, and how fast it is reached."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from contextlib import suppress
from typing import NamedTuple

from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import PIPE, Children
from dockerutils.docker import engine
from dockerutils.docks import remote
from dockerutils.docks.remote import Destination

# Asked in one go, by sh. The answers are marked: a login shell may have said something before. `docker` may stand
# where only an interactive shell looks for it.
_QUESTIONS = """\
command -v zstd >/dev/null && echo 'dockerutils zstd'
docker=docker
if ! command -v docker >/dev/null; then
    PATH=$PATH:/usr/local/bin:/usr/bin:/snap/bin:/opt/bin:/opt/homebrew/bin:$HOME/.docker/bin:$HOME/bin
    docker=$(command -v docker) || exit 0
fi
sudo=
if ! images=$("$docker" image ls -aq --no-trunc 2>&1); then
    said=$images sudo='sudo -n '
    if ! images=$(sudo -n "$docker" image ls -aq --no-trunc 2>/dev/null); then
        echo "dockerutils refused $(echo "$said" | tr '\\n' ' ')"
        exit 0
    fi
fi
echo "dockerutils docker $sudo$docker"
echo "dockerutils driver $($sudo"$docker" info --format '{{json .DriverStatus}}')" &
images=$(echo "$images" | grep ^sha256: | sort -u)
[ -z "$images" ] || layers=$(
    echo "$images" | xargs $sudo"$docker" image inspect --format 'dockerutils layers {{json .RootFS.Layers}}'
)
wait
echo "$layers"
exit 0
"""

# What a host says when it is about to take bytes, and when it has taken them.
_HEARD = b"dockerutils\n"
# Bytes that are sent to see how fast a connection is: more, unless those before took more than that many seconds.
_SOUNDINGS, _ENOUGH = (1 << 18, 1 << 20), 0.25


class Compressor(NamedTuple):
    """A program that makes a stream smaller, and the one that undoes it, unless docker load does that by itself."""

    compress: tuple[str, ...]
    expand: str = ""


class Target(NamedTuple):
    """What a destination has: the line that runs its docker, its images' layers, its kind of store, compressors."""

    where: Destination
    docker: str
    stores: list[list[str]]
    containerd: bool
    compressors: list[Compressor]


_GZIP = Compressor(("gzip", "-c", "-1"))
# Two threads, however many a machine could run, and what each works on at a time: that is the memory it takes.
_ZSTD = [Compressor(("zstd", "-q", "-c", "-T2", "-B2M", level), "zstd -q -d -c") for level in ("-1", "-6")]


def ask(where: Destination, children: Children) -> Target:
    """Return what a destination has; an error when it is not reached, or has no docker that may be used."""
    asking = children.start(where.argv("sh -s"), stdin=PIPE)
    said = re.findall(r"(?m)^dockerutils (\w+) ?(.*)", asking.finish(_QUESTIONS.encode()).decode(errors="replace"))
    if status := asking.wait():
        raise CommandFailed(status, remote.explain(where, asking.stderr))
    answers = dict(said)
    if "refused" in answers:
        raise DockerutilsError(f"{where.name}: {engine.refusal(answers['refused'])}")
    if "docker" not in answers:
        raise DockerutilsError(f"{where.name}: docker was not found there; install it, or add it to that user's PATH")
    sudo, docker = re.findall("(sudo -n )?(.*)", answers["docker"])[0]
    return Target(
        where,
        sudo + shlex.quote(docker),
        [json.loads(chain) or [] for kind, chain in said if kind == "layers"],
        "io.containerd.snapshotter" in answers.get("driver", ""),
        [each for each in ([*_ZSTD, _GZIP] if "zstd" in answers else [_GZIP]) if _is_here(each.compress[0])],
    )


def _is_here(program: str) -> bool:
    return any(os.access(os.path.join(each, program), os.X_OK) for each in os.get_exec_path())


def sound(where: Destination, children: Children) -> float:
    """Return about how many bytes a second the connection takes, by sending some that cannot be compressed.

    What a byte takes, to get there and to be answered, is left out. Something else to do makes a machine slower, never
    faster: the best figure is the one to take.
    """
    takes = "".join(f"head -c {size} >/dev/null; echo dockerutils; " for size in (1, *_SOUNDINGS))
    child = children.start(where.argv(f"sh -c 'echo dockerutils; {takes}'"), stdin=PIPE)
    child.await_line(_HEARD)

    def taken(size: int) -> float:
        start = time.monotonic()
        with suppress(BrokenPipeError):  # the transfer will tell
            child.write(os.urandom(size))
        child.await_line(_HEARD)
        return time.monotonic() - start

    trip, rate = taken(1), 0.0
    for size in _SOUNDINGS:
        seconds = taken(size)
        rate = max(rate, size / max(seconds - trip, seconds / 10))
        if seconds > _ENOUGH:
            break
    child.finish()
    return rate
