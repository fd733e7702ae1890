"""`_version.py.bld`: the version of a versioneer project as a module, for images without `.git`.

Versioneer: https://github.com/python-versioneer/python-versioneer. A child process computes the version, because a
project can have its own copy of versioneer.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

from dockerutils.core import files, process
from dockerutils.core.errors import DockerutilsError

NAME = "_version.py.bld"

_SECTIONS = (("setup.cfg", r"(?m)^\[versioneer\]"), ("pyproject.toml", r"(?m)^\[tool\.versioneer\]"))
_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "print_versions.py")

# Versioneer reads the version out of such an assignment where git has none.
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
    return process.Command([sys.executable, _SCRIPT], {}, root)


def applies(root: str) -> bool:
    """Return whether the project at `root` is configured for versioneer."""
    return any(True for _ in _sections(root))


def source(root: str) -> str | None:
    """Return the path of the version file, relative to `root`, as versioneer's section has it, or None."""
    for section in _sections(root):
        if found := re.search(r"""(?m)^\s*versionfile_source\s*[=:]\s*(["']?)(\S.*?)\1\s*$""", section):
            path = os.path.normpath(found[2])
            return None if path.startswith(("/", "..")) or not path.isprintable() else path
    return None


def compute(root: str) -> dict[str, object]:
    """Return the version data of the project at `root`. Raise DockerutilsError if versioneer fails."""
    answer = process.capture(command(root).argv, directory=root)
    if answer.status:
        reason = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        raise DockerutilsError(
            f"versioneer failed: {reason}; fix its section in setup.cfg or pyproject.toml, or update versioneer.py"
        )
    import json  # late: only projects with versioneer need it

    data: dict[str, object] = json.loads(answer.stdout)
    return data


def generate(root: str) -> dict[str, object]:
    """Write `_version.py.bld` at `root` and return the version data. Raise DockerutilsError if versioneer fails."""
    import json

    versions = compute(root)
    text = json.dumps(versions, indent=1, sort_keys=True).replace("\\", "\\\\").replace("'", "\\u0027")
    files.write(os.path.join(root, NAME), _MODULE.format(versions=text))
    return versions


def _sections(root: str) -> Iterator[str]:
    """Yield the text of each section of versioneer, up to the next one."""
    for name, header in _SECTIONS:
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="replace") as stream:
                after = re.split(header, stream.read(), maxsplit=1)[1:]
        except OSError:
            continue
        if after:
            yield re.split(r"(?m)^\[", after[0], maxsplit=1)[0]
