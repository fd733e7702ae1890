"""Measure, and print the table: of the commands, or of what the argument names, such as builds or transfers."""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from types import FrameType

from benchmarks import (
    building,
    completing,
    docking,
    lab,
    machines,
    measurements,
    publishing,
    pulling,
    scale,
    starting,
    syncing,
    transfers,
)
from benchmarks.lab import Lab
from benchmarks.timing import Call, run, table

_VERSIONS = "Docker client {{.Client.Version}}, engine {{.Server.Version}}"


def main() -> int:
    """Print the circumstances and the table on stdout; what is being done goes to stderr."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    measurings = {
        (): commands,
        ("transfers",): images,
        ("docks",): docks,
        ("builds",): builds,
        ("scale",): jobs,
        ("start",): start,
    }
    measuring = measurings.get(tuple(sys.argv[1:]))
    if not measuring:
        sys.exit("usage: benchmarks/run [builds | transfers | docks | scale | start]")
    try:
        measuring()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def commands() -> None:
    """Measure what the commands cost that are run again and again."""
    with lab.opened() as place:
        rows = [
            *measurements.running(place),
            *measurements.starting(place),
            *measurements.helping(place),
            *completing.completing(place),
            *measurements.waiting(place),
            *measurements.reading(place),
        ]
        print(f"{circumstances(place)}\n\n{table(rows)}")


def images() -> None:
    """Measure how long images are on their way."""
    with machines.opened() as place:
        rows = publishing.publishing(place)
        results = transfers.measure(place)
        lines = transfers.lines(results, transfers.length(place, machines.APP))
        version = run(Call(["docker", "version", "--format", _VERSIONS], place.directory, place.env)).strip()
        print(f"{measured(version)}\n{transfers.described(place, results)}\n")
        print(f"{table(lines, transfers.HEADER)}\n\n{table([*transfers.memory(results), *rows])}\n")
        print(f"Containerd stores:\n\n{table(pulling.pulling(place.bin))}")


def docks() -> None:
    """Measure what it takes to work with a dock."""
    with syncing.opened() as place:
        rows = [*syncing.syncing(place), *docking.docking(place)]
        version = run(Call(["rsync", "--version"], place.project, place.env)).splitlines()[0].strip()
        print(f"{measured(version)}\n\n{table(rows)}")


def builds() -> None:
    """Measure how long builds of a project take, and what a registry cache saves."""
    with building.opened() as place:
        rows = [*building.building(place), *building.caching(place)]
        version = run(Call(["docker", "version", "--format", _VERSIONS], place.project, place.env)).strip()
        buildx = run(Call(["docker", "buildx", "version"], place.project, place.env)).split()[1].partition("+")[0]
        compose = run(Call(["docker", "compose", "version"], place.project, place.env)).strip()
        print(f"{measured(version, f'buildx {buildx}', compose)}\n\n{table(rows)}")


def jobs() -> None:
    """Simulate jobs of many shards, and run a short one for real."""
    for each in [*scale.simulated(), scale.real()]:
        print(f"{each.title}:\n\n{table(each.rows, each.header)}\n")
    print(measured())


def start() -> None:
    """Measure what a new user waits for before the first run."""
    with starting.opened() as user:
        rows = [(row.measured, row.value, row.wanted) for row in starting.starting(user)]
        print(f"{measured(f'Python {platform.python_version()}')}\n\n{table(rows, ('step', 'takes', 'wanted'))}")


def circumstances(place: Lab) -> str:
    """Say when, on what and with what was measured."""
    return measured(
        run(place.call(os.path.join(place.bin, "python"), "--version")).strip(),
        run(place.call("docker", "version", "--format", _VERSIONS)).strip(),
        f"Compose {place.compose}" if place.compose else "no Compose",
    )


def measured(*parts: str) -> str:
    """Say when, on what machine and with these programs was measured."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}"
    return f"Measured {'; '.join([time.strftime('%Y-%m-%d'), machine, *parts])}."


def _end(signum: int, _: FrameType | None) -> None:
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
