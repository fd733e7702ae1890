"""Find a project's tests, where pytest, unittest and Django look for them.

https://docs.pytest.org/en/stable/reference/customize.html, https://docs.python.org/3/library/unittest.html#test-discovery,
https://docs.djangoproject.com/en/stable/topics/testing/overview/#running-tests
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from dockerutils.project import ini
from dockerutils.scaffold import metadata
from dockerutils.scaffold.metadata import Metadata

PYTEST, UNITTEST, DJANGO = "pytest", "unittest", "django"

_PYTEST_FILES = ("test_*.py", "*_test.py")
_UNITTEST_FILES = "test*.py"  # for Django, too
# Files here look like tests, but belong to something else.
_ELSEWHERE = frozenset("bench benchmark benchmarks doc docs example examples scripts tools".split())
# Options and settings of pytest's that come with plugins.
_PLUGINS = {
    r"--cov\b": "pytest-cov",
    r"-n\b|--numprocesses|--dist\b": "pytest-xdist",
    r"\basyncio_mode\b|--asyncio": "pytest-asyncio",
    r"\bDJANGO_SETTINGS_MODULE\b|--ds\b": "pytest-django",
    r"--timeout\b": "pytest-timeout",
    r"--mypy\b": "pytest-mypy",
}


class Tests(NamedTuple):
    """How a project is tested; paths are from its root."""

    runner: str  # PYTEST, UNITTEST or DJANGO
    arguments: list[str]  # what the runner needs on its command line
    files: list[str]  # the test files that the runner finds
    requirements: list[str]  # pytest and the plugins that its settings use


class _Settings(NamedTuple):
    """The settings of pytest: their text, and where it looks for tests."""

    text: str
    testpaths: list[str]
    python_files: list[str]


def find(root: str, python_files: Sequence[str], data: Metadata, requirements: str) -> Tests | None:
    """Return how to test the project at `root`, None if it has no tests.

    `python_files` are the paths of its Python files, `requirements` is the text of its requirement files.
    """
    settings = _settings(root, data)
    texts = {
        path: metadata.text(os.path.join(root, path))
        for path in python_files
        if _matches(path, [_UNITTEST_FILES, *settings.python_files])
    }
    collected = [path for path in texts if _matches(path, settings.python_files)]
    cases = [path for path, text in texts.items() if _has_cases(path, text)]
    names_pytest = bool(
        settings.text or re.search(r"\bpytest\b", "\n".join([data.text, requirements, *texts.values()]))
    )
    if cases and set(collected) <= set(cases) and not (names_pytest and collected):
        manage = _manage(root, python_files)
        tests = _unittest(root, cases) if manage is None else _django(root, manage, cases)
        if tests:
            return tests
    if not collected:
        return None
    return _pytest(root, collected, settings)


def _pytest(root: str, collected: list[str], settings: _Settings) -> Tests:
    plugins = [name for pattern, name in _PLUGINS.items() if re.search(pattern, settings.text)]
    requirements = ["pytest", *plugins]
    below = [path for where in settings.testpaths for path in _below(root, where, collected)]
    if below:
        return Tests(PYTEST, [], below, requirements)
    own = _own(collected)
    tops = list(dict.fromkeys(map(_top, own)))
    return Tests(PYTEST, [] if "." in tops else tops, own, requirements)


def _django(root: str, manage: str, cases: Sequence[str]) -> Tests | None:
    """Return how manage.py, in the directory `manage`, runs tests; None if it finds none, because it passes then."""
    found = [path for path in _below(root, manage, cases) if _is_importable(root, path, manage)]
    return Tests(DJANGO, [manage], found, []) if found else None


def _unittest(root: str, cases: list[str]) -> Tests | None:
    """Return how unittest runs tests; None unless it finds all: before Python 3.12 it passes when it finds none."""
    own = _own(cases)
    tops = sorted(set(map(_top, own)))
    start = tops[0] if len(tops) == 1 else "."
    if not all(_is_importable(root, path, start) for path in own):
        return None
    is_package = start != "." and os.path.exists(os.path.join(root, start, "__init__.py"))
    return Tests(UNITTEST, ["-s", start, *(["-t", "."] if is_package else [])], own, [])


def _own(paths: list[str]) -> list[str]:
    """Return the tests of the project itself, without those of examples and the like; all if there are no others."""
    return [path for path in paths if _top(path) not in _ELSEWHERE] or paths


def _has_cases(path: str, text: str) -> bool:
    """Return whether a file has tests that unittest and Django run: a new Django app has a tests.py without any."""
    return (
        fnmatchcase(os.path.basename(path), _UNITTEST_FILES)
        and re.search(r"\w*TestCase\b", text) is not None
        and re.search(r"(?m)^\s+(?:async )?def test", text) is not None
        and re.search(r"(?m)^(?:async )?def test", text) is None
    )


def _is_importable(root: str, path: str, start: str) -> bool:
    """Return whether unittest gets to a file from the directory `start`: it only enters packages."""
    directory = os.path.dirname(path)
    while directory not in ("", start):
        if not os.path.exists(os.path.join(root, directory, "__init__.py")):
            return False
        directory = os.path.dirname(directory)
    return True


def _manage(root: str, python_files: Iterable[str]) -> str | None:
    """Return the directory of Django's manage.py: the root, or the only one below it that has one; else None."""
    scripts = [path for path in python_files if os.path.basename(path) == "manage.py" and path.count("/") <= 1]
    found = [
        os.path.dirname(path) or "."
        for path in scripts
        if "django" in metadata.text(os.path.join(root, path)) and _top(path) not in _ELSEWHERE
    ]
    return "." if "." in found else found[0] if len(found) == 1 else None


