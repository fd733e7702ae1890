"""The first minutes of a new user: install, then init, build and run in a project of theirs; nothing is cached."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.lab import ROOT, environment, write
from benchmarks.timing import Call, Row, milliseconds, note, run, verdict
from tests.testbed import packages
from tests.testbed.debian import CACHE, modern_usr
from tests.testbed.engine import CONTAINERD, Engine, running
from tests.testbed.registry import daemon
from tests.testbed.relay import inside

AT_MOST = 300.0  # seconds from nothing to the first run
BASE = "local/python:bookworm"
_URL = "https://git.example.com/you/dockerutils"  # as the README writes it

# What the projects need, also on other systems, because a lock file is for all; and what their builds install besides.
_WHEELS = "rich httpx pytest colorama exceptiongroup tomli hatchling editables uv".split()

_SCRIPT = {
    "requirements.txt": "rich\n",
    "report.py": 'from rich import print\n\nprint("[bold]MMXXVI[/bold]")\n',
}
_PACKAGE = {
    "pyproject.toml": f"""\
[project]
name = "weather"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["httpx"]

[dependency-groups]
dev = ["pytest"]

{packages.HATCHLING}
[[tool.uv.index]]
url = "http://@index@/simple"
default = true
""",
    "src/weather/__init__.py": "import httpx\n\nCLIENT = httpx.Client\n",
    "tests/test_weather.py": "import weather\n\n\ndef test_client() -> None:\n    assert weather.CLIENT\n",
}


class Kind(NamedTuple):
    """A kind of project: its files, the line that makes its lock file, its first run, and the file that is edited."""

    name: str
    files: Mapping[str, str]
    lock: tuple[str, ...]
    first: tuple[str, ...]
    edited: str


KINDS = (
    Kind("a script", _SCRIPT, (), ("run-image", "dev", "python", "report.py"), "report.py"),
    Kind("a package with uv.lock", _PACKAGE, ("uv", "lock"), ("run-image", "cicd"), "src/weather/__init__.py"),
)


class User(NamedTuple):
    """A new user: an empty home, pipx and uv, and wheels for the package index of the builds."""

    home: str
    tools: str
    wheels: Path
    env: Mapping[str, str]

    def seconds(self, *argv: str, directory: str = "", **environ: str) -> float:
        """Return how long a command takes."""
        seconds = milliseconds(Call(argv, directory or self.home, {**self.env, **environ})) / 1000
        note(f"{seconds:.1f} s: {' '.join(argv)}")
        return seconds


@contextlib.contextmanager
def opened() -> Iterator[User]:
    """Make the home and the tools that a user has before; none of that is measured."""
    if os.geteuid():
        sys.exit("benchmarks: this starts Docker Engines; run it as root")
    with tempfile.TemporaryDirectory(prefix="dockerutils-benchmarks-") as directory:
        home, tools = f"{directory}/home", f"{directory}/tools"
        os.mkdir(home)
        note("installing pipx and uv, downloading what the projects need")
        pip = [sys.executable, "-m", "pip", "--python", f"{tools}/bin/python"]
        run(Call([sys.executable, "-m", "venv", "--without-pip", tools], directory, os.environ))
        run(Call([*pip, "install", "--quiet", "pipx", "uv"], directory, os.environ))
        wheels = packages.download(Path(directory, "wheels"), _WHEELS, os.environ)
        source = _checkout(directory)
        env = environment(home) | {
            "PATH": f"{home}/.local/bin:{tools}/bin:{os.environ['PATH']}",
            "BASE": BASE,
            "LOGNAME": "ada",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{source}.insteadOf",
            "GIT_CONFIG_VALUE_0": _URL,
            "PIPX_DEFAULT_PYTHON": sys.executable,
            "UV_PYTHON": sys.executable,
            "UV_LINK_MODE": "copy",
        }
        yield User(home, tools, wheels, env)


def starting(user: User) -> list[Row]:
    """Measure each step for each kind of project, with the sum of what a user waits for."""
    with_pipx = user.seconds("pipx", "install", f"git+{_URL}")
    rows = [Row("pipx install git+URL", _shown(with_pipx))]
    user.seconds("pipx", "uninstall", "dockerutils")
    rows += [Row("uv tool install git+URL", _shown(user.seconds("uv", "tool", "install", f"git+{_URL}")))]
    for kind in KINDS:
        with running(modern_usr(), **CONTAINERD) as engine:
            docker = engine.client(f"{user.home}/.docker")
            docker["PATH"] = f"{user.env['PATH']}:{docker['PATH']}"
            made = "from" if os.path.exists(f"{CACHE}/python-slim.tar") else "after making"
            base = user.seconds(f"{ROOT}/bin/python-base", BASE, **docker, DOCKERUTILS_CACHE=CACHE)
            rows.append(Row(f"{kind.name}: bin/python-base, {made} its tar file; not counted", _shown(base)))
            with packages.index(engine, user.wheels) as address:
                steps = dict(_steps(user, kind, engine, address, docker))
            total = with_pipx + sum(steps[step] for step in ("dockerutils init", "build-image all", "the first run"))
            rows += [Row(f"{kind.name}: {step}", _shown(seconds)) for step, seconds in steps.items()]
            wanted = verdict(f"≤ {AT_MOST:g} s", met=total <= AT_MOST)
            rows.append(Row(f"{kind.name}: from nothing to the first run", _shown(total), wanted=wanted))
    return rows


def _steps(
    user: User, kind: Kind, engine: Engine, address: str, docker: Mapping[str, str]
) -> Iterator[tuple[str, float]]:
    """Yield the steps in a project of this kind and how long they take."""
    root = f"{user.home}/{kind.name.split()[1]}"
    for path, text in kind.files.items():
        write(f"{root}/{path}", text.replace("@index@", address))
    write(f"{root}/pip.conf.template", packages.pip_conf(address))
    if kind.lock:
        # Where the package index is.
        run(Call([*inside(daemon(engine)), *kind.lock], root, user.env))
    yield "dockerutils init", user.seconds("dockerutils", "init", directory=root, **docker)
    yield "build-image all", user.seconds("build-image", "all", directory=root, **docker)
    yield "the first run", user.seconds(*kind.first, directory=root, **docker)
    yield "the second run", user.seconds(*kind.first, directory=root, **docker)
    with open(f"{root}/{kind.edited}", "a") as file:
        file.write("\n# edited\n")
    yield "build-image all after an edit", user.seconds("build-image", "all", directory=root, **docker)


def _checkout(directory: str) -> str:
    """Return a repository with this tree as it is; the installation is from git."""
    source = f"{directory}/dockerutils"
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-C", source]
    run(Call(["git", "clone", "--quiet", ROOT, source], directory, os.environ))
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = [name for name in run(Call(listing, ROOT, os.environ)).split("\0") if os.path.exists(f"{ROOT}/{name}")]
    with subprocess.Popen(["tar", "-C", ROOT, "-c", "--", *filter(None, names)], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "-C", source, "-x"], stdin=tar.stdout, check=True)
    run(Call([*git, "add", "--all"], directory, os.environ))
    run(Call([*git, "commit", "--quiet", "--allow-empty", "-m", "This tree"], directory, os.environ))
    return source


def _shown(seconds: float) -> str:
    return f"{seconds:.1f} s"
