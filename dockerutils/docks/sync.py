"""Copy a project to a dock and back with rsync, so that containers on the dock can mount it.

Nothing is lost on the way: a file that both sides have changed is kept twice, and a copy belongs to one checkout only.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import STDERR, STDOUT, Command
from dockerutils.docks import copy_state, rsync_filters, sync_record
from dockerutils.docks.copy_state import State
from dockerutils.docks.records import Dock
from dockerutils.docks.rsync_filters import Filter
from dockerutils.project import dockerignore, version_file
from dockerutils.project.project import Project

WORKSPACES = "/data/workspaces"
ENVIRONMENT = f"  DOCK_WORKSPACES    directory of projects on docks (default: {WORKSPACES})"  # for -h

# Links, modes, times and holes are kept; names are safe from the dock's shell. The list of files is sent as a whole: in
# parts, each few hundred files would cost a round trip.
_RSYNC = ["rsync", "-rlptOzS", "--no-inc-recursive", "-s", "-e", "ssh"]
_STATE = f"--exclude=/{copy_state.DIRECTORY}"
_KEEP_GIT = "--filter=protect_.git"
# What decides here about what is run at the next build, or sent at the next sync: a dock does not change it unasked.
_DECIDING = [*map(rsync_filters.excluding, ("docker", dockerignore.NAME))]
_KEPT_HERE = ["--exclude=.git"]  # its hooks and settings run commands
_HERE, _NOWHERE = "./", "/nonexistent/"
_DELETING = "deleting "


class Options(NamedTuple):
    """How to sync.

    `delete`: delete what the source does not have, after it was listed; `yes`: without a question. `adopt`: take over a
    copy that belongs to another checkout. `include_docker`: also bring back `docker/` and `.dockerignore`.
    `dry_run`: print the commands only.
    """

    delete: bool = False
    yes: bool = False
    adopt: bool = False
    include_docker: bool = False
    dry_run: bool = False


class Copy(NamedTuple):
    """A project, and its copy on a dock."""

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

    @property
    def records(self) -> str:
        """The directory of this machine's records of the dock."""
        return os.path.join(os.path.expanduser("~"), ".docker", self.dock.address)


def path(project: Project) -> str:
    """Return the directory of a project on any dock; UserError if DOCK_WORKSPACES is not an absolute path."""
    workspaces = project.environ.get("DOCK_WORKSPACES") or WORKSPACES
    if not workspaces.startswith("/") or not workspaces.isprintable():
        raise UserError(
            f"DOCK_WORKSPACES is {workspaces!r}, which is not an absolute path; set it to a directory on the dock, "
            f"such as {WORKSPACES}"
        )
    return f"{workspaces.rstrip('/')}/{project.user}/code/{project.name}"


def up(project: Project, dock: Dock, options: Options) -> None:
    """Make the copy on the dock equal to the project, without what `.dockerignore` leaves out.

    The version file on the dock is a new `_version.py.bld`. What a run wrote that was not synced down comes back first.
    Raise DockerutilsError if the copy cannot be written or belongs to another checkout, CommandFailed if rsync fails.
    """
    _up(Copy(project, dock), options, None)


def down(project: Project, dock: Dock, options: Options) -> None:
    """Bring back what is new in the copy on the dock, without what `.dockerignore` leaves out, and the version file.

    Files that are newer here stay, and so do `.git`, `docker/` and `.dockerignore`. Raise DockerutilsError if there is
    no copy or it belongs to another checkout, CommandFailed if rsync fails.
    """
    copy = Copy(project, dock)
    state = _state_of(copy, options, fetches=True) if options.delete or not options.dry_run else State()
    _down(copy, state, options, to_stderr=False)


def before_run(project: Project, dock: Dock, run: str = "", *, dry_run: bool = False) -> None:
    """Sync up before a run, but keep the files on the dock that are newer there. rsync writes to stderr.

    With `run`, the name of its container, the copy is marked until `after_run`: if that never comes, the next sync
    starts with what the container wrote. Raise as `up` does.
    """
    _up(Copy(project, dock), Options(dry_run=dry_run), run)


def after_run(project: Project, dock: Dock, run: str = "", *, dry_run: bool = False) -> None:
    """Sync down after a run, and remove its mark unless its container still runs. rsync writes to stderr.

    Raise as `down` does.
    """
    copy, options = Copy(project, dock), Options(dry_run=dry_run)
    try:
        state = State(runs=(run,) if run else ()) if dry_run else _state_of(copy, options, fetches=True)
        _down(copy, state, options, to_stderr=True)
    except DockerutilsError as failure:
        message = f"{failure}; the files of the container stay on dock {dock.moniker} until you run sync-down"
        raise CommandFailed(failure.status, message) from None
    if run in state.running:
        console.warn("sync", f"{run} is still running on dock {dock.moniker}; run sync-down when it ends")


