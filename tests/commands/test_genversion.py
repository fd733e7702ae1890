"""genversion in projects with a vendored versioneer, with the installed one, and without one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dockerutils.commands.genversion import main
from tests.support import call, script, write_tree

SECTION = "VCS = git\nstyle = pep440\nversionfile_source = app/_version.py\ntag_prefix = v\n"
TOML = '[tool.versioneer]\nVCS = "git"\nstyle = "pep440"\nversionfile_source = "app/_version.py"\ntag_prefix = "v"\n'
VENDORED = "print('a warning')\ndef get_versions():\n    return {'version': '9.9', 'full-revisionid': None, 'dirty': True, 'error': None, 'date': None}\n"


def _git(root: Path, *args: str) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(root)]
    subprocess.run([*git, *args], check=True, stdout=subprocess.DEVNULL)


def _project(root: Path, files: dict[str, str]) -> Path:
    write_tree(
        root, {"docker/dev/Dockerfile": "FROM scratch\n", ".gitignore": "_version.py.bld\n", "setup.py": "", **files}
    )
    _git(root, "init", "-q")
    _git(root, "add", ".")
    _git(root, "commit", "-qm", "x")
    _git(root, "tag", "v1.2.3")
    return root


def _versions(root: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec((root / "_version.py.bld").read_text(), namespace)
    return namespace["get_versions"]()


@pytest.mark.parametrize(
    "files", [{"setup.cfg": f"[versioneer]\n{SECTION}"}, {"pyproject.toml": TOML}], ids=["setup.cfg", "pyproject.toml"]
)
def test_the_installed_versioneer(tmp_path, capfd, files) -> None:
    root = _project(tmp_path / "app", files)
    (root / "sub").mkdir()
    outcome = call(main, directory=root / "sub", capfd=capfd)
    assert outcome == (0, "_version.py.bld: 1.2.3\n", "")
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    versions = _versions(root)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", versions.pop("date"))
    assert versions == {"version": "1.2.3", "full-revisionid": head.stdout.strip(), "dirty": False, "error": None}


def test_the_projects_own_versioneer(tmp_path, capfd) -> None:
    root = _project(tmp_path / "app", {"setup.cfg": f"[versioneer]\n{SECTION}", "versioneer.py": VENDORED})
    assert call(main, directory=root, capfd=capfd) == (0, "_version.py.bld: 9.9\n", "")
    assert _versions(root) == {"version": "9.9", "full-revisionid": None, "dirty": True, "error": None, "date": None}


def test_the_real_versioneer_vendored(tmp_path, capfd) -> None:
    root = _project(
        tmp_path / "app",
        {
            "setup.cfg": f"[versioneer]\n{SECTION}versionfile_build = app/_version.py\n",
            "setup.py": "import setuptools\nimport versioneer\nsetuptools.setup(version=versioneer.get_version(), cmdclass=versioneer.get_cmdclass())\n",
            "app/__init__.py": "",
        },
    )
    assert script("versioneer", "install", "--vendor", directory=root).status == 0
    _git(root, "add", ".")
    _git(root, "commit", "-qm", "vendored")
    outcome = call(main, directory=root, capfd=capfd)
    assert outcome.status == 0
    assert re.fullmatch(r"1\.2\.3\+1\.g[0-9a-f]{7}", _versions(root)["version"])


# Names of standard modules that Python itself, versioneer or this package import.
SHADOWING = {
    f"{name}.py": "raise RuntimeError('imported')\n"
    for name in ("types", "json", "subprocess", "contextlib", "re", "runpy")
}


@pytest.mark.parametrize("own", [False, True], ids=["installed", "vendored"])
def test_modules_of_the_project_do_not_replace_standard_ones(tmp_path, capfd, own) -> None:
    files = {"setup.cfg": f"[versioneer]\n{SECTION}", **SHADOWING}
    if own:
        files["versioneer.py"] = f"import json, re, subprocess, types\nimport helper\n{VENDORED}"
        files["helper.py"] = ""
    root = _project(tmp_path / "app", files)
    assert call(main, directory=root, capfd=capfd) == (0, f"_version.py.bld: {'9.9' if own else '1.2.3'}\n", "")


def test_not_a_versioneer_project(tmp_path, capfd) -> None:
    root = _project(tmp_path / "app", {"setup.cfg": "[metadata]\nname = versioneer\n"})
    assert call(main, directory=root, capfd=capfd) == (
        0,
        "",
        "genversion: nothing to do: setup.cfg and pyproject.toml have no versioneer section\n",
    )
    assert not (root / "_version.py.bld").exists()


def test_a_failing_versioneer_leaves_the_old_file(tmp_path, capfd) -> None:
    root = _project(
        tmp_path / "app", {"setup.cfg": f"[versioneer]\n{SECTION}", "versioneer.py": "raise RuntimeError('too old')\n"}
    )
    (root / "_version.py.bld").write_text("old")
    assert call(main, directory=root, capfd=capfd) == (
        1,
        "",
        "genversion: versioneer failed: RuntimeError: too old; fix its section in setup.cfg or pyproject.toml, or update versioneer.py\n",
    )
    assert (root / "_version.py.bld").read_text() == "old"


def test_warns_of_a_version_that_cannot_be_computed(tmp_path, capfd) -> None:
    own = "def get_versions():\n    return {'version': '0+unknown', 'error': 'no git here'}\n"
    root = _project(tmp_path / "app", {"setup.cfg": f"[versioneer]\n{SECTION}", "versioneer.py": own})
    assert call(main, directory=root, capfd=capfd) == (
        0,
        "_version.py.bld: 0+unknown\n",
        "genversion: warning: versioneer: no git here\n",
    )


def test_any_text_survives_in_the_module(tmp_path, capfd) -> None:
    text = """it's \"\"\" \'\'\' \\\\ \\n é"""
    own = f"def get_versions():\n    return {{'version': {text!r}}}\n"
    root = _project(tmp_path / "app", {"setup.cfg": f"[versioneer]\n{SECTION}", "versioneer.py": own})
    assert call(main, directory=root, capfd=capfd).status == 0
    assert _versions(root) == {"version": text}


def test_versioneer_finds_the_version_where_there_is_no_git(tmp_path, capfd) -> None:
    root = _project(tmp_path / "app", {"setup.cfg": f"[versioneer]\n{SECTION}"})
    call(main, directory=root, capfd=capfd)
    (root / "app").mkdir()
    (root / "_version.py.bld").rename(root / "app/_version.py")
    shutil.rmtree(root / ".git")
    assert call(main, directory=root, capfd=capfd) == (0, "_version.py.bld: 1.2.3\n", "")


def test_dry_run_prints_the_child_and_writes_nothing(tmp_path, capfd) -> None:
    root = _project(tmp_path / "app", {"setup.cfg": f"[versioneer]\n{SECTION}"})
    before = sorted(os.listdir(root))
    outcome = call(main, "--dry-run", directory=root, capfd=capfd)
    assert (outcome.status, outcome.err) == (0, "")
    printed = subprocess.run(["sh", "-c", outcome.out], cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout)["version"] == "1.2.3"
    assert sorted(os.listdir(root)) == before
