"""A docked shell: its docker calls beside plain ssh://, what docking and castoff take, and a look at all docks."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.lab import Place, write
from benchmarks.syncing import DELAY
from benchmarks.timing import Call, Row, Series, compare, milliseconds, note, run, side_by_side, verdict
from tests.testbed import aws
from tests.testbed.images import BUSYBOX

ROUNDS, LIMIT = 15, 5.0
MANY, STUCK = 40, 60.0  # containers at once, and seconds after which those that do not answer are given up
LIVE, SILENT = 15, 5
SHELLS = {"bash": ("bash", "--norc", "-c"), "zsh": ("zsh", "-f", "-c")}

_LISTING_AT_MOST = 2.5
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
    """Return the rows of docker calls and containers, of docking and castoff, and of ls-dock."""
    _add_plain_hosts(place)
    calls = [*(row for dock in _AT_MOST for row in _calls(place, dock)), _many(place)]
    shells = [row for shell in SHELLS for row in _shell(place, shell)]
    return [*calls, *shells, _listing(place), _on_aws(place)]


def _add_plain_hosts(place: Place) -> None:
    """Give each dock's host a second name, below which ssh shares no connection."""
    home = place.env["HOME"]
    with open(f"{home}/.docker/dock_ssh_config", encoding="utf-8") as stream:
        shared = stream.read()
    plain = re.sub("Control.*", "", shared.replace("Host dock-", "Host plain-"))
    with open(f"{home}/.ssh/config", "a", encoding="utf-8") as stream:
        stream.write(plain)


def _docked(place: Place, dock: str) -> Mapping[str, str]:
    """Return the environment of a shell that is docked, for as long as this process runs."""
    shell = {**place.env, "DOCKERUTILS_SHELL": str(os.getpid())}
    lines = run(Call((f"{place.bin}/dock-environment", dock), place.project, shell)).splitlines()
    return {**place.env, "DOCKER_HOST": lines[0].removeprefix("DOCKER_HOST=")}


def _calls(place: Place, dock: str) -> Iterator[Row]:
    """Compare `docker ps` docked, and over ssh:// with the shared connection, with one that logs in each time."""
    where = "loopback" if dock == "near" else f"{DELAY * 2000:g} ms there and back"
    names = {"socket": f"docker ps, docked, {where}", "dock": f"docker ps, ssh://, one connection, {where}"}
    calls = {
        "socket": Call(("docker", "ps"), place.project, _docked(place, dock)),
        **{
            name: Call(("docker", "ps"), place.project, {**place.env, "DOCKER_HOST": f"ssh://{name}-{dock}"})
            for name in ("dock", "plain")
        },
    }
    times = side_by_side(calls, ROUNDS)
    for name, title in names.items():
        row = compare(Series(title, times[name]), Series("over plain ssh://", times["plain"]))
        met = median(a / b for a, b in zip(times[name], times["plain"], strict=True)) <= _AT_MOST[dock]
        yield row._replace(wanted=verdict(f"≤ {_AT_MOST[dock]:.2f} times", met=met)) if name == "socket" else row


def _many(place: Place) -> Row:
    """Attach to containers that all start at once: the limits of sshd are its defaults."""
    docked = _docked(place, "near")
    (answered, taken), (over_ssh, its) = (_attach(docked, each) for each in (docked["DOCKER_HOST"], "ssh://dock-near"))
    row = Row(f"docker run -i, {MANY} at once, docked; {answered} answer", f"{taken:.1f} s")
    row = row._replace(against=f"over ssh://; {over_ssh} answer", its_value=f"{its:.1f} s")
    return row._replace(wanted=verdict(f"{MANY} answer", met=answered == MANY))


def _attach(env: Mapping[str, str], address: str) -> tuple[int, float]:
    """Return how many containers have repeated a line, all of which were attached at once, and the seconds taken."""
    note(f"{MANY} containers at once, {address}")
    argv = ["docker", "--host", address, "run", "--rm", "-i", "--network=none", "--label=many", BUSYBOX, "cat"]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        began = time.perf_counter()
        children = [
            stack.enter_context(subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env))
            for _ in range(MANY)
        ]
        listing = Call(("docker", "ps", "--quiet", "--filter=label=many"), "/", env)
        while len(run(listing).split()) < sum(child.poll() is None for child in children):
            if time.perf_counter() - began > STUCK:
                break
            time.sleep(0.2)
        answers = [_answer(child) for child in children]
        return answers.count(b"here\n"), time.perf_counter() - began


