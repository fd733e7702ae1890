"""Copy a project to a dock and back with rsync, so that containers on the dock can mount it.

Nothing is lost on the way: a file that both sides have changed is kept twice, and a copy belongs to one checkout only.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import STDERR, STDOUT, Command
from dockerutils.docks import copy_state, mounts, project_copy, rsync, rsync_filters, sync_record
from dockerutils.docks.copy_state import State
from dockerutils.docks.project_copy import Copy
from dockerutils.docks.records import Dock
from dockerutils.docks.rsync_filters import Filter
from dockerutils.project import dockerignore, version_file
from dockerutils.project.project import Project

_STATE = f"--exclude=/{copy_state.DIRECTORY}"
_KEEP_GIT = "--filter=protect_.git"
# What decides here about what is run at the next build, or sent at the next sync: a dock does not change it unasked.
_DECIDING = [*map(rsync_filters.excluding, ("docker", dockerignore.NAME))]
_KEPT_HERE = ["--exclude=.git"]  # its hooks and settings run commands
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


class Run(NamedTuple):
    """A run on the dock that a sync is for: its container, and the paths of the project, from the root, that it mounts.

    With a `container`, the copy is marked until `after_run`: if that never comes, the next sync starts with what the
    container wrote. `volumes` are those of the paths that docker would create as root, where they do not exist.
    """

    container: str = ""
    mounts: Sequence[str] = ()
    volumes: Sequence[str] = ()


def up(project: Project, dock: Dock, options: Options) -> None:
    """Make the copy on the dock equal to the project, without what `.dockerignore` leaves out.

    The version file on the dock is a new `_version.py.bld`. What a run wrote that was not synced down comes back first.
    Raise DockerutilsError if the copy cannot be written or belongs to another checkout, CommandFailed if rsync fails.
    """
    _up(Copy(project, dock), options, None)


def down(project: Project, dock: Dock, options: Options) -> None:
    """Bring back what is new in the copy on the dock, without what `.dockerignore` leaves out, and the version file.

    What runs have mounted comes back too, if `.dockerignore` leaves it out. Files that are newer here stay, and so do
    `.git`, `docker/` and `.dockerignore`. Raise DockerutilsError if there is no copy or it belongs to another checkout,
    CommandFailed if rsync fails.
    """
    copy = Copy(project, dock)
    state = _state_of(copy, options, fetches=True) if options.delete or not options.dry_run else State()
    _down(copy, state, options, to_stderr=False)


def before_run(project: Project, dock: Dock, run: Run, options: Options) -> None:
    """Sync up before a run, with all that it mounts, but keep the files on the dock that are newer there.

    rsync writes to stderr. Raise as `up` does, and UserError or DockerutilsError if the user does not agree to send
    much data that `.dockerignore` leaves out; `options.yes` agrees.
    """
    _up(Copy(project, dock), options, run)


def after_run(project: Project, dock: Dock, container: str = "", *, dry_run: bool = False) -> None:
    """Sync down after a run, and remove its mark unless its container still runs. rsync writes to stderr.

    Raise as `down` does.
    """
    copy, options = Copy(project, dock), Options(dry_run=dry_run)
    with _said_where_files_stay(dock):
        state = State(runs=(container,) if container else ()) if dry_run else _state_of(copy, options, fetches=True)
        _down(copy, state, options, to_stderr=True)
    if container in state.running:
        console.warn("sync", f"{container} is still running on dock {dock.moniker}; run sync-down when it ends")


def fetch_if_marked(project: Project, dock: Dock, container: str) -> None:
    """Sync down after a run that has ended, if the copy is marked as one that its container writes to.

    Raise as `down` does.
    """
    copy, options = Copy(project, dock), Options()
    with _said_where_files_stay(dock):
        state = copy_state.read(dock, copy.path)
        if container in state.runs:
            _require_syncable(copy, state, options, fetches=True)
            _down(copy, state, options, to_stderr=True)


def require(project: Project, dock: Dock, run: Run, command: str) -> None:
    """Make sure that the copy on the dock has what a run mounts, without a sync.

    What is neither there nor here is created, as the dock's user. DockerutilsError names the `command` that copies what
    is missing; also if the copy belongs to another checkout.
    """
    copy = Copy(project, dock)
    state = copy_state.read(dock, copy.path, run.mounts)
    if not state.exists:
        raise DockerutilsError(
            f"dock {dock.moniker} has no {copy.path}, which is mounted, and this run does not sync; run: sync-up"
        )
    _require_origin(copy, state, "sync-up")
    missing = [run.mounts[number] for number in state.missing if number < len(run.mounts)]
    for path in missing:
        if os.path.lexists(os.path.join(project.root, path)):
            raise DockerutilsError(
                f"dock {dock.moniker} has no {copy.path}/{path}, which is mounted, and this run does not sync; run: "
                f"{command}"
            )
    copy_state.create(dock, copy.path, [path for path in missing if path in run.volumes])


@contextmanager
def _said_where_files_stay(dock: Dock) -> Iterator[None]:
    try:
        yield
    except DockerutilsError as failure:
        message = f"{failure}; the files of the container stay on dock {dock.moniker} until you run sync-down"
        raise CommandFailed(failure.status, message) from None


def _up(copy: Copy, options: Options, run: Run | None) -> None:
    """Sync up; `run` is what it is for, None if a person asked for it."""
    project, automatic = copy.project, run is not None
    ignore = dockerignore.read(project.root)
    state = _state_of(copy, options, fetches=False) if options.delete or not options.dry_run else State()
    if run and not options.dry_run:
        mounts.add(copy, ignore, run.mounts, yes=options.yes)
    # A run fetches nothing while another one is writing: rsync would send back what is not complete.
    pending = () if automatic and state.running else state.runs
    if pending and state.origin == copy_state.origin(project.root):
        names = ", ".join(pending)
        console.note(
            "sync",
            f"first fetching the files that {names} wrote on dock {copy.dock.moniker}: they were not synced down",
        )
        _down(copy, state, Options(dry_run=options.dry_run), to_stderr=automatic)
    version = _version_file(project)
    if version and not options.dry_run:
        version_file.generate(project.root)
    always = [_STATE, *_excluding(version)]
    if options.delete and state.exists:
        rules = Filter(ignore)
        filters = [*always, *rules.options(rsync_filters.entries_below(project.root))]
        _delete(copy, rules, filters, [rsync.HERE, copy.remote], options)
    rules = Filter(ignore.keeping([*mounts.read(copy), *(run.mounts if run else ())]))
    filters = [*always, *rules.options(rsync_filters.entries_below(project.root))]
    if options.delete:
        filters = ["--force", _KEEP_GIT, *filters]
    how = [
        *rsync.output(to_stderr=automatic, skips=automatic),
        *(rsync.skipping(copy) if automatic else []),
        *rsync.backups(copy_state.REPLACED),
    ]
    claim = copy_state.claim(copy.path, project.root, *_marks(copy, run))
    with _recorded(copy, dry_run=options.dry_run):
        words = [*how, claim, *filters, rsync.HERE, copy.remote]
        rsync.run(copy, words, dry_run=options.dry_run, to_stderr=automatic)
        if version:
            directory = shlex.quote(os.path.dirname(f"{copy.path}/{version}"))
            words = [f"--rsync-path=mkdir -p {directory} && exec rsync", version_file.NAME, copy.remote + version]
            rsync.run(copy, words, dry_run=options.dry_run, to_stderr=automatic)


def _marks(copy: Copy, run: Run | None) -> tuple[str, list[str]]:
    """Return the container of a run, and the directories that it mounts and that this machine does not have."""
    if run is None:
        return "", []
    return run.container, [path for path in run.volumes if not os.path.lexists(os.path.join(copy.project.root, path))]


def _down(copy: Copy, state: State, options: Options, *, to_stderr: bool) -> None:
    project = copy.project
    record = sync_record.read(project.name, copy.records, project.root)
    if not options.dry_run:
        _keep_conflicts(copy, record)  # of a sync that was killed
    ignore = dockerignore.read(project.root)
    kept = [_STATE, *_KEPT_HERE, *([] if options.include_docker else _DECIDING), *_excluding(_version_file(project))]
    if options.delete:
        rules = Filter(ignore)
        if not (state.has_docker or rules.ignored(["docker/"])):
            raise DockerutilsError(
                f"{copy.path} on dock {copy.dock.moniker} has no docker/, so it is not complete; run sync-up first, or "
                "leave out --delete"
            )
        _delete(copy, rules, _filters(copy, kept, rules), [copy.remote, rsync.HERE], options)
    filters = _filters(copy, kept, Filter(ignore.keeping(mounts.read(copy))))
    filters = ["--force", *filters] if options.delete else filters
    how = [*rsync.output(to_stderr=to_stderr, skips=True), *rsync.skipping(copy), *rsync.backups(sync_record.BACKUPS)]
    how += [copy_state.claim(copy.path, project.root)] if options.adopt else []
    with _recorded(copy, dry_run=options.dry_run), mounts.fetching(copy):
        try:
            rsync.run(copy, [*how, *filters, copy.remote, rsync.HERE], dry_run=options.dry_run, to_stderr=to_stderr)
        finally:
            if not options.dry_run:
                _keep_conflicts(copy, record)
    if ended := tuple(run for run in state.runs if run not in state.running):
        command = Command(["ssh", "-n", copy.dock.host, copy_state.release(copy.path, ended)])
        process.run(command, dry_run=options.dry_run, escaped=[STDOUT, STDERR])


def _filters(copy: Copy, kept: list[str], rules: Filter) -> list[str]:
    """Return the filters for a sync down: what stays here anyway, and what `.dockerignore` leaves out."""
    return [*kept, *rules.options(rsync.entries(copy, kept) if rules.needs_tree else rsync_filters.entries_among([]))]


def _state_of(copy: Copy, options: Options, *, fetches: bool) -> State:
    """Ask the dock for the state of the copy; raise if it cannot be synced, and warn if the clocks differ."""
    state = copy_state.read(copy.dock, copy.path)
    _require_syncable(copy, state, options, fetches=fetches)
    return state


def _require_syncable(copy: Copy, state: State, options: Options, *, fetches: bool) -> None:
    moniker = copy.dock.moniker
    if not state.has_rsync:
        raise DockerutilsError(
            f"dock {moniker} has no rsync; install it there: ssh-dock {moniker} sudo apt-get install -y rsync"
        )
    if fetches and not state.exists:
        raise DockerutilsError(f"dock {moniker} has no {copy.path}; run: sync-up")
    if not (fetches or state.is_writable):
        workspace = project_copy.workspace(copy.project.environ, copy.project.user)
        advice = project_copy.make_writable(copy.dock, workspace)
        raise DockerutilsError(f"{copy.path} on dock {moniker} is not writable; {advice}")
    if not options.adopt:
        _require_origin(copy, state, "sync-down" if fetches else "sync-up")
    if state.ahead:
        which = "ahead of" if state.ahead > 0 else "behind"
        console.warn(
            "sync",
            f"the clock of dock {moniker} is {console.age(abs(state.ahead))} {which} this machine's, so the newer of "
            f"two files is uncertain; set it: ssh-dock {moniker} sudo timedatectl set-ntp true",
        )


def _require_origin(copy: Copy, state: State, command: str) -> None:
    here = copy_state.origin(copy.project.root)
    if state.origin not in ("", here):
        raise DockerutilsError(
            f"{copy.path} on dock {copy.dock.moniker} is the copy of {state.origin}, not of {here}; rename this "
            f"project's directory, or take the copy over: {command} --adopt"
        )


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


def _delete(copy: Copy, rules: Filter, filters: list[str], direction: list[str], options: Options) -> None:
    """List what the source does not have and delete it if the user agrees; never what docker leaves out, or `.git`.

    UserError if there is no terminal to ask on, DockerutilsError if the answer is no.
    """
    where = "here" if direction[-1] == rsync.HERE else f"on dock {copy.dock.moniker}"
    lines = rsync.capture(copy, ["-n", "--delete", "--info=del", _KEEP_GIT, *filters, *direction])
    extra = [rsync.unescaped(line.removeprefix(_DELETING)) for line in lines if line.startswith(_DELETING)]
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
    rsync.run(copy, words, dry_run=options.dry_run, to_stderr=False)


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
