"""Deciding whether pip can install a project, and whether setuptools would package docker/."""

from __future__ import annotations

import pytest
import setuptools.discovery
from setuptools.dist import Distribution

from dockerutils.scaffold import metadata, packaging
from dockerutils.scaffold.packaging import Packaging
from tests.support import write_tree

PROJECT = "[project]\nname = 'a-b'\nversion = '1'\n"
BUILD = "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
POETRY_BUILD = "[build-system]\nrequires = ['poetry-core']\nbuild-backend = 'poetry.core.masonry.api'\n"
POETRY = f"{POETRY_BUILD}[tool.poetry]\nname = 'A.b--c'\n"
FIND = "in pyproject.toml, under [tool.setuptools.packages.find], write: "
NO_PACKAGE = Packaging(is_package=False, setting="")
PLAIN = Packaging(is_package=True, setting="")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"pyproject.toml": PROJECT, "a_b/x.py": ""},
            Packaging(is_package=True, setting=f'{FIND}include = ["a_b*"]'),
            id="a package",
        ),
        pytest.param(
            {"pyproject.toml": PROJECT + BUILD, "other/x.py": "", "tests/x.py": "", "scripts/x.py": "", ".x/y.py": ""},
            Packaging(is_package=True, setting=f'{FIND}include = ["other*"]'),
            id="a package of another name",
        ),
        pytest.param(
            {"pyproject.toml": PROJECT, "a_b.py": "", "setup.py": "", "noxfile.py": ""},
            Packaging(
                is_package=True, setting='in pyproject.toml, under [tool.setuptools], write: py-modules = ["a_b"]'
            ),
            id="a module",
        ),
        pytest.param({"pyproject.toml": PROJECT, "main.py": ""}, NO_PACKAGE, id="requirements of a script"),
        pytest.param({"pyproject.toml": PROJECT + BUILD, "x/a.py": "", "y/a.py": ""}, NO_PACKAGE, id="two packages"),
        pytest.param({"pyproject.toml": PROJECT + BUILD, "src/x/a.py": ""}, PLAIN, id="src layout"),
        pytest.param(
            {"pyproject.toml": PROJECT + "[build-system]\nbuild-backend = 'hatchling.build'\n", "a_b/x.py": ""},
            PLAIN,
            id="another backend",
        ),
        pytest.param({"pyproject.toml": POETRY, "src/main.py": "", "a-b/x.py": ""}, NO_PACKAGE, id="an app with poetry"),
        pytest.param({"pyproject.toml": f"{PROJECT}{POETRY_BUILD}"}, NO_PACKAGE, id="another one"),
        pytest.param({"pyproject.toml": POETRY, "a_b_c/x.py": ""}, PLAIN, id="a package with poetry"),
        pytest.param({"pyproject.toml": POETRY, "src/a_b_c.py": ""}, PLAIN, id="a module with poetry"),
        pytest.param(
            {"pyproject.toml": f"{POETRY}[[tool.poetry.packages]]\ninclude = 'app'\n", "app/x.py": ""},
            PLAIN,
            id="named packages with poetry",
        ),
        pytest.param(
            {"pyproject.toml": PROJECT + "[tool.setuptools]\npackages = ['a_b']\n", "a_b/x.py": "", "c/x.py": ""},
            PLAIN,
            id="named packages",
        ),
        pytest.param(
            {"pyproject.toml": PROJECT + "[tool.setuptools.packages.find]\n"},
            Packaging(is_package=True, setting=f'{FIND}exclude = ["docker*"]'),
            id="namespace packages",
        ),
        pytest.param(
            {"pyproject.toml": PROJECT + "[tool.setuptools.packages.find]\nexclude = ['tests*']\nwhere = ['.']\n"},
            Packaging(is_package=True, setting=f'{FIND}exclude = ["tests*", "docker*"]'),
            id="namespace packages with exceptions",
        ),
        *(
            pytest.param({"pyproject.toml": f"{PROJECT}[tool.setuptools.packages.find]\n{line}\n"}, PLAIN, id=line)
            for line in ("where = ['lib']", "include = ['a_b*']", "namespaces = false", "exclude = ['docker']")
        ),
        pytest.param(
            {"pyproject.toml": PROJECT + "[tool.setuptools]\npackages.find = {where = ['lib']}\n"}, PLAIN, id="in one line"
        ),
        pytest.param(
            {"setup.cfg": "[metadata]\nname = x\n[options]\n", "pyproject.toml": BUILD, "x/a.py": ""},
            Packaging(
                is_package=True,
                setting="in setup.cfg, under [options], write: packages = find_namespace: and, under "
                "[options.packages.find]: include = x*",
            ),
            id="a package of setup.cfg",
        ),
        pytest.param(
            {"setup.cfg": "[metadata]\nname = x\n", "pyproject.toml": BUILD, "x.py": ""},
            Packaging(is_package=True, setting="in setup.cfg, under [options], write: py_modules = x"),
            id="a module of setup.cfg",
        ),
        pytest.param({"setup.cfg": "[metadata]\nname = x\n", "x.py": ""}, NO_PACKAGE, id="setup.cfg only"),
        pytest.param(
            {"setup.cfg": "[options]\npackages = find_namespace:\n", "setup.py": "setup()"},
            Packaging(
                is_package=True, setting="in setup.cfg, under [options.packages.find], write: exclude = docker*"
            ),
            id="namespace packages of setup.cfg",
        ),
        pytest.param(
            {
                "setup.cfg": "[options]\npackages = find_namespace:\n[options.packages.find]\nwhere = lib\n",
                "setup.py": "setup()",
            },
            PLAIN,
            id="namespace packages elsewhere",
        ),
        pytest.param({"setup.py": "setup(packages=find_packages())", "x/a.py": "", "y/a.py": ""}, PLAIN, id="find_packages"),
        pytest.param(
            {"setup.py": "setup(packages=find_namespace_packages())"},
            Packaging(
                is_package=True, setting='in setup.py, write: find_namespace_packages(exclude=["docker*"])'
            ),
            id="find_namespace_packages",
        ),
        pytest.param(
            {"setup.py": "setup(name='x')", "x/a.py": ""},
            Packaging(
                is_package=True,
                setting='in setup.py, pass to setup(): packages=find_namespace_packages(include=["x*"])',
            ),
            id="a package of setup.py",
        ),
        pytest.param(
            {"setup.py": "setup(name='x')", "x.py": ""},
            Packaging(is_package=True, setting='in setup.py, pass to setup(): py_modules=["x"]'),
            id="a module of setup.py",
        ),
        pytest.param(
            {"setup.py": "setup(name='x')"},
            Packaging(is_package=True, setting="in setup.py, pass to setup(): packages=[]"),
            id="nothing",
        ),
        pytest.param({"pyproject.toml": PROJECT, "a_b/x.py": "", "docker/__init__.py": ""}, PLAIN, id="its own docker"),
    ],
)  # fmt: skip
def test_packaging(tmp_path, files, expected) -> None:
    write_tree(tmp_path, files)
    assert packaging.examine(str(tmp_path), metadata.read(str(tmp_path))) == expected


@pytest.mark.parametrize(
    "name", ["x", "tests", "test", "docs", "scripts", "_x", "x-y", "conftest", "manage", "build", "tasks"]
)
@pytest.mark.parametrize("suffix", ["", ".py"])
def test_discovery_agrees_with_setuptools(tmp_path, monkeypatch, name, suffix) -> None:
    (tmp_path / f"{name}.py").touch() if suffix else (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    distribution = Distribution({"name": "x"})
    setuptools.discovery.ConfigDiscovery(distribution)()
    found = [*(distribution.packages or []), *(distribution.py_modules or [])]
    (tmp_path / "setup.py").write_text("setup()")
    setting = packaging.examine(str(tmp_path), metadata.read(str(tmp_path))).setting
    assert [each for each in [name] if f'"{each}' in setting] == found
