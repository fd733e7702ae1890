"""The version comes from git, by versioneer, and the man pages from the parsers; everything else is in setup.cfg."""

import os
import re
import sys
from typing import Any

import setuptools
import versioneer

# The next release, as CHANGELOG.md names it: a checkout without a tag has a development version of it.
NEXT = "0.9.0"
MANUAL = "share/man/man1"  # pipx links it; man finds it beside a bin directory on PATH

_install_data = setuptools.Distribution().get_command_class("install_data")
_versions_of_git = versioneer.get_versions


def get_versions(*args: Any, **options: Any) -> dict[str, Any]:
    """Return versioneer's data, with NEXT.devN+gCOMMIT for its 0+untagged.N.gCOMMIT, and NEXT.dev0 without git."""
    versions: dict[str, Any] = _versions_of_git(*args, **options)
    if untagged := re.fullmatch(r"0\+(?:untagged\.(\d+)\.(.+)|unknown)", versions["version"]):
        distance, commit = untagged.groups()
        versions["version"] = f"{NEXT}.dev{distance}+{commit}" if commit else f"{NEXT}.dev0"
    return versions


class InstallManual(_install_data):
    """Add the man pages to a wheel; an sdist, a checkout and an editable install have none."""

    def run(self) -> None:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        from dockerutils.cli import man_page
        from dockerutils.commands import dockerutils

        versions = get_versions()
        pages = man_page.pages(dockerutils.parsers(), versions["version"], (versions.get("date") or "")[:10])
        there = self.get_finalized_command("build").build_temp
        self.mkpath(there)
        for name, text in pages.items():
            with open(os.path.join(there, name), "w", encoding="utf-8") as file:
                file.write(text)
        self.data_files = [(MANUAL, [os.path.join(there, name) for name in pages])]
        super().run()


versioneer.get_versions = get_versions  # versioneer's own commands, which write the version into packages, ask it too
setuptools.setup(
    version=versioneer.get_version(),
    cmdclass=versioneer.get_cmdclass({"install_data": InstallManual}),
    data_files=[(MANUAL, [])],
)
