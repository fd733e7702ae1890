"""Images between containerd stores, where the engine there pulls what the engine here pushes."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator

from benchmarks.lab import environment
from benchmarks.machines import APP, CHANGED, REGISTRY_PORT, build, remove_images
from benchmarks.timing import Call, Row, Series, compare, note, verdict
from benchmarks.transfers import BARE, OURS, REGISTRY, memory_row, watched
from tests.testbed import host, registry
from tests.testbed.debian import modern_usr
from tests.testbed.engine import CONTAINERD, Engine, running
from tests.testbed.relay import inside, relaying

ROUNDS = 3
WAYS = (OURS, BARE, REGISTRY)
# The image, its second version, and that again.
SENDS = {"first": APP, "second": CHANGED, "nothing new": CHANGED}
SAVE, SSH = "docker save", "ssh true"
OF_A_SAVE, BESIDE_SSH = 0.35, 1.0  # times, seconds: at most


class _Bed:
    """Two engines with containerd stores; the commands run in the network of the one here."""

    def __init__(self, binaries: str, here: Engine, there: Engine, far: host.Host, env: dict[str, str]) -> None:
        self.here, self.there = here, there
        self._ssh = f"ssh -p {far.port} dock@{far.address}"
        self._ours = [os.path.join(binaries, "transfer-image"), f"dock@{far.address}:{far.port}"]
        self._env = env

    def call(self, way: str, reference: str) -> Call:
        """Return the command line of a way."""
        command, to = self._ours
        near, name = f"127.0.0.1:{REGISTRY_PORT}/{reference}", f"localhost:{REGISTRY_PORT}/{reference}"
        push = f"docker tag {reference} {near} && docker push --quiet {near}"
        lines = {
            OURS: shlex.join([command, reference, to]),
            BARE: f"docker save {reference} | {self._ssh} docker load",
            REGISTRY: f"{push} && {self._ssh} docker pull --quiet {name}",
            SAVE: f"docker save {reference} >/dev/null",
            SSH: f"{self._ssh} true",
        }
        return Call([*inside(registry.daemon(self.here)), "bash", "-o", "pipefail", "-c", lines[way]], "/", self._env)

    @contextlib.contextmanager
    def prepared(self, way: str) -> Iterator[None]:
        """Take all images from the far side, and give it an empty registry when that is the way."""
        remove_images(self.there)
        if way != REGISTRY:
            yield
            return
        with (
            registry.serving(self.there, "localhost", port=REGISTRY_PORT, near=False) as far,
            relaying(
                "127.0.0.1",
                REGISTRY_PORT,
                clients=registry.daemon(self.here),
                server=registry.daemon(self.there),
                listen=REGISTRY_PORT,
            ),
        ):
            yield
        shutil.rmtree(far.directory)


def pulling(binaries: str) -> list[Row]:
    """Send the image, its second version, and that again, each way; beside one docker save, and a login by ssh."""
    note("starting two Docker Engines with the containerd image store")
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    memory = [0.0]
    with _opened(binaries) as bed:
        ways = [*WAYS]
        for count in range(ROUNDS):
            for way in ways:
                note(f"containerd, round {count + 1} of {ROUNDS}: {way}")
                with bed.prepared(way):
                    for send, reference in SENDS.items():
                        os.sync()
                        seconds, most = watched(bed.call(way, reference))
                        times[way, send].append(seconds)
                        memory.append(most if way == OURS else 0.0)
            for way in (SAVE, SSH):
                times[way, ""].append(watched(bed.call(way, CHANGED))[0])
            ways.reverse()
    return [*_rows(times), memory_row(OURS, max(memory))]


@contextlib.contextmanager
def _opened(binaries: str) -> Iterator[_Bed]:
    with contextlib.ExitStack() as stack:
        home = f"{stack.enter_context(tempfile.TemporaryDirectory(prefix='dockerutils-benchmarks-'))}/home"
        here, there = (stack.enter_context(running(modern_usr(), **CONTAINERD)) for _ in range(2))
        far = stack.enter_context(host.serving(there, near=True))
        env = {**environment(home), **host.at_home(home), **here.client(f"{home}/.docker")}
        relay = stack.enter_context(relaying(far.address, far.port, clients=registry.daemon(here)))
        far = far.at(relay.address, relay.port)
        far.admit(home)
        build(here)
        yield _Bed(binaries, here, there, far, env)


def _rows(times: dict[tuple[str, str], list[float]]) -> Iterator[Row]:
    for send in SENDS:
        ours = times[OURS, send]
        for way in (BARE, REGISTRY):
            yield _row(send, ours, way, times[way, send])
        if send != "first":
            row = _row(send, ours, SAVE, times[SAVE, ""])
            yield row._replace(wanted=verdict(f"≤ {OF_A_SAVE:g} times", met=float(row.ratio) <= OF_A_SAVE))
    row = _row("second", times[OURS, "second"], SSH, times[SSH, ""])
    yield row._replace(wanted=verdict(f"≤ +{BESIDE_SSH:g} s", met=float(row.added.removesuffix(" s")) <= BESIDE_SSH))


def _row(send: str, ours: list[float], way: str, other: list[float]) -> Row:
    return compare(Series(f"{OURS}, {send}", ours), Series(way, other), "s")
