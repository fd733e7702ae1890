"""What kind of project it is, and what the program that is written beside the Dockerfiles finds in its metadata."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dockerutils.scaffold import detect, rendering
from dockerutils.scaffold.detect import Facts, Python
from tests.support import write_tree

ANY = "the project does not say which it wants (requires-python), so choose another one freely"


def detected(tmp_path: Path, files: dict[str, str]) -> Facts:
    facts = detect.detect(str(write_tree(tmp_path / "My App", files)))
    assert facts
    return facts


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"setup.py": "from setuptools import setup\nsetup(name='app')\n", "app/__init__.py": ""},
            {"is_package": True, "names_needs": True, "metadata": ["setup.py"], "tests": None, "version_file": None},
            id="setup.py",
        ),
        pytest.param(
            {
                "setup.py": "import versioneer, setuptools\nsetuptools.setup(cmdclass=versioneer.get_cmdclass())\n",
                "setup.cfg": "[versioneer]\nversionfile_source = app/_version.py\n[options.extras_require]\ntest = x\n",
            },
            {"version_file": "app/_version.py", "metadata": ["setup.cfg", "setup.py"], "has_extras": True},
            id="versioneer",
        ),
        pytest.param(
            {"pyproject.toml": '[build-system]\nrequires = ["x"]\n[tool.versioneer]\nversionfile_source = "a/_v.py"\n'},
            {"is_package": True, "version_file": "a/_v.py", "has_code": False},
            id="pyproject.toml with versioneer",
        ),
        pytest.param(
            {"pyproject.toml": "[project]\nname = 'a-b'\n[dependency-groups]\ndev = []\n", "main.py": ""},
            {"is_package": False, "names_needs": True, "has_extras": True, "script": "main.py"},
            id="requirements of scripts",
        ),
        pytest.param(
            {"pyproject.toml": "[project]\nname = 'a-b'\n", "a_b/__init__.py": ""},
            {"is_package": True},
            id="flat layout",
        ),
        pytest.param({"pyproject.toml": "[project]\n", "src/a.py": ""}, {"is_package": True}, id="src layout"),
        pytest.param({"pyproject.toml": "[tool.poetry]\n"}, {"is_package": True}, id="poetry"),
        pytest.param(
            {"pyproject.toml": "[tool.black]\n", "a.py": "", "b.py": ""},
            {"is_package": False, "names_needs": False, "script": None},
            id="settings of tools",
        ),
        pytest.param(
            {"requirements.txt": "flask\n", "app.py": "", "other.py": ""},
            {"requirements": (["requirements.txt"], ["requirements.txt"], []), "script": "app.py", "has_code": True},
            id="requirements.txt",
        ),
        pytest.param(
            {
                "requirements/base.txt": "flask\n",
                "requirements/dev.txt": "-r base.txt\n-c ../limits.txt\n-r ../../out.txt\n-r https://x/y.txt\n-e .\n",
                "limits.txt": "",
                "out.txt": "",
            },
            {
                "requirements": (["requirements/base.txt"], ["requirements/base.txt"], []),
                "test_requirements": (
                    ["requirements/dev.txt"],
                    ["requirements/dev.txt", "requirements/base.txt", "limits.txt"],
                    ["requirements/dev.txt"],
                ),
            },
            id="requirements that include others",
        ),
        pytest.param(
            {"dev-requirements.txt": "-r gone.txt\n-r a b.txt\n", "requirements_test.txt": "--editable=.[x]\n"},
            {
                "requirements": ([], [], []),
                "test_requirements": (
                    ["dev-requirements.txt", "requirements_test.txt"],
                    ["dev-requirements.txt", "requirements_test.txt"],
                    ["requirements_test.txt"],
                ),
            },
            id="for tests alone",
        ),
        pytest.param({"deep/er/a.ipynb": "{}"}, {"has_notebooks": True, "has_code": False}, id="notebooks"),
        pytest.param(
            {"a.py": "", "tests/test_a.py": "import unittest\n", "tests/__init__.py": ""},
            {"tests": "tests", "runner": "unittest", "tests_are_package": True},
            id="unittest",
        ),
        pytest.param(
            {"test/a_test.py": "import unittest, pytest\n"},
            {"tests": "test", "runner": "pytest", "tests_are_package": False},
            id="pytest",
        ),
        pytest.param(
            {"test_a.py": "import unittest\n", "setup.cfg": "[tool:pytest]\n"},
            {"tests": ".", "runner": "pytest", "script": None},
            id="pytest by its settings",
        ),
        pytest.param({"a.py": "", "tests/data.py": ""}, {"tests": None}, id="a directory of tests without one"),
        pytest.param({"a.py": "", "app/deep/test_a.py": ""}, {"tests": None}, id="tests elsewhere"),
        pytest.param(
            {"a.py": "", "box/pyvenv.cfg": "", "box/lib/b.ipynb": "", "a b/pyvenv.cfg": "", "venv/test_x.py": ""},
            {"environments": ["box"], "has_notebooks": False, "tests": None},
            id="virtual environments",
        ),
        pytest.param(
            {"pyproject.toml": '[build-system]\nrequires = ["setuptools_scm"]\n'},
            {"wants_scm": True},
            id="setuptools-scm",
        ),
    ],
)
def test_what_is_detected(tmp_path, files, expected) -> None:
    facts = detected(tmp_path, files)
    assert {name: getattr(facts, name) for name in expected} == expected
    assert facts.name == "my-app"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"README.md": "", "Makefile": "", "setup.cfg": "[flake8]\n"},
        {"docker/dev/x.py": "", ".hidden/a.py": "", "node_modules/a.py": ""},
        {"1/2/3/4/5/6/deep.py": ""},
    ],
    ids=["empty", "another", "not its own", "too deep"],
)
def test_what_is_no_python_project(tmp_path, files) -> None:
    assert detect.detect(str(write_tree(tmp_path, files))) is None


def test_files_that_cannot_be_read(tmp_path) -> None:
    write_tree(tmp_path, {"a.py": "", "pyproject.toml/x": "", "requirements/x": ""})
    facts = detect.detect(str(tmp_path))
    assert facts
    assert (facts.metadata, facts.is_package) == (["pyproject.toml"], False)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, ("3.12", ANY)),
        ({"pyproject.toml": 'requires-python = ">=3.9"'}, ("3.12", "requires-python is >=3.9, in pyproject.toml")),
        (
            {"pyproject.toml": "requires-python = '>=3.9,<3.12'"},
            ("3.11", "requires-python is >=3.9,<3.12, in pyproject.toml, and this is the newest of these"),
        ),
        (
            {"setup.cfg": "[options]\npython_requires = ~=3.8.1\n"},
            ("3.8", "python_requires is ~=3.8.1, in setup.cfg, and this is the newest of these"),
        ),
        ({"setup.py": 'setup(python_requires=">=2.7, !=3.0.*")'}, ("3.12", "python_requires is >=2.7, !=3.0.*, in setup.py")),
        ({"setup.py": 'setup(python_requires="<3")'}, ("3.12", "python_requires is <3, in setup.py, which no Python of these days is")),
        ({".python-version": "3.10.4\n", "setup.py": 'python_requires=">=3.11"'}, ("3.10", "the file says 3.10, in .python-version")),
        ({".python-version": "2.7\n"}, ("3.12", ANY)),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.9"'}, ("3.12", "python is ^3.9, in pyproject.toml")),
    ],
)  # fmt: skip
def test_the_python(texts, expected) -> None:
    assert detect.python(texts) == Python(*expected)


@pytest.mark.parametrize(
    ("specification", "version"),
    [
        ("==3.9.*", "3.9"),
        ("==3.9.7", "3.9"),
        ("3.10", "3.10"),
        ("==3.*", "3.12"),
        ("3", "3.12"),
        ("~3.9", "3.9"),
        ("~=3.9", "3.12"),
        ("^3.13", "3.14"),
        (">3.12,<4", "3.12"),
        (">=3.13", "3.14"),
        ("<=3.9", "3.9"),
        ("<3.9.2", "3.9"),
        ("<3.9.0", "3.8"),
        ("!=3.12.*,<3.13", "3.11"),
        ("!=3.12.1", "3.12"),
        (">=2.7,<=4", "3.12"),
        ("anything", "3.12"),
    ],
)
def test_specifiers(specification, version) -> None:
    assert detect.python({"setup.cfg": f"python_requires = {specification}\n"}).version == version


def needs(root: Path, *extras: str) -> list[str]:
    """Run the program that is written beside the Dockerfile of base, as a build does."""
    (root / "needs").write_text(rendering.needs())
    said = subprocess.run([sys.executable, "needs", *extras], cwd=root, capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return said.stdout.split("\n")[:-1]


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
def test_what_a_package_needs(tmp_path, files, expected) -> None:
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
    ],
)
def test_what_its_tests_need(tmp_path, files, expected) -> None:
    assert needs(write_tree(tmp_path, files), "test", "tests", "dev") == expected
