"""A project on its way to a dock: sync-up when nothing has changed, beside the rsync that one would type."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.lab import Place, environment, installed, write
from benchmarks.timing import Call, Row, Series, compare, note, run, side_by_side, verdict
from tests.testbed import host, images
from tests.testbed.debian import modern_usr
from tests.testbed.engine import running
from tests.testbed.relay import relaying

FILES, ROUNDS = 10_000, 15
DELAY = 0.025  # seconds one way, of the link that is far
AT_MOST = 1.2  # times as long

_TARGET = "/data/workspaces/alice/code/app/"
_PATTERNS = {
    "": ".git\n.venv\n**/__pycache__\n**/*.egg-info\nbuild\ndist\n.coverage*\n**/*.tmp\n",
    ", exceptions": "**/*.log\n!**/keep.log\n.git\n",
}


@contextlib.contextmanager
def opened() -> Iterator[Place]:
    """Yield a project of FILES files, and a host that is registered as two docks, near and far."""
    with contextlib.ExitStack() as stack:
        directory, binaries = stack.enter_context(installed("docks", "debootstrap", "sshd", "rsync", "nsenter"))
        note("starting a Docker Engine and an sshd (the first time, Debian's engine is fetched)")
        engine = stack.enter_context(running(modern_usr()))
        images.add_busybox(engine)
        far = stack.enter_context(host.serving(engine))
        far.run("install -d -o dock /data/workspaces")
        home = f"{directory}/home"
        env = {**environment(home), **host.at_home(home), "LOGNAME": "alice"}
        far.admit(home)
        relay = stack.enter_context(relaying(far.address, far.port, delay=DELAY))
        project = f"{directory}/app"
        for name, address, port in (("near", far.address, far.port), ("far", relay.address, relay.port)):
            register = (f"{binaries}/register-dock", address, name, "-u", "dock", "-P", str(port))
            run(Call(register, directory, env))
        for number in range(FILES):
            write(f"{project}/package{number // 500}/part{number // 25 % 20}/module{number}.py", f"NUMBER = {number}\n")
        write(f"{project}/docker/dev/Dockerfile", "FROM scratch\n")
        yield Place(binaries, project, env)


def syncing(place: Place) -> list[Row]:
    """Compare sync-up with bare rsync, over the dock's shared connection and over one of its own."""
    return [row for dock in ("near", "far") for name in _PATTERNS for row in _beside_rsync(place, dock, name)]


def _beside_rsync(place: Place, dock: str, name: str) -> list[Row]:
    write(f"{place.project}/.dockerignore", _PATTERNS[name])
    ours = Call((f"{place.bin}/sync-up", "--dock", dock), place.project, place.env)
    run(ours)
    own = "ssh -o ControlPath=none"
    bare, alone = ("rsync over the same connection", "rsync over a connection of its own")
    calls = {
        "ours": ours,
        bare: Call(("rsync", "-a", "./", f"dock-{dock}:{_TARGET}"), place.project, place.env),
        alone: Call(("rsync", "-a", "-e", own, "./", f"dock-{dock}:{_TARGET}"), place.project, place.env),
    }
    times = side_by_side(calls, ROUNDS)
    where = "loopback" if dock == "near" else f"{DELAY * 2000:g} ms there and back"
    taken = Series(f"sync-up, {FILES:,} files, nothing new{name}, {where}", times["ours"])
    rows = [compare(taken, Series(each, times[each])) for each in (bare, alone)]
    return [row._replace(wanted=verdict(f"≤ {AT_MOST:g} times", met=float(row.ratio) <= AT_MOST)) for row in rows]
