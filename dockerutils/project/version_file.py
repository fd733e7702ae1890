"""`_version.py.bld`: the version of a versioneer project as a module, for images that hold no `.git`.

Versioneer: https://github.com/python-versioneer/python-versioneer. Its data are computed in a child process, because
a project may bring a versioneer of its own.
"""

from __future__ import annotations

import os
import re
import sys

from dockerutils.core import files, process
from dockerutils.core.errors import DockerutilsError

NAME = "_version.py.bld"

_SECTIONS = (("setup.cfg", r"(?m)^\[versioneer\]"), ("pyproject.toml", r"(?m)^\[tool\.versioneer\]"))

# The assignment is spelt as versioneer spells it, so that it finds the version there when it has no git to ask.
_MODULE = '''\
"""The version of this project, as versioneer computed it when the image was built."""

import json

version_json = \'\'\'
{versions}
\'\'\'  # END VERSION_JSON


def get_versions():
    """Return the version, the revision, its date, and whether the work tree was dirty."""
    return json.loads(version_json)
'''


def command(root: str) -> process.Command:
    """Return the command that prints the version data of the project at `root`."""
    return process.Command([sys.executable, "-m", "dockerutils.project.print_versions"], {}, root)


def applies(root: str) -> bool:
    """Tell whether the project at `root` is configured for versioneer."""
    for name, section in _SECTIONS:
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="replace") as stream:
                if re.search(section, stream.read()):
                    return True
        except OSError:
            continue
    return False


def source(root: str) -> str | None:
    """Return the path, from `root`, of the version file that versioneer makes; None when its section has none."""
    for name, section in _SECTIONS:
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="replace") as stream:
                after = re.split(section, stream.read(), maxsplit=1)[1:]
        except OSError:
            continue
        own = re.split(r"(?m)^\[", after[0], maxsplit=1)[0] if after else ""
        if found := re.search(r"""(?m)^\s*versionfile_source\s*[=:]\s*(["']?)(\S.*?)\1\s*$""", own):
            path = os.path.normpath(found[2])
            return None if path.startswith(("/", "..")) or not path.isprintable() else path
    return None


def compute(root: str) -> dict[str, object]:
    """Return the version data of the project at `root`; DockerutilsError when versioneer fails."""
    answer = process.capture(command(root).argv, directory=root)
    if answer.status:
        said = answer.stderr.strip().splitlines() or ["nothing"]
        raise DockerutilsError(
            f"versioneer failed: {said[-1]}; mend its section, or update the project's versioneer.py"
        )
    import json

    data: dict[str, object] = json.loads(answer.stdout)
    return data


def generate(root: str) -> dict[str, object]:
    """Write `_version.py.bld` at `root` and return the version data; DockerutilsError when versioneer fails."""
    import json

    versions = compute(root)
    text = json.dumps(versions, indent=1, sort_keys=True).replace("\\", "\\\\").replace("'", "\\u0027")
    files.write(os.path.join(root, NAME), _MODULE.format(versions=text))
    return versions
