"""Find out whether pip can install a project, and whether setuptools would package docker/ along with it.

Setuptools looks for packages itself where a project names none:
https://setuptools.pypa.io/en/latest/userguide/package_discovery.html
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from dockerutils.scaffold.metadata import Metadata

# Directories and modules at the root that setuptools never takes for the package.
_NO_PACKAGES = frozenset(
    "ci bin debian doc docs documentation manpages news newsfragments changelog test tests unit_test unit_tests "
    "example examples scripts tools util utils python build dist venv env requirements tasks fabfile site_scons "
    "benchmark benchmarks exercise exercises htmlcov docker".split()
)
_NO_MODULES = frozenset(
    "setup conftest test tests example examples build toxfile noxfile pavement dodo tasks fabfile conanfile manage "
    "benchmark benchmarks exercise exercises SConstruct sconstruct".split()
)
# Settings by which poetry, uv and pdm declare that a project is not a package.
_APPLICATIONS = ("tool.poetry.package-mode", "tool.uv.package", "tool.pdm.distribution")
_FIND = "tool.setuptools.packages.find"


class Packaging(NamedTuple):
    """How a project becomes a package."""

    is_package: bool  # pip can install it
    setting: str  # the setting that keeps docker/ out of the package; empty if docker/ stays out anyway


class _Discovered(NamedTuple):
    """What setuptools finds at the root of a project that names no packages."""

    packages: list[str]
    modules: list[str]

    @property
    def names(self) -> list[str]:
        return self.packages or self.modules


def examine(root: str, metadata: Metadata) -> Packaging:
    """Return how the project at `root` becomes a package."""
    if not _describes_package(metadata) or (_uses(metadata, "poetry") and not _is_found_by_poetry(root, metadata)):
        return Packaging(is_package=False, setting="")
    if not _uses(metadata, "setuptools"):
        return Packaging(is_package=True, setting="")
    has_own = os.path.exists(os.path.join(root, "docker", "__init__.py"))
    if _names_packages(metadata):
        return Packaging(is_package=True, setting="" if has_own else _finder_setting(metadata))
    if os.path.isdir(os.path.join(root, "src")):
        return Packaging(is_package=True, setting="")
    found = _discover(root)
    if not _is_discoverable(found, metadata):
        return Packaging(is_package=False, setting="")
    return Packaging(is_package=True, setting="" if has_own else _discovery_setting(found, metadata))


def _describes_package(metadata: Metadata) -> bool:
    """Return whether the files describe a package, and not only settings of tools or the requirements of scripts."""
    if any(metadata.toml.get(key) == "false" for key in _APPLICATIONS):
        return False
    in_cfg = bool(metadata.option("metadata", "name")) and metadata.has("build-system")
    return in_cfg or metadata.runs_setup or metadata.has("project", "tool.poetry", "tool.flit")


def _uses(metadata: Metadata, backend: str) -> bool:
    """Return whether a backend builds the package; by default, it is setuptools."""
    return next(iter(metadata.strings("build-system.build-backend")), "setuptools").startswith(backend)


def _is_found_by_poetry(root: str, metadata: Metadata) -> bool:
    """Return whether poetry finds what to package: applications that it only manages often have nothing of their name.

    https://python-poetry.org/docs/pyproject/#packages
    """
    name = re.sub(r"[-_.]+", "_", metadata.name).lower()
    paths = [os.path.join(root, source, name) for source in ("", "src") if name]
    return metadata.has("tool.poetry.packages") or any(
        os.path.isdir(path) or os.path.isfile(f"{path}.py") for path in paths
    )


def _names_packages(metadata: Metadata) -> bool:
    """Return whether the project tells setuptools what to package."""
    extensions = "" if metadata.has("project") else "|ext_modules"
    return (
        metadata.has("tool.setuptools.packages", "tool.setuptools.py-modules", "tool.setuptools.package-dir")
        or bool(metadata.option("options", "packages") or metadata.option("options", "py_modules"))
        or bool(metadata.option("options", "package_dir"))
        or re.search(rf"\b(packages|py_modules|package_dir{extensions})\s*=", metadata.texts["setup.py"]) is not None
    )


def _finder_setting(metadata: Metadata) -> str:
    """Return the setting that keeps docker/ out where setuptools looks for namespace packages at the root."""
    if metadata.has(_FIND):
        return _toml_finder_setting(metadata)
    if metadata.option("options", "packages").startswith("find_namespace:"):
        limited = {"where", "include", "exclude"} & metadata.cfg.get("options.packages.find", {}).keys()
        return "" if limited else "in setup.cfg, under [options.packages.find], write: exclude = docker*"
    if re.search(r"\bfind_namespace_packages\(\s*\)", metadata.texts["setup.py"]):
        return 'in setup.py, write: find_namespace_packages(exclude=["docker*"])'
    return ""


def _toml_finder_setting(metadata: Metadata) -> str:
    """Return the setting for pyproject.toml, where the finder takes namespace packages by default."""
    excluded = metadata.strings(f"{_FIND}.exclude")
    if (
        metadata.has(f"{_FIND}.include", f"{_FIND}.namespaces")
        or metadata.strings(f"{_FIND}.where") not in ([], ["."], [""])
        or re.search(r"\b(where|include|exclude|namespaces)\b", str(metadata.toml.get(_FIND, "")))
        or any(name.startswith("docker") for name in excluded)
    ):
        return ""
    listed = ", ".join(f'"{name}"' for name in [*excluded, "docker*"])
    return f"in pyproject.toml, under [{_FIND}], write: exclude = [{listed}]"


def _discover(root: str) -> _Discovered:
    """Return what setuptools finds at `root`; directories need neither code nor an __init__.py for it."""
    packages, modules = [], []
    for name in sorted(os.listdir(root)):
        stem, extension = os.path.splitext(name)
        if os.path.isdir(os.path.join(root, name)):
            if name.isidentifier() and name not in _NO_PACKAGES and not name.startswith("_"):
                packages.append(name)
        elif extension == ".py" and stem.isidentifier() and stem not in _NO_MODULES and not stem.startswith("_"):
            modules.append(stem)
    return _Discovered(packages, modules)


def _is_discoverable(found: _Discovered, metadata: Metadata) -> bool:
    """Return whether setuptools makes a package of what it found: it refuses several, and few scripts are a package."""
    if metadata.runs_setup or metadata.has("build-system"):
        return len(found.names) <= 1
    scripts = metadata.has("project.scripts", "project.gui-scripts", "project.entry-points")
    own = re.sub(r"[-.]", "_", metadata.name)
    return len(found.names) == 1 and (scripts or found.names == [own])


def _discovery_setting(found: _Discovered, metadata: Metadata) -> str:
    """Return the setting that names what setuptools found by itself before docker/ was added."""
    name = next(iter(found.names), "")
    if metadata.has("project"):
        if found.packages:
            return f'in pyproject.toml, under [{_FIND}], write: include = ["{name}*"]'
        return f'in pyproject.toml, under [tool.setuptools], write: py-modules = ["{name}"]'
    if metadata.runs_setup:
        argument = (
            f'packages=find_namespace_packages(include=["{name}*"])' if found.packages else f'py_modules=["{name}"]'
        )
        return f"in setup.py, pass to setup(): {argument if name else 'packages=[]'}"
    if found.packages:
        return (
            "in setup.cfg, under [options], write: packages = find_namespace: "
            f"and, under [options.packages.find]: include = {name}*"
        )
    return f"in setup.cfg, under [options], write: py_modules = {name}"
