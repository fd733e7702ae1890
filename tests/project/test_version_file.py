"""The path of the version file in versioneer's section."""

from __future__ import annotations

import pytest

from dockerutils.project import version_file
from tests.support import write_tree


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({"setup.cfg": "[versioneer]\nVCS = git\nversionfile_source = app/_version.py\n"}, "app/_version.py"),
        ({"setup.cfg": "[a]\nb = c\n[versioneer]\nversionfile_source: ./the app//_version.py\n"}, "the app/_version.py"),
        ({"pyproject.toml": '[tool.versioneer]\nversionfile_source = "app/_version.py"\n'}, "app/_version.py"),
        ({"setup.cfg": "[metadata]\n", "pyproject.toml": "[tool.versioneer]\nversionfile_source = 'a.py'\n"}, "a.py"),
        ({"setup.cfg": "[versioneer]\nVCS = git\n[other]\nversionfile_source = app/_version.py\n"}, None),
        ({"setup.cfg": "[versioneer]\nversionfile_source = ../_version.py\n"}, None),
        ({"setup.cfg": "[versioneer]\nversionfile_source = /etc/passwd\n"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_source(tmp_path, files, path) -> None:
    assert version_file.source(str(write_tree(tmp_path, files))) == path
