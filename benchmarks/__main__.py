"""Measure, and print the table."""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from types import FrameType

from benchmarks import measurements
from benchmarks.lab import Lab, opened
from benchmarks.timing import run, table


def main() -> int:
    """Print the circumstances and the table on stdout; what is being done goes to stderr."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with opened() as lab:
            rows = [
                *measurements.running(lab),
                *measurements.starting(lab),
                *measurements.helping(lab),
                *measurements.waiting(lab),
                *measurements.reading(lab),
            ]
            print(f"{circumstances(lab)}\n\n{table(rows)}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def circumstances(lab: Lab) -> str:
    """Say when, on what and with what was measured."""
    versions = "Docker client {{.Client.Version}}, engine {{.Server.Version}}"
    parts = [
        time.strftime("%Y-%m-%d"),
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}",
        run(lab.call(os.path.join(lab.bin, "python"), "--version")).strip(),
        run(lab.call("docker", "version", "--format", versions)).strip(),
        f"Compose {lab.compose}" if lab.compose else "no Compose",
    ]
    return f"Measured {'; '.join(parts)}."


def _end(signum: int, _: FrameType | None) -> None:
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
