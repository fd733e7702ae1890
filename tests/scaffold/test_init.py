"""The files that `dockerutils init` writes build and run unchanged: kinds of projects, on both builders."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.scaffold.conftest import OWNER, Build, download
from tests.support import script
from tests.testbed.engine import Engine
from tests.testbed.jupyter import Running
from tests.testbed.registry import daemon
from tests.testbed.relay import inside

# Everything that the builds install.
INSTALLED = "colorama django editables hatchling jupyterlab jupytext pytest setuptools versioneer wheel".split()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the wheels that the builds install: they cannot reach an index."""
    return download(tmp_path_factory.mktemp("wheels"), INSTALLED)


def _add_versioneer(root: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "config", "--global", "safe.directory", "*"], check=True)
    subprocess.run([*git, "init", "-q"], cwd=root, check=True)
    script("versioneer", "install", "--no-vendor", directory=root)
    for words in (["add", "."], ["commit", "-qm", "x"], ["tag", "v1.2.3"]):
        subprocess.run([*git, *words], cwd=root, check=True)


def test_setup_py_with_versioneer(engine: Engine, build: Build) -> None:
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

                def test_environment(self):
                    self.assertTrue(os.getuid() > 0)
                    self.assertFalse(os.path.exists(".git"))
            """,
    }
    project = build(engine, "Planner", files, _add_versioneer)
    assert "Ran 2 tests" in project.call("run-image", "cicd").err
    elsewhere = "import os; os.chdir('/'); from planner.plan import PLAN; print(PLAN)"
    for plan in ("first edit", "second edit"):
        (project.root / "planner/plan.py").write_text(f"PLAN = {plan!r}\n")
        command = ["sh", "-c", 'id -un >who; exec python -c "$0"', elsewhere]
        assert project.call("run-image", "dev", "--", *command).out == f"{plan}\n"
    assert (project.root / "who").read_text() == "app\n"
    assert project.owners() == {OWNER}
    assert not list(project.root.rglob("*.egg-info"))


def test_pyproject_toml_with_hatchling(containerd_engine: Engine, build: Build) -> None:
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
            def test_build_files_are_absent(path):
                assert not os.path.exists(path)
            """,
    }
    project = build(containerd_engine, "lists", files)
    dockerfile = (project.root / "docker/base/Dockerfile").read_text()
    assert "ARG BASE=python:3.11-slim\n" in dockerfile
    assert "--mount=type=cache,target=/root/.cache/pip" in dockerfile
    assert "4 passed" in project.call("run-image", "cicd").out
    assert ".cache" not in containerd_engine.docker("run", "--rm", "--user=0", "lists-cicd:alice", "ls", "-A", "/root")
    (project.root / "src/lists/__main__.py").write_text("print('edited')\n")
    # dev has the test requirements, too.
    ran = project.call("run-image", "dev", "--", "sh", "-c", "cd / && python -m lists && pytest --version").out
    assert re.fullmatch(r"edited\npytest [\d.]+\n", ran)
    assert project.owners() == {OWNER}


@pytest.mark.parametrize(
    ("name", "source", "setting"),
    [
        pytest.param(
            "flat_package",
            "flat_package/__init__.py",
            'under [tool.setuptools.packages.find], write: include = ["flat_package*"]',
            id="package",
        ),
        pytest.param(
            "one_module", "one_module.py", 'under [tool.setuptools], write: py-modules = ["one_module"]', id="module"
        ),
    ],
)
def test_setuptools_does_not_package_docker(
    containerd_engine: Engine, build: Build, name: str, source: str, setting: str
) -> None:
    """Setuptools discovers the package or module at the root by itself, and docker/ is new there."""
    files = {
        "pyproject.toml": f"""
            [project]
            name = "{name}"
            version = "1"
            [build-system]
            requires = ["setuptools"]
            build-backend = "setuptools.build_meta"
            """,
        source: "NUMBER = 1\n",
        "tests/test_install.py": f"""
            import importlib.util
            from pathlib import Path
            import {name}

            def test_installed():
                assert "site-packages" in {name}.__file__
                assert not Path({name}.__file__).with_name("docker").exists()
                assert importlib.util.find_spec("docker") is None
            """,
    }
    project = build(containerd_engine, name, files)
    assert "1 passed" in project.call("run-image", "cicd").out
    # dev installs the project as it is mounted, docker/ included.
    (project.root / source).write_text("NUMBER = 2\n")
    program = f"cd / && python -c 'import {name}; print({name}.NUMBER)'"
    edited = project.call("run-image", "dev", "--", "sh", "-c", program)
    assert (edited.out, "entrypoint:" in edited.err) == ("2\n", False)
    assert project.owners() == {OWNER}
    again = project.call("dockerutils", "init")
    assert setting in again.err
    # With the setting, a build on the host works, too.
    section, line = setting.removeprefix("under ").split(", write: ")
    with (project.root / "pyproject.toml").open("a") as stream:
        stream.write(f"{section}\n{line}\n")
    assert "setuptools" not in project.call("dockerutils", "init").err
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", "wheels", "."],
        cwd=project.root,
        check=True,
    )
    with zipfile.ZipFile(next((project.root / "wheels").glob("*.whl"))) as wheel:
        packaged = {each.split("/")[0] for each in wheel.namelist()}
    assert packaged == {source.split("/", maxsplit=1)[0], f"{name}-1.dist-info"}


