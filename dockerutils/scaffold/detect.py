"""What kind of Python project a directory holds: what `dockerutils init` has to know of it, and nothing is executed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dockerutils.docker import references
from dockerutils.project import version_file

# The files that say what a package is, what it needs and how it is built.
METADATA = ("pyproject.toml", "setup.cfg", "setup.py")

_PYTHONS = tuple(f"3.{minor}" for minor in range(7, 15))
_PREFERRED = "3.12"

# How deep to look for code and notebooks, and what is not the project's own.
_DEPTH = 5
_FOREIGN = frozenset("build dist docker env node_modules site-packages venv".split())

_WANTS_PYTHON = (
    (".python-version", r"(?m)^\s*(3\.\d+)", "the file says {}"),
    ("pyproject.toml", r"""(?m)^\s*requires-python\s*=\s*["']([^"'\n]+)""", "requires-python is {}"),
    ("pyproject.toml", r"""(?m)^\s*python\s*=\s*["']([^"'\n]+)""", "python is {}"),
    ("setup.cfg", r"(?m)^\s*python_requires\s*[=:]\s*(\S.*?)\s*$", "python_requires is {}"),
    ("setup.py", r"""\bpython_requires\s*=\s*["']([^"'\n]+)""", "python_requires is {}"),
)
_TESTING = r"tests?|testing|dev|develop|development|ci"
_REQUIREMENTS = r"requirements(?:/(?:base|main|prod|production|requirements))?\.txt"
_TEST_REQUIREMENTS = (
    rf"(?:requirements[-_.](?:{_TESTING})|(?:{_TESTING})[-_.]requirements|requirements/(?:{_TESTING}))\.txt"
)
_NO_SCRIPTS = r"(?:setup|versioneer|conftest|noxfile|tasks|fabfile|test_.*|.*_test|_version)\.py"
_ENTRANCES = ("main.py", "app.py", "run.py", "__main__.py")
_NEEDS = r"(?m)^\[(project|build-system|dependency-groups|tool\.poetry)\b"
_EXTRAS = r"(?m)^\[.*(optional-dependencies|dependency-groups|extras_require|poetry\.group)|\bextras_require\s*="
# A requirement that is this project itself, or another one in its tree.
LOCAL = r"^ *((-e|--editable)[ =]*)?(\.|file:)"  # for grep -E as well


class Python(NamedTuple):
    """A version of Python, and why it is that one."""

    version: str
    reason: str


class Requirements(NamedTuple):
    """Requirement files to be installed, and those with the files that they include by -r and -c.

    `local` are the ones of these that name what is in the project's own tree, itself for one.
    """

    files: list[str]
    all_files: list[str]
    local: list[str]


class Facts(NamedTuple):
    """What a project is made of; paths are from its root."""

    name: str  # as a component of an image's name
    is_package: bool  # one that pip can install
    names_needs: bool  # its metadata say what it needs, also where it is no package
    metadata: list[str]  # the files of METADATA that there are
    requirements: Requirements  # what it runs with
    test_requirements: Requirements  # what it is developed and tested with
    has_extras: bool  # the package names groups of other requirements
    script: str | None  # the script to run, when there is an obvious one
    has_code: bool
    has_notebooks: bool
    tests: str | None  # the directory of the tests
    tests_are_package: bool
    runner: str  # "pytest" or "unittest"
    version_file: str | None  # that versioneer makes
    wants_scm: bool  # its version is that of git, by setuptools-scm and the like
    environments: list[str]  # directories that hold virtual environments
    python: Python


def detect(root: str) -> Facts | None:
    """Return what there is at `root`; None when it is no Python project."""
    names = sorted(os.listdir(root))
    texts = {name: _text(os.path.join(root, name)) for name in (*METADATA, ".python-version")}
    found = list(_walk(root))
    has_code = any(path.endswith(".py") for path in found)
    has_notebooks = any(path.endswith(".ipynb") for path in found)
    listed = [*names, *(f"requirements/{name}" for name in _names(os.path.join(root, "requirements")))]
    requirements = [path for path in listed if re.fullmatch(_REQUIREMENTS, path)][:1]
    testing = [path for path in listed if re.fullmatch(_TEST_REQUIREMENTS, path)]
    names_needs = bool(re.search(r"\bsetup\s*\(", texts["setup.py"]) or re.search(_NEEDS, texts["pyproject.toml"]))
    if not (names_needs or requirements or testing or has_code or has_notebooks):
        return None
    tests = _tests(names, found)
    return Facts(
        name=references.component(os.path.basename(root)),
        is_package=names_needs and _is_package(root, texts),
        names_needs=names_needs,
        metadata=[name for name in METADATA if name in names],
        requirements=_requirements(root, requirements),
        test_requirements=_requirements(root, testing),
        has_extras=any(re.search(_EXTRAS, text) for text in texts.values()),
        script=_script(names),
        has_code=has_code,
        has_notebooks=has_notebooks,
        tests=tests,
        tests_are_package=bool(tests) and os.path.exists(os.path.join(root, tests or "", "__init__.py")),
        runner=_runner(root, tests, found, texts.values()),
        version_file=version_file.source(root),
        wants_scm=bool(re.search(r"setuptools[-_]scm|hatch-vcs", "".join(texts.values()))),
        environments=[
            name
            for name in names
            if re.fullmatch(r"[\w.-]+", name) and os.path.exists(os.path.join(root, name, "pyvenv.cfg"))
        ],
        python=python(texts),
    )


