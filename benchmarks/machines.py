"""Where images are moved: two machines with an engine each, the links between them, and an image of the usual size."""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.lab import environment, installed, write
from benchmarks.timing import note
from tests.testbed import host, registry
from tests.testbed.debian import modern_usr
from tests.testbed.engine import Engine, running
from tests.testbed.relay import Relay, relaying

APP, CHANGED = "app:1", "app:2"
REGISTRY_PORT = 5000  # of the far machine's localhost
RATE, DELAY = 12.5e6, 0.02  # of the link that is held: bytes a second, seconds one way

# Bytes of the image: programs, libraries and texts, in layers of about that many; what is packed already; the change.
_FILES, _LAYER, _PACKED, _CHANGE = 430_000_000, 60_000_000, 70_000_000, 1_000_000


class Link(NamedTuple):
    """A way to the far machine: to its sshd, and to its registry."""

    name: str
    ssh: Relay
    registry: Relay

    @property
    def gone(self) -> int:
        """The bytes that have gone over it, both ways."""
        return sum(relay.sent + relay.received for relay in (self.ssh, self.registry))


class Machines(NamedTuple):
    """Two machines: this one, and the far one."""

    bin: str  # the directory of the installed commands
    directory: str  # for projects
    env: Mapping[str, str]  # of a user here, whom the far machine admits
    here: Engine
    there: Engine
    loopback: Link
    held: Link

    def digests(self, engine: Engine, reference: str) -> str:
        """Return what an engine has below that name: the digests of the layers."""
        return engine.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference)


@contextlib.contextmanager
def opened() -> Iterator[Machines]:
    """Make all of it, and remove it again."""
    with contextlib.ExitStack() as stack:
        needed = installed("transfers", "debootstrap", "sshd", "docker-registry", "nsenter")
        directory, binaries = stack.enter_context(needed)
        note("starting two Docker Engines (the first time, Debian's is fetched)")
        here, there = (stack.enter_context(running(modern_usr())) for _ in range(2))
        far = stack.enter_context(host.serving(there))
        home = f"{directory}/home"
        env = {**environment(home), **host.at_home(home), **here.client(f"{home}/.docker")}
        links = []
        for name, rate, delay in (("loopback", None, 0.0), ("100 Mbit/s, 20 ms", RATE, DELAY)):
            ssh = stack.enter_context(relaying(far.address, far.port, rate=rate, delay=delay))
            far.at(ssh.address, ssh.port).admit(home)
            ends = {"clients": registry.daemon(here), "server": registry.daemon(there)}
            relay = relaying("127.0.0.1", REGISTRY_PORT, rate=rate, delay=delay, **ends)
            links.append(Link(name, ssh, stack.enter_context(relay)))
        build(here)
        yield Machines(binaries, directory, env, here, there, *links)


def remove_images(engine: Engine) -> None:
    """Remove all images of an engine."""
    if images := set(engine.docker("image", "ls", "--all", "--quiet").split()):
        engine.docker("image", "rm", "--force", *images)


def build(engine: Engine) -> None:
    """Build the image, of what Debian's modern engine consists of, and its second version."""
    note("building an image of 500 MB")
    with tempfile.TemporaryDirectory(prefix="dockerutils-benchmarks-") as context:
        names = _pack(modern_usr(), context)
        for name, size in {"packed": _PACKED, "change": _CHANGE}.items():
            with open(f"{context}/{name}", "wb") as stream:
                stream.write(os.urandom(size))
        adding = "".join(f"ADD {name} /usr/\n" for name in names)
        write(f"{context}/Dockerfile", f"FROM scratch\n{adding}COPY packed /srv/packed\n")
        engine.docker("build", "--quiet", "--tag", APP, context)
        write(f"{context}/Dockerfile", f"FROM {APP}\nCOPY change /srv/change\n")
        engine.docker("build", "--quiet", "--tag", CHANGED, context)


def _pack(tree: str, directory: str) -> list[str]:
    """Put the first files of a tree, in the order of their names, into archives that are to become layers."""
    names: list[str] = []
    size = total = 0
    with contextlib.ExitStack() as stack:
        for path in _regular_files(tree):
            if not names or size >= _LAYER:
                names.append(f"layer{len(names)}.tar")
                tar = stack.enter_context(tarfile.open(f"{directory}/{names[-1]}", "w"))
                size = 0
            tar.add(path, os.path.relpath(path, tree))
            size += os.path.getsize(path)
            total += os.path.getsize(path)
            if total >= _FILES:
                break
    return names


def _regular_files(tree: str) -> Iterator[str]:
    for directory, directories, files in os.walk(tree):
        directories.sort()
        for path in (os.path.join(directory, name) for name in sorted(files)):
            if os.path.isfile(path) and not os.path.islink(path):
                yield path
