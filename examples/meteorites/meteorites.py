#!/usr/bin/env python3
"""Say of a list of meteorite landings how many they are, their mean mass, and on which hemispheres they came down.

The list is a JSON array of objects with name, year, mass_g (grams), latitude and longitude (degrees, north and east
positive).
"""

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HEMISPHERES = ("Northern & Eastern", "Northern & Western", "Southern & Eastern", "Southern & Western")

# Valid ranges, inclusive. No meteorite outweighs the Earth. Infinity and NaN, which Python's JSON reader accepts, are
# outside every range.
RANGES = {"mass_g": (0, 5.972e27), "latitude": (-90, 90), "longitude": (-180, 180)}


class Landing(NamedTuple):
    """A meteorite that was found: its mass in grams, and where, in degrees north and east."""

    name: str
    year: int
    mass_g: float
    latitude: float
    longitude: float

    @property
    def hemispheres(self) -> str:
        """The two hemispheres that it came down on; the equator counts as northern, the prime meridian as eastern."""
        north_or_south = "Northern" if self.latitude >= 0 else "Southern"
        east_or_west = "Eastern" if self.longitude >= 0 else "Western"
        return f"{north_or_south} & {east_or_west}"


class BadInputError(Exception):
    """What is wrong with the input, in one line."""


def read(path: str) -> list[Landing]:
    """Return the landings of the JSON file at `path`, `-` for standard input; BadInputError says what is wrong."""
    shown = "standard input" if path == "-" else path
    try:
        with open(0 if path == "-" else path, "rb") as stream:
            records = json.loads(stream.read())
    except OSError as error:
        raise BadInputError(f"{shown}: {error.strerror}") from error
    except ValueError as error:
        raise BadInputError(f"{shown}: is not JSON: {error}") from error
    if not isinstance(records, list):
        raise BadInputError(f"{shown}: is not a list of landings")
    if not records:
        raise BadInputError(f"{shown}: holds no landings")
    return [landing(record, f"{shown}: landing {number}") for number, record in enumerate(records, start=1)]


def landing(record: object, place: str) -> Landing:
    """Return `record`, an object of the JSON file, as a landing; BadInputError says what is wrong at `place`."""
    if not isinstance(record, dict):
        raise BadInputError(f"{place} is not an object")
    if missing := [field for field in Landing._fields if field not in record]:
        raise BadInputError(f"{place} has no {' and no '.join(missing)}")
    for field, (low, high) in RANGES.items():
        value = record[field]
        if type(value) not in (int, float) or not low <= value <= high:
            raise BadInputError(f"{place}: {field} is {value!r}, which is not a number from {low} to {high}")
    return Landing(*(record[field] for field in Landing._fields))


def report(landings: Sequence[Landing]) -> Iterator[str]:
    """Yield the lines that describe `landings`, of which there is one at least."""
    yield f"landings: {len(landings)}"
    yield f"mean mass: {statistics.fmean(landing.mass_g for landing in landings):,.1f} g"
    counts = Counter(landing.hemispheres for landing in landings)
    yield from (f"{hemispheres}: {counts[hemispheres]}" for hemispheres in HEMISPHERES)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report on the file that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="meteorites.py", description="Describe a list of meteorite landings.")
    parser.add_argument("file", help="a JSON file of landings; - for standard input")
    try:
        print(*report(read(parser.parse_args(argv).file)), sep="\n")
    except BadInputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
