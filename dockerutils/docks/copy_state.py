"""The state of a project's copy on a dock, asked in one call: whose it is, which runs were not synced down, the clock.

The directory `.dockerutils` in the copy holds the state, and is never synced. `origin` is the checkout that the copy
belongs to, `host:path`. A file `run-<container>` means that the files of this container were not synced down, or
those of containers with this name, a dash and a number.
`replaced/` has the files that syncs have replaced on the dock.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from typing import NamedTuple

from dockerutils.core import console
from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import Captured
from dockerutils.core.process.children import children
from dockerutils.docks import remote
from dockerutils.docks.records import Dock

DIRECTORY = ".dockerutils"
REPLACED = f"{DIRECTORY}/replaced"
_RUN = "run-"
_TOLERANCE = 2  # seconds; clocks that differ less are taken for the same
_LONGEST = 4096  # characters of an answer

_DOCKER_PS = remote.find_docker("ps --format {{.Names}}")
# A script for `sh`, behind a line `copy=PATH`; its arguments are paths in the copy. Docker is asked only if there are
# runs to ask it about.
_SURVEY = f"""\
echo "clock=$(date +%s)"
if command -v rsync >/dev/null; then echo has=rsync; fi
if [ -d "$copy" ]; then echo has=copy; fi
if [ -d "$copy/docker" ]; then echo has=docker; fi
if cd "$copy/{DIRECTORY}" 2>/dev/null; then
    if read -r origin || [ -n "$origin" ]; then echo "origin=$origin"; fi <origin
    for each in {_RUN}*; do
        if [ -e "$each" ]; then runs=1 && echo "run=${{each#{_RUN}}}"; fi
    done
    if [ -n "$runs" ]; then
        {_DOCKER_PS}
        printf 'running=%s\\n' $answer
    fi
fi 2>/dev/null
number=0
for each; do
    if [ ! -e "$copy/$each" ] && [ ! -L "$copy/$each" ]; then echo "missing=$number"; fi
    number=$((number + 1))
done
while [ ! -e "$copy" ]; do copy=$(dirname "$copy"); done
if [ -d "$copy" ] && [ -w "$copy" ]; then echo has=access; fi
"""


class State(NamedTuple):
    """The copy on a dock: what is there, and whether rsync can write to it.

    `origin` is empty for a copy that is not marked. `runs` are the containers whose files were not synced down,
    `running` those of them that still run. `ahead` is by how many seconds the dock's clock is ahead of this one; 0
    if they agree. `missing` are the numbers of the paths asked for that are not there.
    """

    exists: bool = False
    has_docker: bool = False
    has_rsync: bool = False
    is_writable: bool = False
    origin: str = ""
    runs: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    ahead: int = 0
    missing: tuple[int, ...] = ()


def origin(root: str) -> str:
    """Return the name of a checkout on this machine: `host:path`, in printable characters."""
    return console.one_line(f"{os.uname().nodename}:{os.path.realpath(root)}")


def read(dock: Dock, path: str, wanted: Sequence[str] = ()) -> State:
    """Return the state of the copy at `path` on a dock, and which of the paths `wanted` are missing in it.

    CommandFailed if the dock cannot be reached.
    """
    before = time.time()
    arguments = shlex.join(["set", "--", *wanted])
    answer = remote.of(dock).capture(f"origin= runs= copy={shlex.quote(path)}\n{arguments}\n{_SURVEY}")
    return parse(answer.stdout, before, time.time())


def parse(text: str, before: float, after: float) -> State:
    """Read the answer of a dock, which was asked and answered between two moments of this machine's clock."""
    lines = [line[:_LONGEST].partition("=") for line in text.splitlines()]
    values: dict[str, list[str]] = {}
    for name, _, value in lines:
        values.setdefault(name, []).append(value)
    has = values.get("has", [])
    runs = tuple(filter(is_container, values.get("run", [])))
    running = {each for name in values.get("running", []) for each in (name, re.sub("-[0-9]+$", "", name))}
    return State(
        exists="copy" in has,
        has_docker="docker" in has,
        has_rsync="rsync" in has,
        is_writable="access" in has,
        origin=next(iter(values.get("origin", [])), ""),
        runs=runs,
        running=tuple(run for run in runs if run in running),
        ahead=_ahead(next(iter(values.get("clock", [])), ""), before, after),
        missing=tuple(int(each) for each in values.get("missing", []) if re.fullmatch("[0-9]{1,4}", each)),
    )


def create(dock: Dock, path: str, directories: Sequence[str]) -> None:
    """Create directories of the copy at `path`; CommandFailed if that fails."""
    if directories:
        answer = remote.of(dock).capture(_creation(path, directories))
        if answer.status:
            raise CommandFailed(answer.status, f"dock {dock.moniker}: {answer.stderr.strip()}; correct its permissions")


def _creation(path: str, directories: Sequence[str]) -> str:
    """Return the line of shell that creates those directories of the copy at `path` that do not exist."""
    script = 'for each; do test -e "$each" || test -L "$each" || mkdir -p "$each" || exit; done'
    return shlex.join(["sh", "-c", script, "sh", *(f"{path}/{each}" for each in directories)])


def claim(path: str, root: str, run: str = "", directories: Sequence[str] = ()) -> str:
    """Return the option of rsync that makes the copy at `path`, and marks it as that of a checkout here.

    With `run`, the copy is also marked as one that this container writes to. Those of the `directories`, paths in the
    copy, that do not exist are created.
    """
    directory = shlex.quote(f"{path}/{DIRECTORY}")
    # Renamed, because another shell can be reading it.
    mark = [f"printf %s {shlex.quote(origin(root))} >origin.$$", "mv -f origin.$$ origin"]
    steps = [f"mkdir -p {directory}", f"cd {directory}", *mark]
    steps += [f"touch {shlex.quote(_RUN + run)}"] if run else []
    steps += [_creation(path, directories)] if directories else []
    return f"--rsync-path={' && '.join([*steps, 'exec rsync'])}"


def release(path: str, runs: tuple[str, ...]) -> str:
    """Return the command line, for the dock's shell, that removes the marks of runs."""
    return shlex.join(["rm", "-f", *(f"{path}/{DIRECTORY}/{_RUN}{run}" for run in runs)])


def probe(argv: list[str]) -> Captured:
    """Run a command that can open the shared connection, and return its output.

    The connection stays in the background and keeps stderr open, so stderr is a file, not a pipe.
    """
    with children() as family:
        child = family.start(argv)
        output = os.fsdecode(child.finish())
        return Captured(child.wait(), output, child.stderr)


def is_container(name: str) -> bool:
    """Return whether docker accepts this name for a container."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}", name) is not None


def _ahead(clock: str, before: float, after: float) -> int:
    """Return by how many seconds a clock is ahead that was read, in whole seconds, between two moments."""
    if not re.fullmatch(r"[0-9]{1,12}", clock):
        return 0
    if int(clock) > after + _TOLERANCE:
        return int(int(clock) + 1 - before)
    if int(clock) + 1 < before - _TOLERANCE:
        return -int(after - int(clock))
    return 0
