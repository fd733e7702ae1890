"""The copy of a project on a dock: where it is, for rsync and for containers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.errors import UserError
from dockerutils.docks.records import Dock
from dockerutils.project.project import Project

WORKSPACES = "/data/workspaces"
ENVIRONMENT = f"  DOCK_WORKSPACES    directory of projects on docks (default: {WORKSPACES})"  # for -h


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
    return f"{workspace(project.environ, project.user)}/code/{project.name}"


def workspace(environ: Mapping[str, str], user: str) -> str:
    """Return the directory of a user's projects on any dock; UserError if DOCK_WORKSPACES is not an absolute path."""
    workspaces = environ.get("DOCK_WORKSPACES") or WORKSPACES
    if not workspaces.startswith("/") or not workspaces.isprintable():
        raise UserError(
            f"DOCK_WORKSPACES is {workspaces!r}, which is not an absolute path; set it to a directory on the dock, "
            f"such as {WORKSPACES}"
        )
    return f"{workspaces.rstrip('/')}/{user}"


def make_writable(dock: Dock, workspace: str) -> str:
    """Return what to do if a user's directory of projects on a dock is not writable."""
    line = shell_words.render(["ssh-dock", dock.moniker, "sudo", "install", "-d", "-o", dock.user, workspace])
    return f"run: {line}; or set DOCK_WORKSPACES to a directory of yours"
