"""An image on its way to another machine: transfer-image, and what one would do without it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.machines import APP, CHANGED, REGISTRY_PORT, Link, Machines, remove_images
from benchmarks.timing import Call, Row, note, run, verdict
from tests.testbed import registry

OURS, HIDDEN = "transfer-image", "the same, by docker save"
GZIP, BARE, REGISTRY = "save, gzip, ssh load", "save, ssh load", "push, ssh pull"
PEERS = (GZIP, BARE, REGISTRY)
FIRST, SECOND = "first", "second"
ROUNDS_LOOPBACK, ROUNDS_HELD = 3, 2

HEADER = ("link", "send", "with", "seconds", "on the wire", "of the image", "times as long", "wanted")
TIMES, SHARE, MEMORY = 20.0, 0.01, 100.0  # faster at least; of the image's bytes, and MB, less than that

_LOOK = 0.05  # seconds between two looks at the memory


class Sent(NamedTuple):
    """What it took to send: seconds, bytes on the wire, and the most memory, in MB, that our processes had."""

    seconds: float
    gone: int
    memory: float


Results = Mapping[tuple[str, str, str], Sequence[Sent]]  # by link, send and way, a value for each round


class Line(NamedTuple):
    """A line of the table with that header."""

    link: str
    send: str
    way: str
    seconds: str
    gone: str
    share: str
    times: str
    wanted: str = ""


def measure(machines: Machines) -> Results:
    """Send the image and its second version, each way to a machine that has nothing of them, on each link."""
    results: dict[tuple[str, str, str], list[Sent]] = defaultdict(list)
    for link, rounds in ((machines.loopback, ROUNDS_LOOPBACK), (machines.held, ROUNDS_HELD)):
        ways = [OURS, HIDDEN, *PEERS]
        for count in range(rounds):
            for way in ways:
                note(f"{link.name}, round {count + 1} of {rounds}: {way}")
                with _prepared(machines, way):
                    for send, reference in {FIRST: APP, SECOND: CHANGED}.items():
                        results[link.name, send, way].append(_sent(machines, link, way, reference))
            ways.reverse()
    return results


@contextlib.contextmanager
def _prepared(machines: Machines, way: str) -> Iterator[None]:
    """Take all images from the far side, and give it an empty registry when that is the way."""
    remove_images(machines.there)
    if way != REGISTRY:
        yield
        return
    with registry.serving(machines.there, "localhost", port=REGISTRY_PORT) as far:
        yield
    shutil.rmtree(far.directory)


def _sent(machines: Machines, link: Link, way: str, reference: str) -> Sent:
    os.sync()  # what the last one has left to be written is not for this one to wait for
    before = link.gone
    seconds, memory = watched(_call(machines, link, way, reference))
    gone = link.gone - before
    name = f"localhost:{REGISTRY_PORT}/{reference}" if way == REGISTRY else reference
    if machines.digests(machines.there, name) != machines.digests(machines.here, reference):
        raise SystemExit(f"benchmarks: {way}: {reference} has not arrived")
    return Sent(seconds, gone, memory)


def _call(machines: Machines, link: Link, way: str, reference: str) -> Call:
    ours = [os.path.join(machines.bin, "transfer-image"), reference, f"dock@{link.ssh.address}:{link.ssh.port}"]
    ssh = f"ssh -p {link.ssh.port} dock@{link.ssh.address}"
    name = f"127.0.0.1:{link.registry.port}/{reference}"
    lines = {
        OURS: shlex.join(ours),
        # Where the engine's files are, this command sees an empty directory.
        HIDDEN: f"unshare --mount sh -c 'mount -t tmpfs tmpfs {machines.here.directory}/data; exec {shlex.join(ours)}'",
        GZIP: f"docker save {reference} | gzip | {ssh} docker load",
        BARE: f"docker save {reference} | {ssh} docker load",
        REGISTRY: f"docker tag {reference} {name} && docker push --quiet {name} && "
        f"{ssh} docker pull --quiet localhost:{REGISTRY_PORT}/{reference}",
    }
    return Call(["bash", "-o", "pipefail", "-c", lines[way]], machines.directory, machines.env)


def watched(call: Call) -> tuple[float, float]:
    """Time a command, and look at the memory that those of its processes have which are ours, in MB."""
    peaks = [0.0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK):
            peaks.append(_memory(child.pid))

    with subprocess.Popen(
        call.argv, cwd=call.directory, env=call.env, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        start = time.perf_counter()
        looking = threading.Thread(target=look)
        looking.start()
        said, _ = child.communicate()
        seconds = time.perf_counter() - start
        ended.set()
        looking.join()
    if child.returncode:
        raise SystemExit(f"benchmarks: {call.argv[-1]} ended with {child.returncode}:\n{said}")
    return seconds, max(peaks)


def _memory(pid: int, parent: str = "") -> float:
    """Return the most that a process and those below it have held so far, in MB, without docker's and ssh's.

    proc(5): VmHWM in status. A child that is still the parent's program is about to become its own.
    """
    try:
        program = os.readlink(f"/proc/{pid}/exe")
        if program == parent or os.path.basename(program) in {"docker", "ssh"}:
            return 0.0
        with open(f"/proc/{pid}/status") as status:
            facts = dict(line.split(":", 1) for line in status)
        own = int(facts.get("VmHWM", "0").split()[0]) * 1024 / 1e6
        return own + sum(_memory(child, program) for child in _children(pid))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has ended


def _children(pid: int) -> Iterator[int]:
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as children:
            yield from map(int, children.read().split())


def lines(results: Results, image: int) -> list[Line]:
    """Return the lines of the table; `image` is its length in bytes."""
    return [_line(results, key, image) for key in sorted(results, key=_place)]


def _place(key: tuple[str, str, str]) -> tuple[bool, bool, int]:
    link, send, way = key
    return link != "loopback", send == SECOND, [OURS, HIDDEN, *PEERS].index(way)


def _line(results: Results, key: tuple[str, str, str], image: int) -> Line:
    link, send, way = key
    pairs = list(zip(results[key], results[link, send, OURS], strict=True))
    gone = median(sent.gone for sent in results[key])
    return Line(
        link,
        send,
        way,
        f"{_seconds(results, key):.2f} s",
        f"{gone / 1e6:.2f} MB",
        f"{gone / image:.2%}",
        f"{median(sent.seconds / ours.seconds for sent, ours in pairs):.2f}",
        _wanted(results, link, send, image) if way == OURS else "",
    )


def _seconds(results: Results, key: tuple[str, str, str]) -> float:
    return median(sent.seconds for sent in results[key])


def _wanted(results: Results, link: str, send: str, image: int) -> str:
    """Say what is wanted of our send, and whether it is so."""
    ours = results[link, send, OURS]
    if send == FIRST:
        best = min(_seconds(results, (link, send, way)) for way in PEERS)
        return verdict("no slower than the best below", met=_seconds(results, (link, send, OURS)) <= best)
    wanted = verdict(f"< {SHARE:.0%}", met=max(sent.gone for sent in ours) < SHARE * image)
    if link == "loopback":
        return wanted
    pairs = zip(results[link, send, GZIP], ours, strict=True)
    times = median(gzip.seconds / sent.seconds for gzip, sent in pairs)
    return f"{wanted}; {GZIP} {verdict(f'≥ {TIMES:g} times', met=times >= TIMES)}"


def memory(results: Results) -> list[Row]:
    """Return the most memory that our processes had in any of the sends, those that could not read the files too."""
    rows = []
    for way in (OURS, HIDDEN):
        most = max(sent.memory for key, each in results.items() if key[2] == way for sent in each)
        rows.append(memory_row(way, most))
    return rows


def memory_row(way: str, most: float) -> Row:
    """Return the row for the most memory, in MB, that our processes had in the sends of one way."""
    return Row(f"most memory: {way}", f"{most:.1f} MB", wanted=verdict(f"< {MEMORY:g} MB", met=most < MEMORY))


def described(machines: Machines, results: Results) -> str:
    """Say what was sent, with the bytes that its first send took with gzip and without."""
    plain, packed = (median(sent.gone for sent in results["loopback", FIRST, way]) for way in (BARE, GZIP))
    count = machines.digests(machines.here, APP).count("sha256:")
    size, more = length(machines, APP), length(machines, CHANGED)
    return (
        f"The image: {size / 1e6:.1f} MB in {count} layers, of which gzip leaves {packed / plain:.0%}. "
        f"Its second version: one more layer, of {(more - size) / 1e6:.1f} MB."
    )


def length(machines: Machines, reference: str) -> int:
    """Return the length of an image's archive."""
    command = f"docker save {reference} | wc -c"
    return int(run(Call(["sh", "-c", command], machines.directory, machines.env)))