def _settings(root: str, data: Metadata) -> _Settings:
    """Return pytest's settings, from the first of the files that it looks at."""
    for name in ("pytest.toml", ".pytest.toml"):
        if os.path.exists(os.path.join(root, name)):
            text = metadata.text(os.path.join(root, name))
            return _from_toml(text, metadata.parse_toml(text), "pytest")
    for name, section in (("pytest.ini", "pytest"), (".pytest.ini", "pytest")):
        if os.path.exists(os.path.join(root, name)):
            return _from_ini(metadata.text(os.path.join(root, name)), section)
    for table in ("tool.pytest.ini_options", "tool.pytest"):
        if data.has(table):
            own = [f"{key} = {value}" for key, value in data.toml.items() if key.startswith(f"{table}.")]
            return _from_toml("\n".join(own) or table, data.toml, table)
    for text, section in (
        (metadata.text(os.path.join(root, "tox.ini")), "pytest"),
        (data.texts["setup.cfg"], "tool:pytest"),
    ):
        if re.search(rf"(?m)^\[{section}\]", text):
            return _from_ini(text, section)
    return _Settings("", [], [*_PYTEST_FILES])


def _from_toml(text: str, values: Mapping[str, object], table: str) -> _Settings:
    paths, files = (
        [word for each in metadata.strings(values.get(f"{table}.{key}")) for word in each.split()]
        for key in ("testpaths", "python_files")
    )
    return _Settings(text, paths, files or [*_PYTEST_FILES])


def _from_ini(text: str, section: str) -> _Settings:
    parsed = ini.parse(text, "").sections.get(section)
    values = {key: value.text for key, value in parsed.values.items()} if parsed else {}
    own = "\n".join(f"{key} = {value}" for key, value in values.items()) or section
    return _Settings(
        own, values.get("testpaths", "").split(), values.get("python_files", "").split() or [*_PYTEST_FILES]
    )


def _below(root: str, pattern: str, paths: Iterable[str]) -> list[str]:
    """Return the paths that are, or are below, what a pattern of testpaths matches."""
    places = [os.path.normpath(place) for place in glob.glob(pattern, root_dir=root, recursive=True)]
    return [path for path in paths if any(place in (".", path) or path.startswith(f"{place}/") for place in places)]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(os.path.basename(path), pattern) for pattern in patterns)


def _top(path: str) -> str:
    return path.split("/", maxsplit=1)[0] if "/" in path else "."
