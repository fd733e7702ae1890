"""The names that a shell completes, asked for at each press of TAB: it imports little, and no fault is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from dockerutils.core.errors import DockerutilsError


def main(argv: Sequence[str]) -> None:
    """Print, a line each, the names of the kind `argv[0]` that may complete the word begun as `argv[1]`."""
    kind, begun = argv
    names = dict.fromkeys(KINDS[kind](begun, os.environ))
    # Whatever no terminal can show, line ends among it, is no name to complete.
    sys.stdout.buffer.write("".join(f"{name}\n" for name in names if name.isprintable()).encode())


def images(_: str, environ: Mapping[str, str]) -> list[str]:
    """Return the images of the current project; those with a Dockerfile when its configuration is no good."""
    from dockerutils.project import project

    try:
        here = project.find(os.getcwd(), environ)
    except (DockerutilsError, OSError):
        return []
    try:
        return here.names()
    except DockerutilsError:
        return here.directories()


def docks(begun: str, environ: Mapping[str, str]) -> list[str]:
    """Return the monikers of the docks, or their addresses when only these begin so."""
    from dockerutils.docks import records

    home, found = environ.get("HOME", ""), []
    for address in records.addresses(home):
        try:
            found.append(records.read(address, home))
        except (DockerutilsError, OSError):
            continue
    monikers = sorted(dock.moniker for dock in found)
    if any(moniker.startswith(begun) for moniker in monikers):
        return monikers
    return [dock.address for dock in found]


KINDS: dict[str, Callable[[str, Mapping[str, str]], list[str]]] = {"images": images, "docks": docks}