def _up(copy: Copy, options: Options, run: str | None) -> None:
    """Sync up; `run` is None if a person asked for it, else the container that it is for, or nothing."""
    project, automatic = copy.project, run is not None
    rules = Filter(dockerignore.read(project.root))
    state = _state_of(copy, options, fetches=False) if options.delete or not options.dry_run else State()
    if state.runs and state.origin == copy_state.origin(project.root):
        names = ", ".join(state.runs)
        console.note(
            "sync", f"the files that {names} wrote on dock {copy.dock.moniker} come first: they were not synced down"
        )
        _down(copy, state, Options(dry_run=options.dry_run), to_stderr=automatic)
    version = _version_file(project)
    if version and not options.dry_run:
        version_file.generate(project.root)
    filters = [_STATE, *_excluding(version), *rules.options(rsync_filters.entries_below(project.root))]
    if options.delete:
        if state.exists:
            _delete(copy, rules, filters, [_HERE, copy.remote], options)
        filters = ["--force", _KEEP_GIT, *filters]
    how = [
        *_output(to_stderr=automatic, skips=automatic),
        *(_skipping(copy) if automatic else []),
        *_backups(copy_state.REPLACED),
    ]
    claim = copy_state.claim(copy.path, project.root, run or "")
    with _recorded(copy, dry_run=options.dry_run):
        _run(copy, [*how, claim, *filters, _HERE, copy.remote], dry_run=options.dry_run, to_stderr=automatic)
        if version:
            directory = shlex.quote(os.path.dirname(f"{copy.path}/{version}"))
            words = [f"--rsync-path=mkdir -p {directory} && exec rsync", version_file.NAME, copy.remote + version]
            _run(copy, words, dry_run=options.dry_run, to_stderr=automatic)


def _down(copy: Copy, state: State, options: Options, *, to_stderr: bool) -> None:
    project = copy.project
    record = sync_record.read(project.name, copy.records, project.root)
    if not options.dry_run:
        _keep_conflicts(copy, record)  # of a sync that was killed
    rules = Filter(dockerignore.read(project.root))
    filters = [_STATE, *_KEPT_HERE, *([] if options.include_docker else _DECIDING), *_excluding(_version_file(project))]
    filters += rules.options(_entries(copy, filters) if rules.needs_tree else rsync_filters.entries_among([]))
    if options.delete:
        if not (state.has_docker or rules.ignored(["docker/"])):
            raise DockerutilsError(
                f"{copy.path} on dock {copy.dock.moniker} has no docker/, so it is not complete; run sync-up first, or "
                "leave out --delete"
            )
        _delete(copy, rules, filters, [copy.remote, _HERE], options)
        filters = ["--force", *filters]
    how = [*_output(to_stderr=to_stderr, skips=True), *_skipping(copy), *_backups(sync_record.BACKUPS)]
    how += [copy_state.claim(copy.path, project.root)] if options.adopt else []
    with _recorded(copy, dry_run=options.dry_run):
        try:
            _run(copy, [*how, *filters, copy.remote, _HERE], dry_run=options.dry_run, to_stderr=to_stderr)
        finally:
            if not options.dry_run:
                _keep_conflicts(copy, record)
    if ended := tuple(run for run in state.runs if run not in state.running):
        command = Command(["ssh", "-n", copy.dock.host, copy_state.release(copy.path, ended)])
        process.run(command, dry_run=options.dry_run, escaped=[STDOUT, STDERR])


def _state_of(copy: Copy, options: Options, *, fetches: bool) -> State:
    """Ask the dock for the state of the copy; raise if it cannot be synced, and warn if the clocks differ."""
    moniker = copy.dock.moniker
    state = copy_state.read(copy.dock, copy.path)
    here = copy_state.origin(copy.project.root)
    if not state.has_rsync:
        raise DockerutilsError(
            f"dock {moniker} has no rsync; install it there: ssh-dock {moniker} sudo apt-get install -y rsync"
        )
    if fetches and not state.exists:
        raise DockerutilsError(f"dock {moniker} has no {copy.path}; run: sync-up")
    if not (fetches or state.is_writable):
        own = shlex.quote(copy.path.removesuffix(f"/code/{copy.project.name}"))
        raise DockerutilsError(
            f"{copy.path} on dock {moniker} is not writable; run: ssh-dock {moniker} sudo install -d -o "
            f"{copy.dock.user} {own}; or set DOCK_WORKSPACES to a directory of yours"
        )
    if state.origin not in ("", here) and not options.adopt:
        raise DockerutilsError(
            f"{copy.path} on dock {moniker} is the copy of {state.origin}, not of {here}; rename this project's "
            f"directory, or take the copy over: {'sync-down' if fetches else 'sync-up'} --adopt"
        )
    if state.ahead:
        which = "ahead of" if state.ahead > 0 else "behind"
        console.warn(
            "sync",
            f"the clock of dock {moniker} is {console.age(abs(state.ahead))} {which} this machine's, so the newer of "
            f"two files is uncertain; set it: ssh-dock {moniker} sudo timedatectl set-ntp true",
        )
    return state


