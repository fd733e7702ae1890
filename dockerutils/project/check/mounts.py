"""Find mounts of the project's files that a dock does not have."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dockerutils.core.errors import UserError
from dockerutils.docker import invocation
from dockerutils.project import dockerignore
from dockerutils.project.dockerignore import Ignore
from dockerutils.project.project import Project

_KEYS = ("volumes", "args")


def missing_on_docks(project: Project, name: str) -> Iterator[str]:
    """Yield the mounts that would be empty on a dock: `.dockerignore` keeps their files out of the copy there."""
    try:
        settings = project.settings_of(project.config.section(name), docked=True)
        mounted = [(key, path) for key in _KEYS for path in invocation.bound(settings.options(key))]
        ignore = dockerignore.read(project.root)
    except UserError:  # a mistake that the other checks report, or that the sync does
        return
    for key, path in mounted:
        inside = os.path.relpath(path, project.root)
        value = settings.value(key)
        if value and not inside.startswith(os.pardir) and inside != os.curdir and _is_left_out(inside, ignore):
            yield value.describe(
                f"{dockerignore.NAME} keeps {inside} out of the copies on docks, so a run there mounts nothing; "
                f"copy it to the dock, and set {key}_docked"
            )


def _is_left_out(path: str, ignore: Ignore) -> bool:
    """Return whether a path is left out, with everything below it."""
    below = f"{path}/"
    has_exceptions = any(each.exception and each.head.startswith(below) for each in ignore.patterns)
    return ignore.judge_from_root(path).ignored and not has_exceptions
