"""What `dockerutils init` writes builds and runs at once: five kinds of project, on both builders."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import Outcome, first_line, script, write_tree
from tests.testbed import images, jupyter
from tests.testbed.engine import Engine
from tests.testbed.jupyter import Running
from tests.testbed.registry import daemon
from tests.testbed.relay import inside

SOMEONE = 4321
# What the builds ask the index for.
WANTED = ["colorama", "editables", "hatchling", "jupyterlab", "pytest", "setuptools", "versioneer", "wheel"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of what the builds install, downloaded here: there is no index where they are made."""
    there = tmp_path_factory.mktemp("wheels")
    # For the Python of images.PYTHON.
    target = ["--only-binary=:all:", "--python-version", "3.11"]
    for abi in ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010", "manylinux1"):
        target += ["--platform", f"{abi}_{platform.machine()}"]
    # typing-extensions, because pip looks at the Python it runs on for what older ones need.
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-qq", *target, "--dest", there, *WANTED, "typing-extensions"],
        env={**os.environ, **jupyter.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return there


@contextlib.contextmanager
def index(engine: Engine, wheels: Path) -> Iterator[str]:
    """Serve the wheels where the builds of an engine are, and give what pip.conf says of it."""
    network = inside(daemon(engine))
    shown = subprocess.check_output([*network, "ip", "-j", "-4", "address", "show", "docker0"], text=True)
    gateway = json.loads(shown)[0]["addr_info"][0]["local"]
    serve = [sys.executable, "-u", "-m", "http.server", "--directory", str(wheels), "--bind", "0.0.0.0", "0"]
    child = subprocess.Popen([*network, *serve], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = first_line(child).split(" port ")[1].split()[0]
        # Compiling what is installed is left to who imports it: it takes longer than the rest of a build.
        yield (
            f"[global]\nno-index = true\nfind-links = http://{gateway}:{port}/\ntrusted-host = {gateway}\n"
            "[install]\nno-compile = true\n"
        )
    finally:
        child.kill()
        child.communicate()


class Started:
    """A project that init was called in, built, and given to somebody who is not root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self) -> None:
        """Call init, and build all of it as it stands."""
        begun = self.call("dockerutils", "init")
        assert begun.err == "dockerutils: next: build-image all, then run-image dev\n"
        assert {line.split()[0] for line in begun.out.splitlines()} == {"wrote"}
        assert self.call("dockerutils", "check").out.endswith(" images, nothing found\n")
        assert ":latest" not in "".join(path.read_text() for path in self.root.glob("docker/*/*"))
        self.call("build-image", "all")
        assert not (self.root / "pip.conf").exists()
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, SOMEONE, SOMEONE, follow_symlinks=False)

    def call(self, *argv: str) -> Outcome:
        """Run a command in the project."""
        outcome = script(*argv, directory=self.root)
        assert outcome.status == 0, outcome.err + outcome.out
        return outcome

    def inside(self, image: str, program: str) -> str:
        """Return what a line of Python prints in an image."""
        return self.call("run-image", image, "--", "python", "-c", program).out

    def belongs_to_somebody(self) -> None:
        """See that nothing is there that is another one's."""
        assert {path.lstat().st_uid for path in self.root.rglob("*")} == {SOMEONE}


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that makes a project of files, and starts it on an engine; a path with a blank is no hindrance."""
    monkeypatch.setenv("BASE", images.PYTHON)
    with contextlib.ExitStack() as stack:

        def make(
            engine: Engine, name: str, files: dict[str, str], prepare: Callable[[Path], None] | None = None
        ) -> Started:
            images.add_python(engine)
            conf = stack.enter_context(index(engine, wheels))
            root = write_tree(tmp_path / "a blank" / name, {**files, "pip.conf.template": conf})
            if prepare:
                prepare(root)
            project = Started(root)
            project.start()
            return project

        yield make


def _versioned(root: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "config", "--global", "safe.directory", "*"], check=True)
    subprocess.run([*git, "init", "-q"], cwd=root, check=True)
    script("versioneer", "install", "--no-vendor", directory=root)
    for words in (["add", "."], ["commit", "-qm", "x"], ["tag", "v1.2.3"]):
        subprocess.run([*git, *words], cwd=root, check=True)


def test_a_setup_py_with_versioneer(engine: Engine, start: Start) -> None:
    files = {
        ".gitignore": "_version.py.bld\ndocker\n.dockerignore\n",
        "setup.py": """
            import versioneer
            from setuptools import setup

            REQUIRED = ["colorama"]
            setup(
                name="planner", version=versioneer.get_version(), cmdclass=versioneer.get_cmdclass(),
                packages=["planner"], install_requires=REQUIRED, python_requires=">=3.8",
            )
            """,
        "setup.cfg": """
            [versioneer]
            VCS = git
            style = pep440
            versionfile_source = planner/_version.py
            versionfile_build = planner/_version.py
            tag_prefix = v
            """,
        "planner/__init__.py": "",
        "planner/plan.py": "import colorama\n\nPLAN = 'a'\n",
        "tests/__init__.py": "",
        "tests/test_plan.py": """
            import os
            import unittest
            import planner
            from importlib.metadata import version

            class TestPlan(unittest.TestCase):
                def test_version(self):
                    self.assertEqual((version("planner"), planner.__version__), ("1.2.3", "1.2.3"))

                def test_where_it_runs(self):
                    self.assertTrue(os.getuid() > 0)
                    self.assertFalse(os.path.exists(".git"))
            """,
    }
    project = start(engine, "Planner", files, _versioned)
    assert "Ran 2 tests" in project.call("run-image", "cicd").err
    elsewhere = "import os; os.chdir('/'); from planner.plan import PLAN; print(PLAN)"
    for plan in ("written outside", "and written again"):
        (project.root / "planner/plan.py").write_text(f"PLAN = {plan!r}\n")
        command = ["sh", "-c", 'id -un >who; exec python -c "$0"', elsewhere]
        assert project.call("run-image", "dev", "--", *command).out == f"{plan}\n"
    assert (project.root / "who").read_text() == "app\n"
    project.belongs_to_somebody()
    assert not list(project.root.rglob("*.egg-info"))


def test_a_pyproject_toml(modern_engine: Engine, start: Start) -> None:
    files = {
        "pyproject.toml": """
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"
            [project]
            name = "lists"
            version = "4.5"
            requires-python = ">=3.9,<3.12"
            dependencies = ["colorama"]
            [project.optional-dependencies]
            test = ["pytest"]
            """,
        "src/lists/__init__.py": "import colorama\n",
        "src/lists/__main__.py": "print('lists')\n",
        "tests/test_lists.py": """
            import os
            import pytest
            import lists
            from importlib.metadata import version

            def test_version():
                assert version("lists") == "4.5"
                assert "site-packages" in lists.__file__

            @pytest.mark.parametrize("path", ["/build", "pip.conf", ".git"])
            def test_what_only_the_build_needs(path):
                assert not os.path.exists(path)
            """,
    }
    project = start(modern_engine, "lists", files)
    dockerfile = (project.root / "docker/base/Dockerfile").read_text()
    assert "ARG BASE=python:3.11-slim\n" in dockerfile
    assert "--mount=type=cache,target=/root/.cache/pip" in dockerfile
    assert "4 passed" in project.call("run-image", "cicd").out
    assert ".cache" not in modern_engine.docker("run", "--rm", "--user=0", "lists-cicd:alice", "ls", "-A", "/root")
    (project.root / "src/lists/__main__.py").write_text("print('edited')\n")
    # What the tests need is in dev too.
    ran = project.call("run-image", "dev", "--", "sh", "-c", "cd / && python -m lists && pytest --version").out
    assert re.fullmatch(r"edited\npytest [\d.]+\n", ran)
    project.belongs_to_somebody()


def test_requirements_and_scripts(engine: Engine, start: Start) -> None:
    files = {
        "requirements.txt": "colorama>=0.4\n",
        "requirements-dev.txt": "-r requirements.txt\npytest\n",
        "count.py": "import colorama\n\nCOUNT = 7\n",
        "show.py": "from count import COUNT\n\nprint(COUNT)\n",
        "test_count.py": "from count import COUNT\n\n\ndef test_count():\n    assert COUNT == 7\n",
    }

    def elsewhere(root: Path) -> None:
        (root / "ops/dev").mkdir(parents=True)
        (root / "docker").mkdir()
        (root / "docker/dev").symlink_to("../ops/dev")

    project = start(engine, "counts", files, elsewhere)
    assert (project.root / "ops/dev/entrypoint").exists()
    assert "--mount" not in "".join(path.read_text() for path in project.root.glob("docker/*/Dockerfile"))
    assert "1 passed" in project.call("run-image", "cicd").out
    (project.root / "count.py").write_text("COUNT = 8\n")
    assert project.call("run-image", "dev", "--", "sh", "-c", "python show.py | tee shown").out == "8\n"
    assert (project.root / "shown").stat().st_uid == SOMEONE


def test_notebooks(modern_engine: Engine, start: Start) -> None:
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    files = {"requirements.txt": "colorama\n", "explore.ipynb": json.dumps(notebook)}
    project = start(modern_engine, "maps", files)
    assert not (project.root / "docker/cicd").exists()
    assert project.inside("dev", "import colorama; print(open('explore.ipynb').read())") == json.dumps(notebook) + "\n"
    with Running(["run-notebook"], project.root, daemon(modern_engine), {}) as running:
        url = running.url()
        assert running.ask(url.partition("?")[0] + "api/status") == 403
        assert running.ask(url.replace("?", "api/contents/explore.ipynb?")) == 200
        served = [
            pid for pid, line in modern_engine.processes().items() if re.match(r"\S*python\S* \S*jupyter-?lab", line)
        ]
        assert [Path(f"/proc/{pid}").stat().st_uid for pid in served] == [SOMEONE]
        make = "import sys, urllib.request as web; web.urlopen(web.Request(sys.argv[1], sys.argv[2].encode(), method=sys.argv[3]))"
        for method, path, model in (("PUT", "made", {"type": "directory"}), ("POST", "made", {"type": "notebook"})):
            there = url.replace("?", f"api/contents/{path}?")
            python = [sys.executable, "-c", make, there, json.dumps(model), method]
            subprocess.run([*inside(daemon(modern_engine)), *python], check=True, timeout=60)
        status, _ = running.end(signal.SIGINT)
        assert status == 130, running.said
    project.belongs_to_somebody()
    assert (project.root / "made/Untitled.ipynb").exists()
    # Also where nothing is mounted, it is not root that works there.
    program = "import colorama, getpass, os; os.mkdir('made'); print(getpass.getuser(), os.getuid() > 0)"
    assert project.inside("notebook", program) == "jovyan True\n"


def test_one_script(modern_engine: Engine, start: Start) -> None:

    def elsewhere(root: Path) -> None:
        (root / "ops").mkdir()
        (root / "docker").symlink_to("ops")

    project = start(modern_engine, "hello", {"hello.py": "print('hello')\n"}, elsewhere)
    assert project.call("run-image", "cicd").out == "hello\n"
    (project.root / "hello.py").write_text("print('good morning')\n")
    assert project.call("run-image", "dev", "--", "python", "hello.py").out == "good morning\n"
    assert re.fullmatch(
        r"\d+ app\n", project.call("run-image", "shell", "--", "sh", "-c", "echo $(id -u) $(id -un)").out
    )
