"""The copy of a project on a dock: where it is, and how rsync brings it up to date, there or here."""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Captured, Command
from dockerutils.docks import rsync_filters
from dockerutils.docks.records import Dock
from dockerutils.docks.rsync_filters import Filter
from dockerutils.docks.ssh_config import SSH_FAILED
from dockerutils.project import dockerignore, version_file
from dockerutils.project.project import Project

WORKSPACES = "/data/workspaces"
ENVIRONMENT = f"  DOCK_WORKSPACES    where projects are on docks; {WORKSPACES} by default"  # for -h

# Links, modes and times of files as they are; compressed; names out of reach of the dock's shell. The list of files
# goes as a whole: bit by bit, each few hundred of them would cost a trip there and back.
_RSYNC = ["rsync", "-rlptOz", "--no-inc-recursive", "-s", "-e", "ssh"]
_HERE, _NOWHERE = "./", "/nonexistent/"
_DELETING = "deleting "

# What a dock is asked when rsync has failed. A directory that is not there yet can be written if its parent can.
_SURVEY = """\
command -v rsync >/dev/null || echo no-rsync
path=PATH
[ -e "$path" ] || echo absent
while [ ! -e "$path" ]; do path=$(dirname "$path"); done
[ -d "$path" ] && [ -w "$path" ] || echo closed
"""


class Copy(NamedTuple):
    """A project, and where its copy is."""

    project: Project
    dock: Dock

    @property
    def path(self) -> str:
        """The directory on the dock."""
        return path(self.project)

    @property
    def remote(self) -> str:
        """The directory, as rsync takes it."""
        return f"{self.dock.host}:{self.path}/"


def path(project: Project) -> str:
    """Return the directory that a project has on any dock; UserError when DOCK_WORKSPACES can be no place for it."""
    workspaces = project.environ.get("DOCK_WORKSPACES") or WORKSPACES
    if not workspaces.startswith("/") or not workspaces.isprintable():
        raise UserError(
            f"DOCK_WORKSPACES is {workspaces!r}, no absolute path; set it to a directory of the dock's, "
            f"{WORKSPACES} for example"
        )
    return f"{workspaces.rstrip('/')}/{project.user}/code/{project.name}"


def up(project: Project, dock: Dock, *, delete: bool = False, dry_run: bool = False, to_stderr: bool = False) -> None:
    """Make the copy on the dock what the project here is, but for what `.dockerignore` leaves out.

    With `delete`, what the project does not have is deleted there, after it was listed. The version file there is
    `_version.py.bld`, made anew. With `to_stderr`, what rsync tells goes there. CommandFailed tells why rsync failed.
    """
    copy = Copy(project, dock)
    version = _version_file(project)
    rules = Filter(dockerignore.read(project.root))
    if version and not dry_run:
        version_file.generate(project.root)
    options = [*_left_out(version), *rules.options(rsync_filters.entries_below(project.root))]
    if delete:
        options = _deleting(copy, rules, options, [_HERE, copy.remote], ask=not dry_run)
    words = [*_told(to_stderr=to_stderr), _making(copy.path), *options, _HERE, copy.remote]
    _run(copy, words, dry_run=dry_run, to_stderr=to_stderr)
    if version:
        words = [_making(os.path.dirname(f"{copy.path}/{version}")), version_file.NAME, copy.remote + version]
        _run(copy, words, dry_run=dry_run, to_stderr=to_stderr)


def down(project: Project, dock: Dock, *, delete: bool = False, dry_run: bool = False, to_stderr: bool = False) -> None:
    """Bring what is new in the copy on the dock here, but for what `.dockerignore` leaves out, and the version file.

    A file that is newer here stays. With `delete`, what the copy does not have is deleted here, after it was listed.
    With `to_stderr`, what rsync tells goes there. CommandFailed tells why rsync failed.
    """
    copy = Copy(project, dock)
    rules = Filter(dockerignore.read(project.root))
    entries = _entries(copy, rules) if rules.needs_tree else rsync_filters.entries_among([])
    options = ["-u", *_left_out(_version_file(project)), *rules.options(entries)]
    if delete:
        options = _deleting(copy, rules, options, [copy.remote, _HERE], ask=not dry_run)
    _run(copy, [*_told(to_stderr=to_stderr), *options, copy.remote, _HERE], dry_run=dry_run, to_stderr=to_stderr)


def _version_file(project: Project) -> str | None:
    """Return the path of the version file, from the root, if the project has one that is made anew."""
    return version_file.source(project.root) if version_file.applies(project.root) else None


def _left_out(version: str | None) -> list[str]:
    return [rsync_filters.excluding(version)] if version else []


