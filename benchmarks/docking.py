"""A docked shell: its docker calls beside plain ssh://, what docking and castoff take, and a look at all docks."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.lab import write
from benchmarks.syncing import DELAY, Place
from benchmarks.timing import Call, Row, Series, compare, milliseconds, run, say, side_by_side, verdict

ROUNDS, LIMIT = 15, 5.0
LIVE, SILENT = 15, 5
SHELLS = {"bash": ("bash", "--norc", "-c"), "zsh": ("zsh", "-f", "-c")}

# How much of the time over plain ssh:// a docker call may take.
_AT_MOST = {"near": 1 / 3, "far": 1 / 4}
_DOCKING = f"""
zmodload zsh/datetime 2>/dev/null || true
for each in {" ".join(map(str, range(ROUNDS)))}; do
    began=$EPOCHREALTIME
    source dock near
    docked=$EPOCHREALTIME
    castoff
    echo "$began $docked $EPOCHREALTIME"
done
"""


def docking(place: Place) -> list[Row]:
    """Return the rows of docker calls, of docking and castoff, and of ls-dock."""
    _add_plain_hosts(place)
    calls = [_call(place, dock) for dock in _AT_MOST]
    shells = [row for shell in SHELLS for row in _shell(place, shell)]
    return [*calls, *shells, _listing(place)]


def _add_plain_hosts(place: Place) -> None:
    """Give each dock's host a second name, below which ssh shares no connection."""
    home = place.env["HOME"]
    with open(f"{home}/.docker/dock_ssh_config", encoding="utf-8") as stream:
        shared = stream.read()
    plain = re.sub("Control.*", "", shared.replace("Host dock-", "Host plain-"))
    with open(f"{home}/.ssh/config", "a", encoding="utf-8") as stream:
        stream.write(plain)


def _call(place: Place, dock: str) -> Row:
    """Compare `docker ps` over the dock's shared connection with one that logs in each time."""
    calls = {
        name: Call(("docker", "ps"), place.project, {**place.env, "DOCKER_HOST": f"ssh://{name}-{dock}"})
        for name in ("dock", "plain")
    }
    times = side_by_side(calls, ROUNDS)
    where = "loopback" if dock == "near" else f"{DELAY * 2000:g} ms there and back"
    row = compare(Series(f"docker ps, docked, {where}", times["dock"]), Series("over plain ssh://", times["plain"]))
    at_most = _AT_MOST[dock]
    met = median(a / b for a, b in zip(times["dock"], times["plain"], strict=True)) <= at_most
    return row._replace(wanted=verdict(f"≤ {at_most:.2f} times", met=met))


def _shell(place: Place, shell: str) -> Iterator[Row]:
    say(f"{ROUNDS} rounds of: source dock, castoff ({shell})")
    environ = {**place.env, "PATH": f"{place.bin}:{place.env['PATH']}"}
    output = run(Call((*SHELLS[shell], _DOCKING), place.project, environ))
    rounds = [[float(moment) for moment in line.split()] for line in output.splitlines()]
    for name, first, limit in (("source dock", 0, 300), ("castoff", 1, 20)):
        taken = median(moments[first + 1] - moments[first] for moments in rounds) * 1000
        yield Row(f"{name}, {shell}", f"{taken:.1f} ms", wanted=verdict(f"≤ {limit} ms", met=taken <= limit))


def _listing(place: Place) -> Row:
    """Time ls-dock with docks that answer and docks that take the connection and then are silent."""
    home = place.env["HOME"]
    with open(f"{home}/.docker/dock_ssh_config", encoding="utf-8") as stream:
        near = re.search(r"Host dock-near\n *HostName (\S+)\n *User dock\n *Port (\d+)", stream.read())
    assert near
    with _silent() as silent:
        places = [near.groups()] * (LIVE - 2) + silent
        for number, (ip, port) in enumerate(places):
            record = f"DOCK_USER=dock\nDOCK_IP={ip}\nDOCK_PORT={port}\n"
            write(f"{home}/.docker/dock{number:02}/connection_config.txt", record)
        call = Call((f"{place.bin}/ls-dock", "-t", f"{LIMIT:g}"), place.project, place.env)
        say("ls-dock")
        taken = milliseconds(call) / 1000
        rows = run(call).count(" running ")
    name = f"ls-dock -t {LIMIT:g}, {LIVE + SILENT} docks of which {SILENT} are silent; {rows} rows complete"
    met = taken <= LIMIT + 1 and rows == LIVE
    return Row(name, f"{taken:.2f} s", wanted=verdict(f"≤ {LIMIT + 1:g} s, {LIVE} rows", met=met))


@contextmanager
def _silent() -> Iterator[list[tuple[str, ...]]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(SILENT)]
        yield [(address, str(port)) for address, port in (server.getsockname() for server in servers)]
