"""Detect what kind of Python project a directory holds, for `dockerutils init`. Nothing is executed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dockerutils.docker import references
from dockerutils.project import version_file
from dockerutils.scaffold import locks, metadata, packaging, system_packages, testing
from dockerutils.scaffold.locks import Lock
from dockerutils.scaffold.metadata import Metadata
from dockerutils.scaffold.system_packages import SystemPackages
from dockerutils.scaffold.testing import Tests

_PYTHONS = tuple(f"3.{minor}" for minor in range(7, 15))
_PREFERRED = "3.12"

# How deep to look for code and notebooks, and directories that are not the project's own.
_DEPTH = 5
_FOREIGN = frozenset("build dist docker env node_modules site-packages venv".split())

_PYTHON_SETTINGS = (
    (".python-version", r"(?m)^\s*(3\.\d+)", "the file says {}"),
    ("pyproject.toml", r"""(?m)^\s*requires-python\s*=\s*["']([^"'\n]+)""", "requires-python is {}"),
    ("pyproject.toml", r"""(?m)^\s*python\s*=\s*["']([^"'\n]+)""", "python is {}"),
    ("setup.cfg", r"(?m)^\s*python_requires\s*[=:]\s*(\S.*?)\s*$", "python_requires is {}"),
    ("setup.py", r"""\bpython_requires\s*=\s*["']([^"'\n]+)""", "python_requires is {}"),
    ("Pipfile", r"""(?m)^\s*python_(?:full_)?version\s*=\s*["']([^"'\n]+)""", "python_version is {}"),
    ("environment.yml", r"(?m)^\s*-\s*python\s*([=<>~!][^#\n]*?)\s*(?:#.*)?$", "python is {}"),
    ("environment.yaml", r"(?m)^\s*-\s*python\s*([=<>~!][^#\n]*?)\s*(?:#.*)?$", "python is {}"),
)
_PYTHON_FILES = (".python-version", "Pipfile", "environment.yml", "environment.yaml")
_TESTING = r"tests?|testing|dev|develop|development|ci"
_REQUIREMENTS = r"requirements(?:/(?:base|main|prod|production|requirements))?\.txt"
_TEST_REQUIREMENTS = (
    rf"(?:requirements[-_.](?:{_TESTING})|(?:{_TESTING})[-_.]requirements|requirements/(?:{_TESTING}))\.txt"
)
_NO_SCRIPTS = r"(?:setup|versioneer|conftest|noxfile|tasks|fabfile|manage|tests|test_.*|.*_test|_version)\.py"
_ENTRY_SCRIPTS = ("main.py", "app.py", "run.py", "__main__.py")
# Tables of pyproject.toml and hatch.toml that list requirements beyond those that the package needs at run time.
_GROUPS = (
    "project.optional-dependencies",
    "dependency-groups",
    "tool.hatch.envs",
    "tool.pdm.dev-dependencies",
    "tool.poetry.dev-dependencies",
    "tool.poetry.extras",
    "tool.poetry.group",
    "tool.uv.dev-dependencies",
)
# Tools that ask git for the version, and the variable that sets it where there is no git.
_SCM = {
    r"setuptools[-_]scm|hatch-vcs|flit[-_]scm": "SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0",
    r"poetry-dynamic-versioning": "POETRY_DYNAMIC_VERSIONING_BYPASS=0.0.0",
    r"uv-dynamic-versioning": "UV_DYNAMIC_VERSIONING_BYPASS=0.0.0",
    r"\bpbr\b": "PBR_VERSION=0.0.0",
}
_PDM_SCM = "PDM_BUILD_SCM_VERSION=0.0.0"
# A line of a requirements file that names this project, or another one in its tree.
LOCAL = r"^ *((-e|--editable)[ =]*)?(\.|file:)"  # for grep -E as well


class Python(NamedTuple):
    """A version of Python, and why this one."""

    version: str
    reason: str


class Requirements(NamedTuple):
    """The requirement files to install, and all files to copy for that: the files they include with -r and -c, too.

    `local` are the files that list this project or others in its tree, `extras` the extras that they ask of it.
    """

    files: list[str]
    all_files: list[str]
    local: list[str]
    extras: list[str]


class Facts(NamedTuple):
    """What a project is made of; paths are from its root."""

    name: str  # as a component of an image's name
    is_package: bool  # pip can install it
    docker_setting: str  # the setting that keeps docker/ out of the package; empty if docker/ stays out anyway
    has_dependencies: bool  # its metadata list what it needs; so can those of a project that is not a package
    metadata: list[str]  # its files of metadata.NAMES
    lock: Lock | None  # its lock file, which replaces requirement files
    secrets: list[str]  # the variables with the credentials of its private package indexes
    unsupported: list[str]  # environments that the images cannot have, as a message names them
    has_pip_conf: bool  # it has a pip.conf.template, as in networks with their own package index
    requirements: Requirements  # to run
    test_requirements: Requirements  # to develop and test
    has_groups: bool  # its metadata list extras or dependency groups
    script: str | None  # the script to run, if there is an obvious one
    has_code: bool
    has_notebooks: bool
    tests: Tests | None
    version_file: str | None  # the one that versioneer makes
    scm_variables: list[str]  # NAME=VALUE for tools that would ask git for the version
    system_packages: SystemPackages
    environments: list[str]  # directories that hold virtual environments
    python: Python


