"""Find the lock file of a project, and the tool that installs what it lists. Nothing is executed.

uv: https://docs.astral.sh/uv/concepts/projects/sync/, poetry: https://python-poetry.org/docs/cli/#install,
pdm: https://pdm-project.org/latest/reference/cli/#install, pipenv: https://pipenv.pypa.io/en/latest/commands.html#install
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dockerutils.scaffold import metadata
from dockerutils.scaffold.metadata import Metadata

UV, POETRY, PDM, PIPENV = "uv", "poetry", "pdm", "pipenv"

TEST_GROUPS = ("test", "tests", "testing", "dev")  # extras and dependency groups with test requirements

# By precedence: the tool, and the setting of the project with the versions of the tool that it supports.
_TOOLS = {
    "uv.lock": (UV, "tool.uv.required-version"),
    "poetry.lock": (POETRY, "tool.poetry.requires-poetry"),
    "pdm.lock": (PDM, ""),
    "Pipfile.lock": (PIPENV, ""),
}
# Packages of tools; that of pdm can pin its own requirements, and pdm fails with some of the newest.
_PACKAGES = {PDM: "pdm[locked]"}
# What else the tools read, if it exists.
_SETTINGS = {UV: ("uv.toml",), POETRY: ("poetry.toml",), PDM: ("pdm.toml",)}
# Environments that are not supported, and what a user calls them.
_UNSUPPORTED = {
    "environment.yml": "the conda environment in environment.yml",
    "environment.yaml": "the conda environment in environment.yaml",
    "conda-lock.yml": "the conda environment in conda-lock.yml",
    "pixi.lock": "the pixi environment in pixi.lock",
    "pylock.toml": "pylock.toml",
}
# Indexes without credentials.
_PUBLIC = r"https://((test\.|files\.)?pypi\.org|pypi\.python\.org|download\.pytorch\.org|pypi\.nvidia\.com)(/|$)"
_VERSIONS = r"\s*(?:(?:===?|~=|!=|<=|>=|<|>)\s*[\w.*+!-]+\s*,?\s*)+"


class Lock(NamedTuple):
    """A lock file, and how to install from it; paths are from the root of the project."""

    path: str
    tool: str
    requirement: str  # the tool, as pip takes it
    files: list[str]  # what the tool reads
    run: list[str]  # the options that select what the project runs with
    test: list[str] | None  # those that also select what its tests need; None if the lock file has no such group
    is_frozen: bool  # uv cannot compare the lock file with the project before the code is there
    members: list[str]  # directories with other packages of the project, which are installed as well
    others: list[str]  # lock files that are ignored
    text: str

    def has(self, requirement: str) -> bool:
        """Return whether the lock file lists a requirement, given as pip takes it."""
        name = re.split(r"[^\w.-]", requirement)[0]
        return re.search(rf"""(?im)^(name = )?\s*"{re.escape(name)}"(: \{{)?$""", self.text) is not None


def find(root: str, data: Metadata) -> Lock | None:
    """Return the lock file to install from, None if the project has none."""
    found = [name for name in _TOOLS if os.path.isfile(os.path.join(root, name)) and _is_complete(root, name)]
    if not found:
        return None
    path = found[0]
    tool, versions = _TOOLS[path]
    manifest = "Pipfile" if tool == PIPENV else "pyproject.toml"
    settings = [name for name in _SETTINGS.get(tool, ()) if os.path.isfile(os.path.join(root, name))]
    members = _members(root, data) if tool == UV else []
    run, test = _selection(tool, data)
    return Lock(
        path=path,
        tool=tool,
        requirement=_PACKAGES.get(tool, tool) + _specifier(data.strings(versions)),
        files=[manifest, path, *settings],
        run=run,
        test=test,
        is_frozen=tool == UV and _is_frozen(root, data),
        members=members,
        others=found[1:],
        text=metadata.text(os.path.join(root, path)),
    )


def unsupported(root: str) -> list[str]:
    """Return the environments at `root` that the images cannot have, as a message names them."""
    return [named for name, named in _UNSUPPORTED.items() if os.path.isfile(os.path.join(root, name))]


def secrets(root: str, data: Metadata, lock: Lock | None, requirements: str) -> list[str]:
    """Return the variables with the credentials of the private package indexes that the project names.

    `requirements` is the text of the requirement files that are installed.
    """
    if lock is None:
        return _distinct(re.findall(r"\$\{([A-Z0-9_]+)\}", re.sub(r"(?m)(?:^|\s)#.*", "", requirements)))
    text = data.texts["pyproject.toml"]
    if lock.tool == UV:
        own = metadata.text(os.path.join(root, "uv.toml"))
        indexes = [*metadata.tables(text, "tool.uv.index"), *metadata.tables(own, "index")]
        return _distinct(_of_names("UV_INDEX_{}_", indexes))
    if lock.tool == POETRY:
        return _distinct(_of_names("POETRY_HTTP_BASIC_{}_", metadata.tables(text, "tool.poetry.source")))
    if lock.tool == PDM:
        sources = metadata.tables(text, "tool.pdm.source")
    else:
        sources = metadata.tables(metadata.text(os.path.join(root, "Pipfile")), "source")
    return _distinct(name for source in sources for name in _variables(str(source.get("url", ""))))


def _is_complete(root: str, name: str) -> bool:
    """Return whether there is also the file that a lock file belongs to."""
    manifest = "Pipfile" if name == "Pipfile.lock" else "pyproject.toml"
    return os.path.isfile(os.path.join(root, manifest))


def _specifier(versions: list[str]) -> str:
    """Return the versions of a tool that the project supports, if pip can read them."""
    found = next(iter(versions), "")
    return found.replace(" ", "") if re.fullmatch(_VERSIONS, found) else ""


def _selection(tool: str, data: Metadata) -> tuple[list[str], list[str] | None]:
    """Return the options that select what the project runs with, and those that add what its tests need."""
    if tool == PIPENV:
        return [], ["--dev"]
    groups = _groups(data, "dependency-groups", "tool.poetry.group", "tool.pdm.dev-dependencies")
    if data.has("tool.poetry.dev-dependencies"):
        groups["dev"] = True
    extras = _tested(_groups(data, "project.optional-dependencies", "tool.poetry.extras"))
    tested = _tested(groups)
    if tool == UV:
        test = [*(f"--group={name}" for name in tested), *(f"--extra={name}" for name in extras)]
        has_default = data.has("tool.uv.default-groups", "tool.uv.dev-dependencies")
        every = [] if data.has("project") else ["--all-packages"]
        return [*every, "--no-default-groups"], [*every, *test] if test or has_default else None
    if tool == POETRY:
        # The group main does not exist in a project without dependencies.
        others = [name for name in groups if name not in tested]
        test = [*_joined("--with", tested), *_joined("--without", others), *(f"--extras={name}" for name in extras)]
        return _joined("--without", [*groups]), test if tested or extras else None
    test = [f"--group={name}" for name in [*tested, *extras]]
    return ["--prod"], test or None


def _joined(option: str, names: Sequence[str]) -> list[str]:
    return [f"{option}={','.join(names)}"] if names else []


def _groups(data: Metadata, *tables: str) -> dict[str, bool]:
    """Return the groups in these tables, and whether tests need them, by their names or because they have pytest."""
    found: dict[str, str] = {}
    for table in tables:
        for key, value in data.toml.items():
            if key.startswith(f"{table}."):
                name, _, rest = key.removeprefix(f"{table}.").partition(".")
                found[name] = f"{found.get(name, '')} {rest} {value}"
        inline = data.toml.get(table)
        found |= dict(re.findall(r"([\w.-]+)\s*=\s*\[([^]]*)\]", inline if isinstance(inline, str) else ""))
    return {
        name: name in TEST_GROUPS or bool(re.search(r"\bpytest\b", text))
        for name, text in found.items()
        if re.fullmatch(r"[\w.-]+", name)
    }


def _tested(groups: Mapping[str, bool]) -> list[str]:
    return [name for name, is_tested in groups.items() if is_tested]


def _is_frozen(root: str, data: Metadata) -> bool:
    """Return whether uv needs more than the metadata files to compare a lock file with the project."""
    computed = {"dependencies", "optional-dependencies"} & set(data.strings("project.dynamic"))
    return bool(computed) or any(
        os.path.normpath(path).startswith("..") or not _is_packaged(root, path) for path in _local_sources(data)
    )


def _local_sources(data: Metadata) -> list[str]:
    """Return the directories and files that [tool.uv.sources] names."""
    values = [str(value) for key, value in data.toml.items() if key.startswith("tool.uv.sources")]
    named = [str(value) for key, value in data.toml.items() if re.fullmatch(r"tool\.uv\.sources\..*\.path", key)]
    return [*named, *re.findall(r"""\bpath\s*=\s*["']([^"']+)["']""", "\n".join(values))]


def _members(root: str, data: Metadata) -> list[str]:
    """Return the directories of the packages in a workspace, or beside it, that the project needs.

    Those are the ones that [tool.uv.sources] names; a root that is not a project has all of them.
    """
    included, excluded = (
        {
            os.path.relpath(path, root)
            for pattern in data.strings(f"tool.uv.workspace.{key}")
            for path in glob.glob(os.path.join(root, pattern))
        }
        for key in ("members", "exclude")
    )
    workspace = sorted(path for path in included - excluded if _is_packaged(root, path))
    if data.has("project"):
        sources = {
            key.removeprefix("tool.uv.sources.").partition(".")[0]
            for key, value in data.toml.items()
            if key.startswith("tool.uv.sources.") and (key.endswith(".workspace") or "workspace" in str(value))
        }
        wanted = {_normalized(name) for name in sources} - {_normalized(data.name)}
        workspace = [path for path in workspace if _normalized(_name(root, path)) in wanted]
    beside = [os.path.normpath(path) for path in _local_sources(data) if not os.path.normpath(path).startswith("..")]
    return _distinct([*workspace, *(path for path in beside if path != "." and _is_packaged(root, path))])


def _is_packaged(root: str, path: str) -> bool:
    """Return whether a directory has a project that can be built; the path must be one that COPY takes as it is."""
    there = metadata.parse_toml(metadata.text(os.path.join(root, path, "pyproject.toml")))
    return (
        any(key.startswith("build-system") for key in there) and re.fullmatch(r"(?!-|\.\.)[\w./-]+", path) is not None
    )


def _name(root: str, path: str) -> str:
    there = metadata.parse_toml(metadata.text(os.path.join(root, path, "pyproject.toml")))
    return str(there.get("project.name", ""))


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_names(form: str, indexes: Iterable[dict[str, object]]) -> list[str]:
    """Return the variables with user and password of indexes that have names and are not public."""
    names = [
        re.sub(r"[^A-Za-z0-9]", "_", str(index["name"])).upper()
        for index in indexes
        if index.get("name") and not re.match(_PUBLIC, str(index.get("url", "")))
    ]
    return [form.format(name) + part for name in names for part in ("USERNAME", "PASSWORD")]


def _variables(text: str) -> list[str]:
    """Return the variables that a text names as $NAME or ${NAME}."""
    return re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text)


def _distinct(names: Iterable[str]) -> list[str]:
    return [*dict.fromkeys(names)]
