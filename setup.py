"""The version comes from git, by versioneer; everything else is in setup.cfg."""

import re
from typing import Any

import setuptools
import versioneer

# The next release, as CHANGELOG.md names it: a checkout without a tag has a development version of it.
NEXT = "0.9.0"

_versions_of_git = versioneer.get_versions


def get_versions(*args: Any, **options: Any) -> dict[str, Any]:
    """Return versioneer's data, with NEXT.devN+gCOMMIT for its 0+untagged.N.gCOMMIT, and NEXT.dev0 without git."""
    versions: dict[str, Any] = _versions_of_git(*args, **options)
    if untagged := re.fullmatch(r"0\+(?:untagged\.(\d+)\.(.+)|unknown)", versions["version"]):
        distance, commit = untagged.groups()
        versions["version"] = f"{NEXT}.dev{distance}+{commit}" if commit else f"{NEXT}.dev0"
    return versions


versioneer.get_versions = get_versions  # versioneer's own commands, which write the version into packages, ask it too
setuptools.setup(version=versioneer.get_version(), cmdclass=versioneer.get_cmdclass())
