"""Projects with lock files: their images have what the lock file lists, and credentials for it stay out of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scaffold.conftest import OWNER, Build, download
from tests.support import script
from tests.testbed import jupyter
from tests.testbed.engine import Engine
from tests.testbed.packages import HATCHLING, LOGIN
from tests.testbed.registry import daemon
from tests.testbed.relay import inside

# The tools, and everything that the builds install.
TOOLS = ["pdm[locked]", "poetry", "uv"]
INSTALLED = (
    "colorama editables exceptiongroup hatchling iniconfig packaging pdm-backend poetry-core pytest tomli".split()
)

PYTHON_FILES = {
    "src/worded/__init__.py": "import colorama\n\nWORDS = 1\n",
    "tests/test_worded.py": """
        import importlib.metadata
        import importlib.util
        import unittest
        import worded

        class TestWorded(unittest.TestCase):
            def test_installed(self):
                self.assertEqual(importlib.metadata.version("worded"), "2.1")
                self.assertIn("site-packages", worded.__file__)

            def test_only_what_the_lock_file_lists(self):
                names = ["editables", "hatchling", "pdm", "poetry", "uv"]
                self.assertEqual([name for name in names if importlib.util.find_spec(name)], [])
        """,
}
PROJECT = """\
[project]
name = "worded"
version = "2.1"
requires-python = ">=3.10"
dependencies = ["colorama"]
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the wheels of the tools, and of what the builds install."""
    return download(tmp_path_factory.mktemp("wheels"), [*TOOLS, *INSTALLED])


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the commands uv, poetry and pdm."""
    there = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", there], check=True)
    pip = [sys.executable, "-m", "pip", "--python", f"{there}/bin/python"]
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-compile", *TOOLS],
        env={**os.environ, **jupyter.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return there / "bin"


def locked(engine: Engine, tools: Path, *command: str, **environ: str) -> Callable[[Path], None]:
    """Return a function that makes a project's lock file, where the package index is."""

    def lock(root: Path) -> None:
        argv = [*inside(daemon(engine)), str(tools / command[0]), *command[1:]]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root.parent),
            "VIRTUAL_ENV": str(tools.parent),
            **environ,
        }
        done = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr + done.stdout

    return lock


def test_uv_with_a_private_index(modern_engine: Engine, build: Build, tools: Path, monkeypatch) -> None:
    files = {
        **PYTHON_FILES,
        "pyproject.toml": PROJECT
        + HATCHLING
        + """
            [dependency-groups]
            dev = [{include-group = "checks"}]
            checks = ["pytest"]
            [[tool.uv.index]]
            name = "house"
            url = "http://@index@/private/simple"
            default = true
            """.replace("            ", ""),
    }
    login = {"UV_INDEX_HOUSE_USERNAME": LOGIN[0], "UV_INDEX_HOUSE_PASSWORD": LOGIN[1]}
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    lock = locked(modern_engine, tools, "uv", "lock", "--no-python-downloads", **login)
    project = build(modern_engine, "worded", files, lock)
    assert "2 passed" in project.call("run-image", "cicd").out
    assert project.python("base", "import importlib.util as u; print(u.find_spec('pytest'))") == "None\n"
    # dev has the tools of the lock file, and edits count.
    (project.root / "src/worded/__init__.py").write_text("WORDS = 2\n")
    command = "cd / && python -c 'import worded; print(worded.WORDS)' && pytest --version"
    ran = project.call("run-image", "dev", "--", "sh", "-c", command)
    assert re.fullmatch(r"2\npytest [\d.]+\n", ran.out)
    assert "entrypoint:" not in ran.err
    empty = project.call("run-image", "dev", "--tmpfs", "/code", "true")
    [said] = [line for line in empty.err.splitlines() if line.startswith(("entrypoint:", "ERROR"))]
    assert said.startswith("entrypoint: /code is empty; mount the project there with volumes ")
    assert project.owners() == {OWNER}
    # The credentials are in no image, neither in its history. The store of this engine keeps layers as they are.
    names = [f"worded-{image}:alice" for image in ("base", "base-builder", "cicd", "cicd-builder", "dev")]
    assert LOGIN[1] not in "".join(modern_engine.docker("history", "--no-trunc", name) for name in names)
    with subprocess.Popen(["docker", "save", *names], stdout=subprocess.PIPE) as save:
        found = subprocess.run(
            ["grep", "-ac", LOGIN[1]], stdin=save.stdout, capture_output=True, text=True, check=False
        )
    assert (save.returncode, found.stdout) == (0, "0\n")
    # A lock file that does not match the project is an error.
    manifest = project.root / "pyproject.toml"
    manifest.write_text(manifest.read_text().replace('["colorama"]', '["colorama", "iniconfig"]'))
    stale = script("build-image", "base", directory=project.root)
    assert stale.status == 1
    assert "needs to be updated" in stale.err


def test_poetry(containerd_engine: Engine, build: Build, tools: Path) -> None:
    files = {
        **PYTHON_FILES,
        "README.md": "",
        "pyproject.toml": """
            [tool.poetry]
            name = "worded"
            version = "2.1"
            description = ""
            authors = []
            packages = [{ include = "worded", from = "src" }]
            [tool.poetry.dependencies]
            python = "^3.10"
            colorama = "*"
            [tool.poetry.group.docs.dependencies]
            packaging = "*"
            [[tool.poetry.source]]
            name = "house"
            url = "http://@index@/simple"
            priority = "primary"
            [build-system]
            requires = ["poetry-core"]
            build-backend = "poetry.core.masonry.api"
            """,
    }
    project = build(containerd_engine, "worded", files, locked(containerd_engine, tools, "poetry", "lock", "-n"))
    assert "Ran 2 tests" in project.call("run-image", "cicd").err
    program = "import colorama, importlib.util as u, worded; print(worded.WORDS, u.find_spec('packaging'))"
    assert project.python("dev", program) == "1 None\n"
    assert project.owners() == {OWNER}


def test_pdm_without_buildkit(engine: Engine, build: Build, tools: Path) -> None:
    files = {
        **PYTHON_FILES,
        "pyproject.toml": PROJECT
        + """
            [dependency-groups]
            docs = ["packaging"]
            [build-system]
            requires = ["pdm-backend"]
            build-backend = "pdm.backend"
            [tool.pdm]
            distribution = true
            [[tool.pdm.source]]
            name = "pypi"
            url = "http://@index@/simple"
            verify_ssl = false
            """.replace("            ", ""),
    }
    project = build(engine, "worded", files, locked(engine, tools, "pdm", "lock"))
    assert "--mount" not in "".join(path.read_text() for path in project.root.glob("docker/*/Dockerfile"))
    assert "Ran 2 tests" in project.call("run-image", "cicd").err
    program = "import colorama, importlib.util as u, worded; print(worded.WORDS, u.find_spec('packaging'))"
    assert project.python("dev", program) == "1 None\n"
    assert project.owners() == {OWNER}
