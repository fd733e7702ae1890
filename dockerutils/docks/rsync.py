"""Calls of rsync between a project and its copy on a dock."""

from __future__ import annotations

import os
import sys

from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import STDERR, Command
from dockerutils.docks import copy_state, rsync_filters, sync_record
from dockerutils.docks.project_copy import Copy

# Links, modes, times and holes are kept; names are safe from the dock's shell. The list of files is sent as a whole: in
# parts, each few hundred files would cost a round trip.
_RSYNC = ["rsync", "-rlptOzS", "--no-inc-recursive", "-s", "-e", "ssh"]
HERE, _NOWHERE = "./", "/nonexistent/"


def output(*, to_stderr: bool, skips: bool) -> list[str]:
    """Return the options for rsync's output: progress on a terminal, elsewhere the name of each file."""
    stream = sys.stderr if to_stderr else sys.stdout
    skip = ",skip" if skips else ""
    return ["-h", f"--info=progress2{skip}"] if stream.isatty() else [f"--info=name{skip}"]


def backups(directory: str) -> list[str]:
    """Return the options to move what rsync replaces to a directory of the destination."""
    return ["--backup", f"--backup-dir={directory}"]


def skipping(copy: Copy) -> list[str]:
    """Return the options to skip files that are newer where rsync copies to, and to log their names."""
    return ["-u", f"--log-file={sync_record.log(copy.project.name, copy.records)}", "--log-file-format="]


def run(copy: Copy, words: list[str], *, dry_run: bool, to_stderr: bool) -> None:
    """Run rsync at the root of the project; CommandFailed if it fails."""
    command = Command([*_RSYNC, *words], directory=copy.project.root)
    try:
        process.run(command, dry_run=dry_run, to_stderr=to_stderr, escaped=[STDERR])  # rsync escapes its stdout itself
    except CommandFailed as failure:
        raise _failure(failure.status) from None


def capture(copy: Copy, words: list[str]) -> list[str]:
    """Run rsync as a probe, and return the lines that it wrote; CommandFailed if it fails."""
    words = [os.path.join(copy.project.root, "") if word == HERE else word for word in words]
    answer = copy_state.probe([*_RSYNC, "-8", *words])
    if answer.status:
        console.relay(answer.stderr)
        raise _failure(answer.status)
    return answer.stdout.split("\n")


def entries(copy: Copy, filters: list[str]) -> rsync_filters.Entries:
    """Ask for the paths in the copy on the dock; CommandFailed if rsync fails."""
    words = ["-n", "--out-format=%n", "--info=nonreg0", *filters, copy.remote, _NOWHERE]
    return rsync_filters.entries_among(unescaped(line) for line in capture(copy, words) if line)


def unescaped(name: str) -> str:
    """Return a name in which rsync has written some bytes as octal numbers."""
    return os.fsdecode(sync_record.unescaped(os.fsencode(name)))


def _failure(status: int) -> CommandFailed:
    return CommandFailed(status, f"rsync failed with status {status}; fix what it reports above, and try again")
