"""What the READMEs and the pages of docs/ show is true: their commands are run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sessions import Session, Step, follow, steps
from tests.test_architecture import COMMANDS
from tests.testbed import jupyter

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
START = ROOT / "docs" / "start.md"
WALK_THROUGH = ROOT / "examples" / "meteorites" / "README.md"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout of the project as it stands, changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "dockerutils")], check=True)
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    copy = subprocess.run(["tar", "-C", str(ROOT), "-c", "--", *files], capture_output=True, check=True)
    subprocess.run(["tar", "-C", str(tmp_path / "dockerutils"), "-x"], input=copy.stdout, check=True)
    return tmp_path / "dockerutils"


def test_the_readme_as_a_new_user_follows_it(engine, python_image, checkout, monkeypatch) -> None:
    monkeypatch.setenv("BASE", python_image)
    # The user has put the checkout there, and installed it as `bin/demo` does.
    Path(os.environ["HOME"], "dockerutils").symlink_to(checkout)
    monkeypatch.setenv("PATH", f"{checkout}/.venv/bin", prepend=":")
    recorded = list(steps(README))
    assert [step.command for step in recorded[:2]] == ["bin/demo", "bin/test"]
    # bin/test is what runs this test.
    recorded.remove(Step("bin/test", []))
    session = Session(checkout)
    try:
        follow(session, recorded, "/home/alice/dockerutils")
    finally:
        session.close()


def test_the_walk_through_of_the_example(engine, python_image, checkout, monkeypatch) -> None:
    monkeypatch.setenv("BASE", python_image)
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    session = Session(checkout / "examples" / "meteorites")
    try:
        follow(session, steps(WALK_THROUGH), "/home/ada/meteorites")
    finally:
        session.close()


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if any(steps(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_sessions_of_a_page(page, checkout, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    session = Session(checkout)
    try:
        follow(session, steps(page), "/home/alice/dockerutils")
    finally:
        session.close()


class Installation:
    """A shell of a new user who has pipx and uv. The URL of the README leads to a checkout; packages are wheels here."""

    def __init__(self, checkout: Path, tools: Path, wheels: Path) -> None:
        self.home = Path(os.environ["HOME"])
        self.bin = self.home / ".local" / "bin"
        self._git = ["git", "-C", str(checkout), "-c", "user.name=Alice", "-c", "user.email=alice@example.com"]
        self._environ = {
            **os.environ,
            "PATH": f"{self.bin}:{tools}:{os.environ['PATH']}",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{checkout}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://git.example.com/you/dockerutils",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIPX_DEFAULT_PYTHON": sys.executable,
            "UV_CONFIG_FILE": str(wheels / "uv.toml"),
            "UV_PYTHON": sys.executable,
        }

    def commit(self) -> None:
        """Commit everything in the checkout, or an empty change."""
        subprocess.run([*self._git, "add", "--all"], check=True)
        subprocess.run([*self._git, "commit", "--quiet", "--allow-empty", "-m", "Change"], check=True)

    def run(self, line: str) -> str:
        """Run a command line in bash, and return its output."""
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.home, env=self._environ, capture_output=True, text=True, check=False, timeout=300
        )  # fmt: skip
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout


def _pip(*words: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", *words]
    done = subprocess.run(pip, env={**os.environ, **jupyter.environment()}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with what dockerutils needs, and what it is built with."""
    there = tmp_path_factory.mktemp("wheels")
    _pip("download", "--dest", there, "boto3", "versioneer", "setuptools>=77")
    (there / "uv.toml").write_text(f'no-index = true\nfind-links = ["{there}"]\n')
    return there


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the commands pipx and uv."""
    there = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", there], check=True)
    _pip("--python", there / "bin" / "python", "install", "--no-compile", "pipx", "uv")
    return there / "bin"


@pytest.mark.parametrize("tool", ["pipx", "uv tool"])
def test_the_installation(tool, checkout, tools, wheels) -> None:
    """Install, complete, dock, upgrade, unregister and uninstall, as README and the page Start have it."""
    [install] = re.findall(rf"\$ ({tool} install git\S+)", README.read_text())
    start = START.read_text()
    assert install in start
    [upgrade] = re.findall(rf"`({tool} upgrade \S+)`", start)
    [uninstall] = re.findall(rf"`({tool} uninstall \S+)`", start)
    user = Installation(checkout, tools, wheels)
    config = user.home / ".ssh" / "config"
    config.parent.mkdir(mode=0o700)
    config.write_text("# mine\nHost box\n    Port 2222\n")
    user.commit()
    user.run(install)
    before = user.run("run-image --version")
    assert {path.name for path in user.bin.iterdir()} == {*(name.replace("_", "-") for name in COMMANDS), "dock"}
    user.run("register-dock ada@box gpu --no-connect")
    assert config.read_text().endswith("# mine\nHost box\n    Port 2222\n")
    docked = 'set -eu; source dock gpu; echo "$DOCK_MONIKER"; castoff'
    assert user.run(docked) == "gpu\n"
    assert user.run(f"zsh -c '{docked}'") == "gpu\n"
    for shell, line in re.findall(r"^\| (\w+) \| `(.*completion.*?)` \|", start, re.MULTILINE):
        typed, offered = {
            "bash": (f"{line}; complete -p run-image", "-F _dockerutils"),
            "zsh": (f"zsh -c 'autoload -U compinit; compinit -u; {line}; echo $_comps[run-image]'", "_dockerutils"),
            "fish": (f"fish -c '{line}; complete -C \"run-image --\"'".replace("\\|", "|"), "--dry-run"),
        }[shell]
        assert offered in user.run(typed)
    manual = "~/.local/share/man" if tool == "pipx" else '"$(uv tool dir)/dockerutils/share/man"'
    assert user.run(f"head -n 1 {manual}/man1/run-image.1").startswith(".TH RUN")
    user.run("dockerutils completion bash --install")
    user.commit()
    user.run(upgrade)
    assert user.run("run-image --version") != before
    user.run("unregister-dock gpu")
    user.run("dockerutils completion --uninstall")
    user.run(uninstall)
    assert list(user.home.glob(".local/share/**/run-image*")) == []
    assert list(user.bin.iterdir()) == []
    assert config.read_text() == "# mine\nHost box\n    Port 2222\n"
    assert "`~/.docker/dock*.lock`" in start
    left = [path for path in (user.home / ".docker").rglob("*") if path.is_file()]
    assert [path for path in left if not path.match("dock*.lock") or path.stat().st_size] == []


def test_the_installation_from_a_checkout(checkout, tools, wheels) -> None:
    assert "or `.` in a checkout" in START.read_text()
    user = Installation(checkout, tools, wheels)
    user.run(f"cd {checkout}; uv tool install .")
    assert "run-image " in user.run("run-image --version")
