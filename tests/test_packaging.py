"""An sdist and a wheel, as a user installs them: made once, from a tagged clone, and used where there is no git."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import clone, write_tree
from tests.test_architecture import COMMANDS

ROOT = Path(__file__).parent.parent
VERSION = "31.4.1"


class Made(NamedTuple):
    """What was built, where it is installed, and what the clone had in git."""

    tracked: list[str]
    sdist: Path
    wheel: Path
    bin: Path


def _run(*argv: str | Path, directory: Path) -> str:
    child = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


def _only(directory: Path, pattern: str) -> Path:
    [found] = directory.glob(pattern)
    return found


def _committed(directory: Path) -> Path:
    """Clone the project, commit its uncommitted changes, and return the clone."""
    checkout = clone(directory)
    git = ["git", "-c", "user.name=Alice", "-c", "user.email=alice@example.com", "-c", "commit.gpgsign=false"]
    _run("git", "add", "--all", directory=checkout)
    _run(*git, "commit", "--quiet", "--allow-empty", "-m", "As it stands", directory=checkout)
    return checkout


def _sdist(checkout: Path, here: Path) -> Path:
    """Build an sdist of a checkout in `here`/dist, and return where it is extracted."""
    build = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
    _run(sys.executable, "-c", build, here / "dist", directory=checkout)
    with tarfile.open(_only(here / "dist", "*.tar.gz")) as archive:
        # The argument `filter` exists from 3.11.4 on; this attribute is ignored before.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(here / "elsewhere")
    return _only(here / "elsewhere", "*")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    here = tmp_path_factory.mktemp("packaging")
    checkout = _committed(here / "checkout")
    _run("git", "-c", "tag.gpgsign=false", "tag", f"v{VERSION}", directory=checkout)
    tracked = _run("git", "ls-files", "-z", directory=checkout).split("\0")[:-1]
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps"]
    source = _sdist(checkout, here)
    _run(*pip, "wheel", *offline, "--no-build-isolation", "-w", here / "dist", ".", directory=source)
    _run(sys.executable, "-m", "venv", "--without-pip", here / "venv", directory=here)
    python = here / "venv" / "bin" / "python"
    wheel = _only(here / "dist", "*.whl")
    _run(*pip, "--python", python, "install", *offline, wheel, directory=here)
    # What it depends on is taken from where the tests run.
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", directory=here).strip())
    (site / "others.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    return Made(tracked, _only(here / "dist", "*.tar.gz"), wheel, python.parent)


def test_the_version_is_that_of_the_tag(made) -> None:
    assert made.sdist.name == f"dockerutils-{VERSION}.tar.gz"
    assert made.wheel.name == f"dockerutils-{VERSION}-py3-none-any.whl"


def _next_version() -> str:
    """Return the version of the topmost heading of CHANGELOG.md."""
    heading = re.search(
        r"(?m)^## (\d+\.\d+\.\d+), (?:unreleased|\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text()
    )
    assert heading
    return heading[1]


def test_a_shallow_clone_without_a_tag_has_a_development_version_of_the_next_release(tmp_path) -> None:
    checkout = _committed(tmp_path / "checkout")
    for tag in _run("git", "tag", directory=checkout).split():
        _run("git", "tag", "--delete", tag, directory=checkout)
    _run("git", "clone", "--quiet", "--depth=1", f"file://{checkout}", "shallow", directory=tmp_path)
    commit = _run("git", "rev-parse", "--short", "HEAD", directory=checkout).strip()
    source = _sdist(tmp_path / "shallow", tmp_path)
    version = f"{_next_version()}.dev1+g{commit}"
    assert source.name == f"dockerutils-{version}"
    assert f"\nVersion: {version}\n" in (source / "PKG-INFO").read_text()
    assert f'"version": "{version}"' in (source / "dockerutils" / "_version.py").read_text()
    (source / "dockerutils" / "_version.py").unlink()
    without_git = _run(sys.executable, "setup.py", "--version", directory=source).split()[-1]
    assert without_git == f"{_next_version()}.dev0"


def test_the_sdist_has_what_git_has(made) -> None:
    with tarfile.open(made.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set(made.tracked) - names == set()
    assert "dockerutils/_version.py" in names
    assert {name for name in names if name.endswith((".pyc", ".bld")) or name.startswith((".git/", ".venv"))} == set()


def test_the_wheel_has_the_whole_package_and_nothing_else(made) -> None:
    with zipfile.ZipFile(made.wheel) as archive:
        names = set(archive.namelist())
    ours = {name for name in made.tracked if name.startswith("dockerutils/")} - {"dockerutils/shell/dock"}
    data = f"dockerutils-{VERSION}.data"
    manual = {f"{data}/data/share/man/man1/{command.replace('_', '-')}.1" for command in COMMANDS}
    assert {name for name in names if ".dist-info/" not in name} == {
        *ours, *manual, "dockerutils/_version.py", f"{data}/scripts/dock"
    }  # fmt: skip


def test_the_man_pages_are_installed_where_man_looks_and_are_good_roff(made) -> None:
    pages = [*(made.bin.parent / "share" / "man" / "man1").glob("*.1")]
    assert len(pages) == len(COMMANDS)
    checked = subprocess.run(["groff", "-man", "-Tutf8", "-ww", *pages], capture_output=True, text=True, check=True)
    assert checked.stderr == ""
    shown = re.sub(r"\x1b\[[\d;]*m|.\x08", "", checked.stdout)
    assert f"dockerutils {VERSION}" in shown
    assert "run-image - Run an image with its configured options\n" in shown
    assert "\n       -v, --volume SOURCE:PATH\n              mount a directory, file or volume\n" in shown
    assert "\n       run-image dev -e DEBUG=1 -v ~/data:/data\n" in shown


def test_every_command_is_installed_and_knows_its_version(made, tmp_path) -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    scripts = parser["options.entry_points"]["console_scripts"].split()[::3]
    assert "run-image" in scripts
    for name in scripts:
        assert _run(made.bin / name, "--version", directory=tmp_path).split()[-1] == VERSION


def test_the_commands_work_without_git_and_without_the_sources(made, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    project = write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM scratch\n", "docker/dockerutils.cfg": ""})
    where = _run("python", "-c", "import dockerutils; print(dockerutils.__file__)", directory=project)
    assert where.startswith(str(made.bin.parent))
    assert _run("build-image", "dev", "--dry-run", directory=project) == (
        "docker build -t app-dev:alice -f docker/dev/Dockerfile .\n"
    )
    assert "no problems" in _run("dockerutils", "check", directory=project)
    assert "build-image" in _run("dockerutils", directory=tmp_path)
    assert "run-image" in _run("dockerutils", "completion", "bash", directory=tmp_path)
    write_tree(tmp_path / "roman", {"roman.py": "print(2026)"})
    assert "wrote docker/base/Dockerfile\n" in _run("dockerutils", "init", directory=tmp_path / "roman")
    _run("register-dock", "203.0.113.7", "gpu", "--no-connect", directory=tmp_path)
    # The sourced script, and the command that it asks.
    docked = 'set -eu; source dock gpu; echo "$DOCKER_HOST"; castoff'
    assert _run("bash", "-c", docked, directory=tmp_path) == f"unix://{os.environ['HOME']}/.docker/dock-gpu.sock\n"