def python(texts: dict[str, str]) -> Python:
    """Return the Python for a project whose files have these texts: the preferred one, if the project takes it."""
    for name, pattern, says in _WANTS_PYTHON:
        found = re.search(pattern, texts.get(name, ""))
        if not found:
            continue
        wanted = f"{says.format(found[1])}, in {name}"
        if name == ".python-version":
            return Python(found[1], wanted)
        fitting = [version for version in _PYTHONS if _fits(version, found[1])]
        if _PREFERRED in fitting:
            return Python(_PREFERRED, wanted)
        if fitting:
            return Python(fitting[-1], f"{wanted}, and this is the newest of these")
        return Python(_PREFERRED, f"{wanted}, which no Python of these days is")
    return Python(_PREFERRED, "the project does not say which it wants (requires-python), so choose another one freely")


def _fits(version: str, specification: str) -> bool:
    """Tell whether some release of a minor version is among those that a specifier, of PEP 440 or poetry's, allows.

    https://packaging.python.org/en/latest/specifications/version-specifiers/
    """
    clauses = re.findall(r"(===?|~=|!=|<=|>=|<|>|\^|~)?\s*(\d+(?:\.\d+)*)(\.\*)?", specification)
    return all(_meets(version, *clause) for clause in clauses)


def _meets(version: str, operator: str, text: str, wildcard: str) -> bool:
    own, other = _numbers(version), _numbers(text)
    near, rest = other[:2], other[2:]
    own_near = own[: len(near)]
    if operator in {">=", ">"}:
        return own_near >= near
    if operator in {"<", "<="}:
        return own_near < near or (own_near == near and (operator == "<=" or any(rest)))
    if operator == "!=":
        return not wildcard or own_near != near
    if operator == "^" or (operator == "~=" and not rest):
        return own_near >= near and own[0] == near[0]
    return own_near == near


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _is_package(root: str, texts: dict[str, str]) -> bool:
    """Tell whether pip can install it: when it says how it is built, or is laid out as setuptools expects it.

    A pyproject.toml may be there for the names of the requirements alone, as uv writes it for scripts.
    """
    toml = texts["pyproject.toml"]
    if texts["setup.py"] or re.search(r"(?m)^\[(build-system|tool\.poetry)\]", toml):
        return True
    name = re.search(r"""(?m)^\s*name\s*=\s*["']([\w.-]+)""", toml)
    places = ["src", *([re.sub(r"[-.]", "_", name[1])] if name else [])]
    return "[project]" in toml and any(os.path.isdir(os.path.join(root, place)) for place in places)


def _walk(root: str) -> Iterator[str]:
    """Yield the paths of the Python files and notebooks below `root`, which are its own."""
    for directory, directories, names in os.walk(root):
        below = os.path.relpath(directory, root)
        deep = below.count(os.sep) + 1 if below != os.curdir else 0
        directories[:] = sorted(
            name
            for name in directories
            if deep < _DEPTH
            and not name.startswith(".")
            and name not in _FOREIGN
            and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        )
        yield from (os.path.normpath(os.path.join(below, name)) for name in names if name.endswith((".py", ".ipynb")))


def _requirements(root: str, paths: Sequence[str]) -> Requirements:
    found: list[str] = []
    local: list[str] = []
    left = list(paths)
    while left:
        path = left.pop(0)
        if path in found or path.startswith("..") or not re.fullmatch(r"[\w.+/-]+", path):
            continue
        if not os.path.isfile(os.path.join(root, path)):
            continue
        text = _text(os.path.join(root, path))
        found.append(path)
        if re.search(f"(?m){LOCAL}", text):
            local.append(path)
        named = re.findall(r"(?m)^\s*(?:-r|-c|--requirement|--constraint)[\s=]*([^\s#]+)", text)
        left += [os.path.normpath(os.path.join(os.path.dirname(path), name)) for name in named if "://" not in name]
    return Requirements(list(paths), found, local)


def _script(names: Iterable[str]) -> str | None:
    scripts = [name for name in names if name.endswith(".py") and not re.fullmatch(_NO_SCRIPTS, name)]
    return next((name for name in _ENTRANCES if name in scripts), scripts[0] if len(scripts) == 1 else None)


def _is_test(path: str) -> bool:
    return re.fullmatch(r"test_.*\.py|.*_test\.py", os.path.basename(path)) is not None


def _tests(names: Iterable[str], found: Iterable[str]) -> str | None:
    """Return the directory that the tests are in; one without a test is none."""
    directories = {path.split(os.sep)[0] if os.sep in path else "." for path in found if _is_test(path)}
    return next((each for each in ("tests", "test", ".") if each in directories and each in {*names, "."}), None)


def _runner(root: str, tests: str | None, found: Iterable[str], texts: Iterable[str]) -> str:
    """Return what runs the tests: unittest when all that there is of them is written for it, else pytest."""
    own = [_text(os.path.join(root, path)) for path in found if tests and _is_test(path)]
    names_pytest = any(re.search(r"\bpytest\b", text) for text in (*texts, *own))
    return "unittest" if own and not names_pytest and all("unittest" in text for text in own) else "pytest"


def _names(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def _text(path: str) -> str:
    """Return the text of a file, nothing when there is none that can be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