def test_django(engine: Engine, build: Build) -> None:
    files = {
        "requirements.txt": "django\n",
        "manage.py": """
            import os
            import sys
            from django.core.management import execute_from_command_line

            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
            execute_from_command_line(sys.argv)
            """,
        "site_settings.py": "SECRET_KEY = 'x'\nINSTALLED_APPS = ['pages']\n",
        "pages/__init__.py": "",
        "pages/tests.py": """
            from django.test import SimpleTestCase

            class TestPages(SimpleTestCase):
                def test_pages(self):
                    self.assertTrue(True)
            """,
        "empty/__init__.py": "",
        "empty/tests.py": "from django.test import TestCase\n\n# Create your tests here.\n",
    }
    project = build(engine, "pages", files)
    assert "Ran 1 test" in project.call("run-image", "cicd").err


def test_requirements_and_scripts(engine: Engine, build: Build) -> None:
    files = {
        "requirements.txt": "colorama>=0.4\n",
        "requirements-dev.txt": "-r requirements.txt\npytest\n",
        "count.py": "import colorama\n\nCOUNT = 7\n",
        "show.py": "from count import COUNT\n\nprint(COUNT)\n",
        "test_count.py": "from count import COUNT\n\n\ndef test_count():\n    assert COUNT == 7\n",
    }

    def link_dev(root: Path) -> None:
        (root / "ops/dev").mkdir(parents=True)
        (root / "docker").mkdir()
        (root / "docker/dev").symlink_to("../ops/dev")

    project = build(engine, "counts", files, link_dev)
    assert (project.root / "ops/dev/entrypoint").exists()
    assert "--mount" not in "".join(path.read_text() for path in project.root.glob("docker/*/Dockerfile"))
    assert "1 passed" in project.call("run-image", "cicd").out
    (project.root / "count.py").write_text("COUNT = 8\n")
    assert project.call("run-image", "dev", "--", "sh", "-c", "python show.py | tee shown").out == "8\n"
    assert (project.root / "shown").stat().st_uid == OWNER


def test_notebooks(containerd_engine: Engine, build: Build) -> None:
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    files = {
        "requirements.txt": "colorama\n",
        "explore.ipynb": json.dumps(notebook),
        "jupytext.toml": 'formats = "ipynb,py:percent"\n',
    }
    project = build(containerd_engine, "maps", files)
    assert not (project.root / "docker/cicd").exists()
    assert project.python("dev", "import colorama; print(open('explore.ipynb').read())") == json.dumps(notebook) + "\n"
    with Running(["run-notebook"], project.root, daemon(containerd_engine), {}) as running:
        url = running.url()
        assert running.ask(url.partition("?")[0] + "api/status") == 403
        assert running.ask(url.replace("?", "api/contents/explore.ipynb?")) == 200
        served = [
            pid
            for pid, line in containerd_engine.processes().items()
            if re.match(r"\S*python\S* \S*jupyter-?lab", line)
        ]
        assert [Path(f"/proc/{pid}").stat().st_uid for pid in served] == [OWNER]
        make = "import sys, urllib.request as web; web.urlopen(web.Request(sys.argv[1], sys.argv[2].encode(), method=sys.argv[3]))"
        for method, path, model in (("PUT", "made", {"type": "directory"}), ("POST", "made", {"type": "notebook"})):
            there = url.replace("?", f"api/contents/{path}?")
            python = [sys.executable, "-c", make, there, json.dumps(model), method]
            subprocess.run([*inside(daemon(containerd_engine)), *python], check=True, timeout=60)
        status, _ = running.end(signal.SIGINT)
        assert status == 130, running.stderr
    assert project.owners() == {OWNER}
    assert (project.root / "made/Untitled.ipynb").exists()
    assert "format_name: percent" in (project.root / "made/Untitled.py").read_text()
    # The user is not root when nothing is mounted, either.
    program = "import colorama, getpass, os; os.mkdir('made'); print(getpass.getuser(), os.getuid() > 0)"
    assert project.python("notebook", program) == "jovyan True\n"


def test_script_without_tests(containerd_engine: Engine, build: Build) -> None:

    def link_docker(root: Path) -> None:
        (root / "ops").mkdir()
        (root / "docker").symlink_to("ops")

    project = build(containerd_engine, "hello", {"hello.py": "print('hello')\n"}, link_docker)
    # Nothing is tested, so CI must not pass.
    outcome = script("run-image", "cicd", directory=project.root)
    assert outcome.status == 1
    assert outcome.err.endswith("no tests were found; write some, then set CMD in docker/cicd/Dockerfile\n")
    assert project.call("run-image", "cicd", "--", "python", "hello.py").out == "hello\n"
    (project.root / "hello.py").write_text("print('good morning')\n")
    assert project.call("run-image", "dev", "--", "python", "hello.py").out == "good morning\n"
    assert re.fullmatch(
        r"\d+ app\n", project.call("run-image", "shell", "--", "sh", "-c", "echo $(id -u) $(id -un)").out
    )