def detect(root: str) -> Facts | None:
    """Return what the directory `root` holds, None if it is not a Python project."""
    names = sorted(os.listdir(root))
    data = metadata.read(root)
    found = list(_walk(root))
    has_code = any(path.endswith(".py") for path in found)
    has_notebooks = any(path.endswith(".ipynb") for path in found)
    listed = [*names, *(f"requirements/{name}" for name in _names(os.path.join(root, "requirements")))]
    requirements = _requirements(root, [path for path in listed if re.fullmatch(_REQUIREMENTS, path)][:1])
    testing_too = _requirements(root, [path for path in listed if re.fullmatch(_TEST_REQUIREMENTS, path)])
    lock = locks.find(root, data)
    has_dependencies = _has_dependencies(data)
    if not (lock or has_dependencies or requirements.files or testing_too.files or has_code or has_notebooks):
        return None
    texts = _texts(root, [*requirements.all_files, *testing_too.all_files])
    package = packaging.examine(root, data)
    return Facts(
        name=references.component(os.path.basename(root)),
        is_package=package.is_package,
        docker_setting=package.setting,
        has_dependencies=has_dependencies,
        metadata=[name for name in metadata.NAMES if name in names],
        lock=lock,
        secrets=locks.secrets(root, data, lock, texts),
        unsupported=locks.unsupported(root),
        has_pip_conf="pip.conf.template" in names,
        requirements=requirements,
        test_requirements=testing_too,
        has_groups=_has_groups(data),
        script=_script(names),
        has_code=has_code,
        has_notebooks=has_notebooks,
        tests=testing.find(root, [path for path in found if path.endswith(".py")], data, texts),
        version_file=version_file.source(root),
        scm_variables=_scm_variables(data),
        system_packages=system_packages.guess(data.text, texts, lock.text if lock else ""),
        environments=[
            name
            for name in names
            if re.fullmatch(r"[\w.-]+", name) and os.path.exists(os.path.join(root, name, "pyvenv.cfg"))
        ],
        python=python({**data.texts, **{name: metadata.text(os.path.join(root, name)) for name in _PYTHON_FILES}}),
    )


def python(texts: Mapping[str, str]) -> Python:
    """Return the Python for a project whose files have these texts: the preferred one if the project supports it."""
    for name, pattern, setting in _PYTHON_SETTINGS:
        found = re.search(pattern, texts.get(name, ""))
        if not found:
            continue
        reason = f"{setting.format(found[1])} in {name}"
        if name == ".python-version":
            return Python(found[1], reason)
        supported = [version for version in _PYTHONS if _is_supported(version, found[1])]
        if _PREFERRED in supported:
            return Python(_PREFERRED, reason)
        if supported:
            return Python(supported[-1], f"{reason}, and this is the newest that it allows")
        return Python(_PREFERRED, f"{reason}, which allows no Python from {_PYTHONS[0]} to {_PYTHONS[-1]}")
    return Python(_PREFERRED, "the project sets no requires-python, so any version works")


def _is_supported(version: str, specification: str) -> bool:
    """Return whether a specifier of PEP 440, or of poetry, allows some release of a minor version.

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


def _has_dependencies(data: Metadata) -> bool:
    """Return whether the metadata list requirements of the project, or of its build."""
    return (
        data.runs_setup
        or data.has("project", "build-system", "dependency-groups", "tool.poetry", "tool.uv.dev-dependencies")
        or data.has("tool.hatch.envs")
        or bool(data.option("options", "install_requires"))
    )


def _has_groups(data: Metadata) -> bool:
    return (
        data.has(*_GROUPS)
        or any(key.startswith("envs") for key in data.hatch)
        or "options.extras_require" in data.cfg
        or re.search(r"\bextras_require\s*=", data.texts["setup.py"]) is not None
    )


def _scm_variables(data: Metadata) -> list[str]:
    found = [variable for pattern, variable in _SCM.items() if re.search(pattern, data.text)]
    by_pdm = data.strings("tool.pdm.version.source") == ["scm"] or re.search(
        r"source\s*=\s*[\"']scm", str(data.toml.get("tool.pdm.version", ""))
    )
    return [*found, _PDM_SCM] if by_pdm else found


def _walk(root: str) -> Iterator[str]:
    """Yield the paths of the project's own Python files and notebooks."""
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
        yield from (
            os.path.normpath(os.path.join(below, name)) for name in sorted(names) if name.endswith((".py", ".ipynb"))
        )


def _requirements(root: str, paths: Sequence[str]) -> Requirements:
    found: list[str] = []
    local: list[str] = []
    extras: list[str] = []
    left = list(paths)
    while left:
        path = left.pop(0)
        if path in found or path.startswith("..") or not re.fullmatch(r"[\w.+/-]+", path):
            continue
        if not os.path.isfile(os.path.join(root, path)):
            continue
        text = metadata.text(os.path.join(root, path))
        found.append(path)
        if re.search(f"(?m){LOCAL}", text):
            local.append(path)
            asked = re.findall(rf"(?m){LOCAL}/?\[([\w\s,.-]+)\]", text)
            extras += [extra for *_, names in asked for extra in re.split(r"[\s,]+", names.strip())]
        named = re.findall(r"(?m)^\s*(?:-r|-c|--requirement|--constraint)[\s=]*([^\s#]+)", text)
        left += [os.path.normpath(os.path.join(os.path.dirname(path), name)) for name in named if "://" not in name]
    return Requirements(list(paths), found, local, list(dict.fromkeys(extras)))


def _script(names: Iterable[str]) -> str | None:
    scripts = [name for name in names if name.endswith(".py") and not re.fullmatch(_NO_SCRIPTS, name)]
    return next((name for name in _ENTRY_SCRIPTS if name in scripts), scripts[0] if len(scripts) == 1 else None)


def _names(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def _texts(root: str, paths: Iterable[str]) -> str:
    return "\n".join(metadata.text(os.path.join(root, path)) for path in dict.fromkeys(paths))
