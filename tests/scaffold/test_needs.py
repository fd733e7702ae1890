"""docker/base/needs, the program that lists a package's requirements in a build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dockerutils.scaffold import rendering
from tests.support import write_tree


def needs(root: Path, *extras: str) -> list[str]:
    """Run docker/base/needs as a build does, and return its lines."""
    (root / "needs").write_text(rendering.needs())
    child = subprocess.run([sys.executable, "needs", *extras], cwd=root, capture_output=True, text=True, check=True)
    assert child.stderr == ""
    return child.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, ["setuptools", "wheel"], id="nothing"),
        pytest.param(
            {
                "pyproject.toml": """
                    [build-system]
                    requires = ["hatchling>=1"]
                    [project]
                    dependencies = ["a>=1; python_version < '4'", "b"]
                    """
            },
            ["hatchling>=1", "editables", "a>=1; python_version < '4'", "b"],
            id="pyproject.toml",
        ),
        pytest.param(
            {"pyproject.toml": "[build-system]\nrequires = ['setuptools>=61']\n"},
            ["setuptools>=61", "wheel"],
            id="setuptools",
        ),
        pytest.param(
            {
                "setup.py": "import setuptools, versioneer\nN = ['a']\nsetuptools.setup(install_requires=N, version=v())\n",
                "setup.cfg": "[options]\nsetup_requires = c\ninstall_requires =\n  # why\n  b>1; x\n\n  a\n[x]\ny = %z\n",
            },
            ["setuptools", "wheel", "versioneer", "c", "b>1; x", "a"],
            id="setup.py and setup.cfg",
        ),
        pytest.param(
            {
                "setup.py": "import versioneer\nfrom setuptools import setup\nsetup(install_requires=open('r').read(), **x)\n",
                "setup.cfg": "[options]\ninstall_requires = file: requirements.txt\n",
                "versioneer.py": "",
            },
            ["setuptools", "wheel"],
            id="what is computed",
        ),
        pytest.param(
            {
                "pyproject.toml": """
                    [build-system]
                    requires = ["poetry-core"]
                    [tool.poetry.dependencies]
                    python = "^3.9"
                    a = "^1.2"
                    b = "*"
                    c = {version = "~2.0", extras = ["x"]}
                    d = {git = "https://x/y"}
                    e = "1.5"
                    f = "~=3.1"
                    g = {version = ">1", optional = true}
                    """
            },
            ["poetry-core", "a>=1.2", "b", "c>=2.0", "e==1.5", "f~=3.1"],
            id="poetry",
        ),
    ],
)
def test_build_and_run_requirements(tmp_path, files, expected) -> None:
    assert needs(write_tree(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, [""], id="nothing"),
        pytest.param(
            {
                "pyproject.toml": """
                    [project]
                    name = "My.App"
                    optional-dependencies = {test = ["pytest", "my_app[more, dev]"], more = ["m"], dev = ["my-app[test]"]}
                    [dependency-groups]
                    dev = ["ruff", {include-group = "lint"}, "pytest"]
                    lint = ["mypy"]
                    [tool.poetry.group.dev.dependencies]
                    black = "*"
                    """
            },
            ["pytest", "m", "ruff", "mypy", "black"],
            id="pyproject.toml",
        ),
        pytest.param(
            {
                "setup.py": "setup(extras_require={'test': ['c'], 'doc': ['sphinx']})\n",
                "setup.cfg": "[options.extras_require]\ntest =\n  a\n  b[x]\n",
            },
            ["a", "b[x]", "c"],
            id="setup.py and setup.cfg",
        ),
        pytest.param(
            {
                "pyproject.toml": """
                    [project]
                    name = "app"
                    optional-dependencies.dev = ["dotted"]
                    [tool.pdm.dev-dependencies]
                    test = ["by-pdm", "-e file:///${PROJECT_ROOT}/x"]
                    [tool.uv]
                    dev-dependencies = ["by-uv"]
                    [tool.hatch.envs.default]
                    dependencies = ["by-hatch"]
                    features = ["feature"]
                    """,
                "hatch.toml": "[envs.hatch-test]\nextra-dependencies = ['in-hatch-toml']\n",
            },
            ["by-pdm", "in-hatch-toml", "dotted", "by-uv", "by-hatch"],
            id="pdm, uv and hatch",
        ),
        pytest.param(
            {
                "pyproject.toml": """
                    [tool.poetry.dependencies]
                    optional = {version = "1", optional = true}
                    other = {version = "1", optional = true}
                    [tool.poetry.extras]
                    test = ["optional"]
                    [tool.poetry.dev-dependencies]
                    old-style = "^2"
                    """
            },
            ["optional==1", "old-style>=2"],
            id="poetry",
        ),
    ],
)
def test_requirements_of_groups(tmp_path, files, expected) -> None:
    assert needs(write_tree(tmp_path, files), "test", "tests", "dev") == expected


def test_build_requirements_of_several_projects(tmp_path) -> None:
    files = {
        "pyproject.toml": "[build-system]\nrequires = ['hatchling']\n[project]\ndependencies = ['not']\n",
        "libs/a/setup.py": "",
        "libs/b/pyproject.toml": "[build-system]\nrequires = ['uv_build', 'hatchling']\n",
    }
    assert needs(write_tree(tmp_path, files), "--build", ".", "libs/a", "libs/b") == [
        "hatchling",
        "editables",
        "setuptools",
        "wheel",
        "uv_build",
    ]