def _keep_conflicts(copy: Copy, record: sync_record.Record) -> None:
    for path, name in sync_record.keep_conflicts(copy.project.root, record):
        console.note("sync", f"{path} changed here too; yours is now {name}")


@contextmanager
def _recorded(copy: Copy, *, dry_run: bool) -> Iterator[None]:
    """Record the sync that the block does, if it ends well."""
    if dry_run:
        yield
        return
    start = time.time()
    sync_record.remove_log(copy.project.name, copy.records)
    yield
    sync_record.write(copy.project.name, copy.records, copy.project.root, start)


def _version_file(project: Project) -> str | None:
    """Return the path of the version file, from the root, if the project has a generated one."""
    return version_file.source(project.root) if version_file.applies(project.root) else None


def _excluding(version: str | None) -> list[str]:
    return [rsync_filters.excluding(version)] if version else []


def _output(*, to_stderr: bool, skips: bool) -> list[str]:
    """Return the options for rsync's output: progress on a terminal, elsewhere the name of each file."""
    stream = sys.stderr if to_stderr else sys.stdout
    skip = ",skip" if skips else ""
    return ["-h", f"--info=progress2{skip}"] if stream.isatty() else [f"--info=name{skip}"]


def _backups(directory: str) -> list[str]:
    """Return the options to move what rsync replaces to a directory of the destination."""
    return ["--backup", f"--backup-dir={directory}"]


def _skipping(copy: Copy) -> list[str]:
    """Return the options to skip files that are newer where rsync copies to, and to log their names."""
    return ["-u", f"--log-file={sync_record.log(copy.project.name, copy.records)}", "--log-file-format="]


def _run(copy: Copy, words: list[str], *, dry_run: bool, to_stderr: bool) -> None:
    command = Command([*_RSYNC, *words], directory=copy.project.root)
    try:
        process.run(command, dry_run=dry_run, to_stderr=to_stderr, escaped=[STDERR])  # rsync escapes its stdout itself
    except CommandFailed as failure:
        raise CommandFailed(
            failure.status, f"rsync failed with status {failure.status}; fix what it reports above, and try again"
        ) from None


def _capture(copy: Copy, words: list[str]) -> list[str]:
    """Run rsync as a probe, and return the lines that it wrote."""
    words = [os.path.join(copy.project.root, "") if word == _HERE else word for word in words]
    answer = copy_state.probe([*_RSYNC, "-8", *words])
    if answer.status:
        console.relay(answer.stderr)
        raise CommandFailed(
            answer.status, f"rsync failed with status {answer.status}; fix what it reports above, and try again"
        )
    return answer.stdout.split("\n")


def _entries(copy: Copy, filters: list[str]) -> rsync_filters.Entries:
    """Ask for the paths in the copy on the dock."""
    words = ["-n", "--out-format=%n", "--info=nonreg0", *filters, copy.remote, _NOWHERE]
    return rsync_filters.entries_among(_unescaped(line) for line in _capture(copy, words) if line)


def _delete(copy: Copy, rules: Filter, filters: list[str], direction: list[str], options: Options) -> None:
    """List what the source does not have and delete it if the user agrees; never what docker leaves out, or `.git`.

    UserError if there is no terminal to ask on, DockerutilsError if the answer is no.
    """
    where = "here" if direction[-1] == _HERE else f"on dock {copy.dock.moniker}"
    lines = _capture(copy, ["-n", "--delete", "--info=del", _KEEP_GIT, *filters, *direction])
    extra = [_unescaped(line.removeprefix(_DELETING)) for line in lines if line.startswith(_DELETING)]
    kept = _topmost(rules.ignored(extra))
    listed = [path for path in extra if not any(_overlap(path, each) for each in kept)]
    if not listed:
        return
    print(f"to be deleted {where}:", *map(console.one_line, listed), sep="\n  ", file=sys.stderr)
    if not (options.yes or options.dry_run):
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UserError("there is no terminal to confirm --delete on, so nothing was deleted or copied; add -y")
        if not console.agreed("delete them?"):
            raise DockerutilsError("nothing was deleted or copied; leave out --delete to copy without deleting")
    words = ["--info=del", "--delete", "--existing", "--ignore-existing", _KEEP_GIT]
    words += [*map(rsync_filters.excluding, kept), *filters, *direction]
    _run(copy, words, dry_run=options.dry_run, to_stderr=False)


def _topmost(paths: list[str]) -> list[str]:
    """Return the paths, in order, without those below a directory that is one of them."""
    found: list[str] = []
    for path in sorted(paths):
        if not (found and found[-1].endswith("/") and path.startswith(found[-1])):
            found.append(path)
    return found


def _overlap(one: str, other: str) -> bool:
    """Return whether two paths are the same, or one is a directory (it ends with a slash) that contains the other."""
    return one == other or any(
        above.endswith("/") and below.startswith(above) for above, below in ((one, other), (other, one))
    )


def _unescaped(name: str) -> str:
    return os.fsdecode(sync_record.unescaped(os.fsencode(name)))
