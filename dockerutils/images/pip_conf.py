"""The settings of pip during builds: a secret where the Dockerfile mounts them, otherwise a copy in the context."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from dockerutils.core import console, files
from dockerutils.docker import options
from dockerutils.docker.options import BUILD
from dockerutils.project.dockerfile import Dockerfile

NAME = "pip.conf"  # of the file at the root, and the id of the secret
TEMPLATE = f"{NAME}.template"


def secret(root: str, content: Dockerfile, given: Sequence[str]) -> list[str]:
    """Return the option of docker build for a Dockerfile that mounts the secret `pip.conf`, if there is such a file.

    It passes the user's own pip.conf at `root`, or else the template. `given` are the other options: one that passes
    the secret wins.
    """
    passed = {options.fields(value).get("id") for value in options.values(given, BUILD, "secret")}
    if NAME not in content.secrets or NAME in passed:
        return []
    paths = [TEMPLATE] if files.is_copy(os.path.join(root, NAME), TEMPLATE) else [NAME, TEMPLATE]
    present = [path for path in paths if os.path.isfile(os.path.join(root, path))]
    return ["--secret", f"id={NAME},src={present[0]}"] if present else []


def in_context(root: str, contents: Iterable[Dockerfile], by: str) -> AbstractContextManager[None]:
    """Provide a copy of the template at pip.conf during the block, if one of the Dockerfiles mounts no such secret.

    `by` names the command in messages.
    """
    if all(NAME in content.secrets for content in contents):
        return nullcontext()
    path = os.path.join(root, NAME)

    def report_wait() -> None:
        console.note(by, f"another build uses an earlier {TEMPLATE}; waiting for it to end")

    return files.temporary_copy(os.path.join(root, TEMPLATE), path, report_wait)
