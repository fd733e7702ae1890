"""Command lines timed side by side, and the table of what came out."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import NamedTuple


class Call(NamedTuple):
    """A command line to time, in its directory and with the whole of its environment."""

    argv: Sequence[str]
    directory: str
    env: Mapping[str, str]


HEADER = ("measured", "median", "against", "its median", "added", "ratio", "wanted")


class Series(NamedTuple):
    """What was measured of one thing, round by round."""

    name: str
    values: Sequence[float]


class Row(NamedTuple):
    """A line of the table with that header: a measurement, what it is held against, and what is wanted of it."""

    measured: str
    value: str
    against: str = ""
    its_value: str = ""
    added: str = ""
    ratio: str = ""
    wanted: str = ""


def note(message: str) -> None:
    """Tell on stderr what is being done."""
    print(f"benchmarks: {message}", file=sys.stderr, flush=True)


def run(call: Call, accepted: Collection[int] = (0,)) -> str:
    """Run a command, with nothing to read, and return what it wrote on stdout. Other statuses end the benchmarks."""
    done = subprocess.run(
        call.argv,
        cwd=call.directory,
        env=call.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in accepted:
        sys.exit(f"benchmarks: {call.argv[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def milliseconds(call: Call, accepted: Collection[int] = (0,)) -> float:
    """Time one run, from before its start until after its end."""
    start = time.perf_counter()
    run(call, accepted)
    return (time.perf_counter() - start) * 1000


def side_by_side(calls: Mapping[str, Call], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Time each call once a round, so that whatever else the machine does meets all of them alike.

    Every other round runs backwards: none always comes behind the same one. Returns milliseconds, by name and round.
    """
    note(f"{rounds} rounds of: {', '.join(calls)}")
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for count in range(warm_up + rounds):
        for name in order:
            taken = milliseconds(calls[name])
            if count >= warm_up:
                times[name].append(taken)
        order.reverse()
    return times


def compare(ours: Series, theirs: Series, unit: str = "ms", at_most: float | None = None) -> Row:
    """Compare two series of the same length: medians, and the medians of the pairs' differences and ratios.

    Milliseconds are shown with one decimal, seconds (the unit "s") with two.
    """
    pairs = list(zip(ours.values, theirs.values, strict=True))
    added = median(a - b for a, b in pairs)
    digits = 1 if unit == "ms" else 2
    return Row(
        ours.name,
        f"{median(ours.values):.{digits}f} {unit}",
        theirs.name,
        f"{median(theirs.values):.{digits}f} {unit}",
        f"{added:+.{digits}f} {unit}",
        f"{median(a / b for a, b in pairs):.2f}",
        "" if at_most is None else verdict(f"≤ +{at_most:g} {unit}", met=added <= at_most),
    )


def verdict(wanted: str, *, met: bool) -> str:
    """Say what is wanted, and whether it is so."""
    return f"{wanted}: {'yes' if met else 'NO'}"


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = HEADER) -> str:
    """Lay the rows out as a Markdown table that reads as plain text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in (header, rule, *rows)
    )
