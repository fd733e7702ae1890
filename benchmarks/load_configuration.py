"""Read the configuration of the project named by the argument, again and again; print the milliseconds of each time."""

import json
import sys
import time

from dockerutils.project import config

REPEATS = 30


def main(root: str) -> None:
    """Time the reading alone: no start of Python, no import."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        config.read(root)
        times.append((time.perf_counter() - start) * 1000)
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1])
