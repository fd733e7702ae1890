"""The measurements, each of which gives lines of the table."""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

from benchmarks.lab import SECTIONS, Lab
from benchmarks.timing import Call, Row, Series, compare, note, run, side_by_side, verdict

CONTAINERS, STARTS, SESSIONS = 50, 40, 5  # rounds
AT_MOST = 40.0  # ms that a command may add
READING = 50.0  # ms for 1,000 sections

_COMMANDS = """
import importlib.metadata as metadata, json
scripts = metadata.distribution("dockerutils").entry_points.select(group="console_scripts")
print(json.dumps(sorted(script.name for script in scripts)))
"""


def running(lab: Lab) -> list[Row]:
    """Compare run-image with the `docker run` that it prints, and with compose."""
    ours, bare, compose = "run-image", "bare docker run", "docker compose run --rm"
    calls = {ours: lab.command("run-image", "app", "--", "true"), bare: lab.call(*lab.bare)}
    if lab.compose:
        calls[compose] = lab.call("docker", "compose", "run", "--rm", "-T", "app", "true")
    times = side_by_side(calls, CONTAINERS)
    taken = Series("run-image, a container of true", times[ours])
    row = compare(taken, Series(bare, times[bare]), at_most=AT_MOST)
    missing = Row(taken.name, row.value, compose, "no such plugin here")
    return [row, compare(taken, Series(compose, times[compose])) if lab.compose else missing]


def starting(lab: Lab) -> list[Row]:
    """Take run-image apart, without a container's noise: what it does itself, and what it has docker do first."""
    ours, bare = "run-image, docker a stand-in", "the line, docker a stand-in"
    calls = {
        ours: lab.command("run-image", "app", "--", "true", stand_in=True),
        bare: lab.call(*lab.bare, stand_in=True),
    }
    *probes, _ = lab.asked(calls[ours])
    asked = {f"docker {' '.join(probe.split()[:2])}": lab.call("docker", *probe.split()) for probe in probes}
    times = side_by_side(calls | asked, STARTS)
    rows = [compare(Series(ours, times[ours]), Series(bare, times[bare]))]
    return rows + [Row(f"what it asks first: {name}", f"{median(times[name]):.1f} ms") for name in asked]


def helping(lab: Lab) -> list[Row]:
    """Compare `-h` of every installed command with a Python that does nothing, and look for boto3 in its imports."""
    python = os.path.join(lab.bin, "python")
    names: list[str] = json.loads(run(lab.call(python, "-c", _COMMANDS)))
    calls = {
        "python -c pass": lab.call(python, "-c", "pass"),
        **{f"{name} -h": lab.command(name, "-h") for name in names},
    }
    times = side_by_side(calls, STARTS)
    nothing, *helps = itertools.starmap(Series, times.items())
    rows = [compare(taken, nothing, at_most=AT_MOST) for taken in helps]
    watched = [
        *(lab.command(name, "-h") for name in names),
        lab.command("run-image", "app", "--", "true", stand_in=True),
    ]
    guilty = sum(any("boto" in line for line in imports(python, call)) for call in watched)
    title = "import of boto3 by these, and by run-image's run"
    return [*rows, Row(title, f"{guilty} of {len(watched)}", wanted=verdict("0", met=not guilty))]


def imports(python: str, call: Call) -> list[str]:
    """Return what a command imports, until it ends or becomes another program: a line for each module."""
    done = subprocess.run(
        [python, "-X", "importtime", *call.argv],
        cwd=call.directory, env=call.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line for line in done.stderr.splitlines() if line.startswith("import time:")]


class Session(NamedTuple):
    """What runs on this side while a container does: the programs, and the memory that they hold, in MB."""

    programs: Counter[str]
    resident: float


def waiting(lab: Lab) -> list[Row]:
    """Look at what is left on this side while a container runs, with run-image and with docker run."""
    note(f"{SESSIONS} pairs of containers that wait")
    wait = ("sh", "-c", "echo up; exec sleep 600")
    ours, theirs = [], []
    for _ in range(SESSIONS):
        ours.append(look_at(lab, lab.command("run-image", "app", "--", *wait)))
        theirs.append(look_at(lab, lab.call(*lab.bare[:-1], *wait)))
    more = max((session.programs - bare.programs).total() for session, bare in zip(ours, theirs, strict=True))
    held = Series("memory held while a container runs", [session.resident for session in ours])
    memory = compare(held, Series("bare docker run", [session.resident for session in theirs]), unit="MB")
    return [Row("processes of ours while a container runs", f"{more}", wanted=verdict("0", met=not more)), memory]


def look_at(lab: Lab, call: Call) -> Session:
    """Start a container that says when it is up, and look at the processes that the call left, or has become."""
    with started(call) as child:
        assert child.stdout is not None
        up = select.select([child.stdout], [], [], 60)[0] and child.stdout.readline()
        if not up:
            sys.exit(f"benchmarks: the container of {call.argv[0]} did not come up")
        time.sleep(0.5)  # for docker's client to come to rest
        processes = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_of(pid, child.pid, lab.bin)]
        programs = Counter(os.path.realpath(f"/proc/{pid}/exe") for pid in processes)
        return Session(programs, sum(map(resident, processes)))


@contextmanager
def started(call: Call) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a session of its own; end it, which ends its container."""
    with subprocess.Popen(
        call.argv, cwd=call.directory, env=call.env, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()


def is_of(pid: str, session: int, program: str) -> bool:
    """Tell whether a process is in `session`, or has `program` in its command line: proc(5), stat's sixth field."""
    try:
        with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as command:
            return int(stat.read().rpartition(")")[2].split()[3]) == session or program in command.read()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended


def resident(pid: str) -> float:
    """Return the memory, in MB, that a process holds: proc(5), VmRSS in status."""
    with open(f"/proc/{pid}/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmRSS:")) * 1024 / 1e6


def reading(lab: Lab) -> list[Row]:
    """Time the reading of a large configuration, by itself and as a command's user meets it."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load_configuration.py")
    note(f"reading {SECTIONS} sections")
    times: Sequence[float] = json.loads(run(lab.call(os.path.join(lab.bin, "python"), script, lab.large)))
    value = median(times)
    wanted = verdict(f"≤ {READING:g} ms", met=value <= READING)
    dry_run = ("run-image", "app", "--dry-run")
    both = side_by_side({"one": lab.command(*dry_run), "many": lab.command(*dry_run, directory=lab.large)}, STARTS)
    many = Series(f"run-image --dry-run, {SECTIONS:,} sections", both["many"])
    return [
        Row(f"reading {SECTIONS:,} sections of 6 keys", f"{value:.1f} ms", wanted=wanted),
        compare(many, Series("the same, one section", both["one"])),
    ]
