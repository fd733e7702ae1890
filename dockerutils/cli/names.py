"""Print the names that a shell completes. It runs at each press of TAB: few imports, and no error messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from dockerutils.core.errors import DockerutilsError


def main(argv: Sequence[str]) -> None:
    """Print one name of the kind `argv[0]` per line, for a word that begins with `argv[1]`."""
    kind, begun = argv
    names = dict.fromkeys(KINDS[kind](begun, os.environ))
    # Without names that a terminal cannot show, such as those with line ends.
    sys.stdout.buffer.write("".join(f"{name}\n" for name in names if name.isprintable()).encode())


def images(_: str, environ: Mapping[str, str]) -> list[str]:
    """Return the images of the current project; only those with a Dockerfile if its configuration is broken."""
    from dockerutils.project import project  # late, for the names of docks

    try:
        here = project.find(os.getcwd(), environ)
    except (DockerutilsError, OSError):
        return []
    try:
        return here.names()
    except DockerutilsError:
        return here.directories()


def docks(begun: str, environ: Mapping[str, str]) -> list[str]:
    """Return the monikers of the docks, or their addresses if no moniker begins with the word."""
    from dockerutils.docks import records  # late, for the names of images

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