def _told(*, to_stderr: bool) -> list[str]:
    """Return the options for what is told meanwhile: progress on a terminal, elsewhere the name of each file."""
    stream = sys.stderr if to_stderr else sys.stdout
    return ["-h", "--info=progress2"] if stream.isatty() else ["--info=name,del"]


def _making(directory: str) -> str:
    """Return the option that makes a directory on the dock; rsync has one of its own from version 3.2.3 on only."""
    return f"--rsync-path=mkdir -p {shlex.quote(directory)} && exec rsync"


def _run(copy: Copy, words: list[str], *, dry_run: bool, to_stderr: bool) -> None:
    command = Command([*_RSYNC, *words], directory=copy.project.root)
    try:
        process.run(command, dry_run=dry_run, to_stderr=to_stderr)
    except CommandFailed as failure:
        raise _explained(copy, failure.status, sends=words[-1] != _HERE) from None


def _capture(copy: Copy, words: list[str]) -> list[str]:
    """Run rsync as a probe, and return the lines that it wrote."""
    words = [os.path.join(copy.project.root, "") if word == _HERE else word for word in words]
    answer = _probe([*_RSYNC, "-8", *words])
    if answer.status:
        print(answer.stderr, end="", file=sys.stderr)
        raise _explained(copy, answer.status, sends=words[-1] == copy.remote)
    return answer.stdout.split("\n")


def _probe(argv: list[str]) -> Captured:
    """Run what may open the shared connection, which stays in the background and keeps stderr open: no pipe then."""
    with process.children() as family:
        child = family.start(argv)
        output = os.fsdecode(child.finish())
        return Captured(child.wait(), output, child.stderr)


def _entries(copy: Copy, rules: Filter) -> rsync_filters.Entries:
    """Ask for the paths in the copy on the dock."""
    words = ["-n", "--out-format=%n", "--info=nonreg0", *rules.survey(), copy.remote, _NOWHERE]
    return rsync_filters.entries_among(_unescaped(line) for line in _capture(copy, words) if line)


def _deleting(copy: Copy, rules: Filter, options: list[str], ways: list[str], *, ask: bool) -> list[str]:
    """List what is about to be deleted, and return the options to delete that and nothing that docker leaves out.

    On a terminal it asks, if it is to. DockerutilsError when the answer is no.
    """
    where = "here" if ways[-1] == _HERE else f"on dock {copy.dock.moniker}"
    lines = _capture(copy, ["-n", "--delete", "--info=del", *options, *ways])
    doomed = [_unescaped(line.removeprefix(_DELETING)) for line in lines if line.startswith(_DELETING)]
    kept = sorted(rules.ignored(doomed))
    listed = [path for path in doomed if not any(_overlap(path, each) for each in kept)]
    if listed:
        print(f"to be deleted {where}:", *map(console.one_line, listed), sep="\n  ", file=sys.stderr)
        if ask and sys.stdin.isatty() and sys.stderr.isatty() and not console.agreed("delete them?"):
            raise DockerutilsError("nothing was deleted, and nothing sent; leave out --delete to send without deleting")
    return ["--delete", *map(rsync_filters.excluding, kept), *options]


def _overlap(one: str, other: str) -> bool:
    """Tell whether two paths are the same, or one is a directory, with a slash at its end, that leads to the other."""
    return one == other or any(
        above.endswith("/") and below.startswith(above) for above, below in ((one, other), (other, one))
    )


def _unescaped(name: str) -> str:
    """Return a name that rsync has written with an octal number for each character that does not print."""
    return re.sub(r"\\#([0-7]{3})", lambda match: chr(int(match[1], 8)), name)


def _explained(copy: Copy, status: int, *, sends: bool) -> CommandFailed:
    """Ask the dock why rsync failed, which was to send something there or to fetch it, and tell it in one line."""
    quoted, moniker = shlex.quote(copy.path), copy.dock.moniker
    answer = _probe(["ssh", copy.dock.host, _SURVEY.replace("PATH", quoted)])
    found = answer.stdout.split()
    own = copy.path.removesuffix(f"/code/{copy.project.name}")
    if answer.status == SSH_FAILED:
        message = f"dock {moniker} cannot be reached; ssh says why above: see that it runs, and try ssh-dock {moniker}"
    elif "no-rsync" in found:
        message = f"dock {moniker} has no rsync; install it there: ssh-dock {moniker} -- sudo apt-get install -y rsync"
    elif "absent" in found and not sends:
        message = f"dock {moniker} has no {copy.path}; run: sync-up"
    elif "closed" in found and sends:
        message = (
            f"{copy.path} on dock {moniker} cannot be written; run: ssh-dock {moniker} -- "
            f"sudo install -d -o {copy.dock.user} {shlex.quote(own)}; or set DOCK_WORKSPACES to a directory of yours"
        )
    else:
        message = f"rsync ended with status {status}; it says why above: mend that and run the command again"
    return CommandFailed(status, message)