def _answer(child: subprocess.Popen[bytes]) -> bytes:
    try:
        return child.communicate(b"here\n", STUCK / MANY)[0]
    except subprocess.TimeoutExpired:
        child.kill()
        return b""


def _shell(place: Place, shell: str) -> Iterator[Row]:
    note(f"{ROUNDS} rounds of: source dock, castoff ({shell})")
    environ = {**place.env, "PATH": f"{place.bin}:{place.env['PATH']}"}
    output = run(Call((*SHELLS[shell], _DOCKING), place.project, environ))
    rounds = [[float(moment) for moment in line.split()] for line in output.splitlines()]
    for name, first, limit in (("source dock", 0, 300), ("castoff", 1, 20)):
        taken = median(moments[first + 1] - moments[first] for moments in rounds) * 1000
        yield Row(f"{name}, {shell}", f"{taken:.1f} ms", wanted=verdict(f"≤ {limit} ms", met=taken <= limit))


def _listing(place: Place) -> Row:
    """Time ls-dock with docks that answer and docks that take the connection and then are silent."""
    with _silent() as silent:
        for number, address in enumerate([_near(place)] * (LIVE - 2) + silent):
            _record(place, number, address)
        call = Call((f"{place.bin}/ls-dock", "-t", f"{LIMIT:g}"), place.project, place.env)
        note("ls-dock")
        taken = milliseconds(call) / 1000
        rows = run(call).count(" running ")
    name = f"ls-dock -t {LIMIT:g}, {LIVE + SILENT} docks of which {SILENT} are silent; {rows} rows complete"
    met = taken <= LIMIT + 1 and rows == LIVE
    return Row(name, f"{taken:.2f} s", wanted=verdict(f"≤ {LIMIT + 1:g} s, {LIVE} rows", met=met))


def _on_aws(place: Place) -> Row:
    """Compare ls-dock, of docks that are all on AWS and answer, with the one call of AWS that it makes."""
    name = f"ls-dock, {LIVE + SILENT} docks on AWS"
    if importlib.util.find_spec("moto") is None:
        return Row(name, "no moto here")
    note(name)
    python = f"{place.bin}/python"
    client = "import boto3; ec2 = boto3.client('ec2')"
    start = f"{client}; print(ec2.run_instances(ImageId='ami-1', MinCount=1, MaxCount=1)['Instances'][0]['InstanceId'])"
    with aws.serving() as behind, aws.before(behind) as front:
        front.places = [_near(place)[0]]  # moto's own addresses lead nowhere
        env = {**place.env, **front.aws.environment()}
        instance = run(Call((python, "-c", start), place.project, env)).strip()
        for number in range(LIVE + SILENT):
            _record(place, number, _near(place), f"DOCK_INSTANCE_ID={instance}\nDOCK_REGION=us-east-1\n")
        ours = Call((f"{place.bin}/ls-dock", "-t", "60"), place.project, env)
        rows = run(ours).count(" running ")  # the connections are open then
        bare = Call((python, "-c", f"{client}; ec2.describe_instances()"), place.project, env)
        times = side_by_side({"ours": ours, "bare": bare}, ROUNDS)
    row = compare(Series(name, times["ours"]), Series("a bare DescribeInstances", times["bare"]))
    met = float(row.ratio) <= _LISTING_AT_MOST and rows >= LIVE + SILENT
    return row._replace(wanted=verdict(f"≤ {_LISTING_AT_MOST:g} times", met=met))


def _near(place: Place) -> tuple[str, ...]:
    """Return address and port of the host beside us."""
    with open(f"{place.env['HOME']}/.docker/dock_ssh_config", encoding="utf-8") as stream:
        near = re.search(r"Host dock-near\n *HostName (\S+)\n *User dock\n *Port (\d+)", stream.read())
    assert near
    return near.groups()


def _record(place: Place, number: int, address: tuple[str, ...], more: str = "") -> None:
    ip, port = address
    record = f"DOCK_USER=dock\nDOCK_IP={ip}\nDOCK_PORT={port}\n{more}"
    write(f"{place.env['HOME']}/.docker/dock{number:02}/connection_config.txt", record)


@contextmanager
def _silent() -> Iterator[list[tuple[str, ...]]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(SILENT)]
        yield [(address, str(port)) for address, port in (server.getsockname() for server in servers)]
