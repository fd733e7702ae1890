"""Finding a project's tests where pytest, unittest and Django look for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockerutils.scaffold import metadata, testing
from dockerutils.scaffold.testing import DJANGO, PYTEST, UNITTEST
from tests.support import write_tree

FUNCTION = "def test_it():\n    pass\n"
CASE = "import unittest\n\nclass TestIt(unittest.TestCase):\n    def test_it(self):\n        pass\n"
MANAGE = {"manage.py": "import django\n"}


def find(root: Path, files: dict[str, str], requirements: str = "") -> testing.Tests | None:
    write_tree(root, files)
    paths = [str(path.relative_to(root)) for path in sorted(root.rglob("*.py"))]
    return testing.find(str(root), paths, metadata.read(str(root)), requirements)


@pytest.mark.parametrize(
    ("files", "runner", "arguments"),
    [
        ({"tests/test_a.py": FUNCTION}, PYTEST, ["tests"]),
        ({"testing/a_test.py": FUNCTION}, PYTEST, ["testing"]),
        ({"test_a.py": FUNCTION, "tests/test_a.py": FUNCTION}, PYTEST, []),
        ({"app/tests/test_a.py": FUNCTION, "examples/test_b.py": FUNCTION}, PYTEST, ["app"]),
        ({"app/deep/test_a.py": FUNCTION, "tests/test_b.py": FUNCTION}, PYTEST, ["app", "tests"]),
        ({"examples/test_b.py": FUNCTION}, PYTEST, ["examples"]),
        ({"pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = 'app'\n", "app/test_a.py": ""}, PYTEST, []),
        ({"pytest.ini": "[pytest]\ntestpaths = a*\n", "app/test_a.py": "", "b/test_a.py": ""}, PYTEST, []),
        ({"tox.ini": "[pytest]\npython_files = check_*.py\n", "checks/check_a.py": ""}, PYTEST, ["checks"]),
        ({"setup.cfg": "[tool:pytest]\ntestpaths = gone\n", "t/test_a.py": CASE}, PYTEST, ["t"]),
        ({"pytest.toml": "[pytest]\npython_files = ['x.py']\n", "x.py": "", "tests/test_a.py": ""}, PYTEST, []),
        ({"tests/test_a.py": CASE}, UNITTEST, ["-s", "tests"]),
        ({"tests/test_a.py": CASE, "tests/__init__.py": ""}, UNITTEST, ["-s", "tests", "-t", "."]),
        ({"tests/test_a.py": CASE, "example/test_b.py": CASE}, UNITTEST, ["-s", "tests"]),
        ({"tests.py": CASE}, UNITTEST, ["-s", "."]),
        ({"app/tests.py": CASE, "app/__init__.py": "", "test_b.py": CASE}, UNITTEST, ["-s", "."]),
        ({"manage.py": "import django\n", "pages/tests.py": CASE, "pages/__init__.py": ""}, DJANGO, ["."]),
        ({"site/manage.py": "import django\n", "site/pages/tests.py": CASE, "site/pages/__init__.py": ""}, DJANGO, ["site"]),
        ({"test.py": CASE, "requirements-dev.txt": "pytest\n"}, UNITTEST, ["-s", "."]),
        # unittest would find nothing here, or not all.
        ({"tests/a_test.py": CASE}, PYTEST, ["tests"]),
        ({"tests/deep/test_a.py": CASE}, PYTEST, ["tests"]),
        ({"tests/test_a.py": "from unittest import mock\n" + FUNCTION}, PYTEST, ["tests"]),
        ({"tests/test_a.py": CASE, "tests/test_b.py": FUNCTION}, PYTEST, ["tests"]),
        ({"tests/test_a.py": CASE, "tests/conftest.py": "", "tox.ini": "[pytest]\n"}, PYTEST, ["tests"]),
        ({**MANAGE, "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = x\n", "a/test_a.py": CASE}, PYTEST, ["a"]),
    ],
)  # fmt: skip
def test_runner(tmp_path, files, runner, arguments) -> None:
    tests = find(tmp_path, files)
    assert tests
    assert (tests.runner, tests.arguments) == (runner, arguments)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"a.py": "", "tests/data.py": ""}, id="no test files"),
        pytest.param({**MANAGE, "pages/tests.py": "from django.test import TestCase\n"}, id="a new Django app"),
        pytest.param({**MANAGE, "pages/tests.py": CASE}, id="an app that is not a package"),
        pytest.param({"a/manage.py": "django", "b/manage.py": "django", "b/x/tests.py": CASE}, id="several Django projects"),
        pytest.param({"pages/tests.py": FUNCTION}, id="a name that pytest passes over"),
    ],
)  # fmt: skip
def test_no_tests(tmp_path, files) -> None:
    assert find(tmp_path, files) is None


@pytest.mark.parametrize(
    ("settings", "plugins"),
    [
        ("addopts = --cov=app -n auto", ["pytest-cov", "pytest-xdist"]),
        ("asyncio_mode = auto\ntimeout = 5", ["pytest-asyncio"]),
        ("DJANGO_SETTINGS_MODULE = x", ["pytest-django"]),
        ("addopts = --strict-markers -ra", []),
    ],
)
def test_plugins_that_the_settings_use(tmp_path, settings, plugins) -> None:
    tests = find(tmp_path, {"pytest.ini": f"[pytest]\n{settings}\n", "test_a.py": ""})
    assert tests
    assert tests.requirements == ["pytest", *plugins]


@pytest.mark.parametrize(
    "files",
    [
        {"tests/test_a.py": CASE, "tests/deep/test_b.py": CASE, "tests/deep/__init__.py": "", "tests/__init__.py": ""},
        {"app/__init__.py": "", "app/tests.py": CASE, "test_b.py": CASE},
        {"pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = ['b*']\n", "bees/test_a.py": FUNCTION, "bugs/test_b.py": FUNCTION},
        {"app/tests/test_a.py": FUNCTION, "more/b_test.py": FUNCTION, "docs/test_c.py": "raise SystemExit\n"},
    ],
)  # fmt: skip
def test_the_runners_find_the_same(tmp_path, files) -> None:
    tests = find(tmp_path, files)
    assert tests
    assert len(tests.files) == 2
    command = ["unittest", "discover"] if tests.runner == UNITTEST else ["pytest", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [sys.executable, "-m", *command, *tests.arguments], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "Ran 2 tests" in ran.stderr or "2 passed" in ran.stdout
