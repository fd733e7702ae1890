"""Write the files of a new docker/ tree for the project that was detected, from the files in templates/."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence

from dockerutils.project import ini
from dockerutils.scaffold.detect import LOCAL, Facts, Requirements
from dockerutils.scaffold.locks import TEST_GROUPS, Lock
from dockerutils.scaffold.template import fill_in
from dockerutils.scaffold.testing import DJANGO, UNITTEST

NAMES = BASE, DEV, CICD, NOTEBOOK = "base", "dev", "cicd", "notebook"
USERS = {DEV: "app", NOTEBOOK: "jovyan"}  # who runs the images that mount the project
NEEDS = "docker/base/needs"  # the program that lists the requirements of a package

_NO_TESTS = "echo 'no tests were found; write some, then set CMD in docker/cicd/Dockerfile' >&2; exit 1"

_Values = dict[str, str | bool | list[str]]


def base(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile of the image that the others are built on: Python and the dependencies."""
    values = _common(facts, buildkit=buildkit)
    if facts.lock:
        values |= _from_lock(facts.lock, facts.lock.run) | {"installs": True}
    else:
        groups = [[], facts.requirements.extras] if facts.requirements.extras else [[]]
        values |= _install(facts, facts.requirements, groups, buildkit=buildkit)
        values["installs"] = bool(facts.requirements.files) or facts.has_dependencies
    return fill_in("base.Dockerfile", values)


def dev(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for development: everything but the project, which is mounted."""
    return fill_in("dev.Dockerfile", _common(facts, buildkit=buildkit) | _tools(facts, buildkit=buildkit))


def cicd(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for tests and delivery: the project as a user gets it, nothing mounted, no history."""
    values: _Values = {
        "version_file": shlex.quote(facts.version_file) if facts.version_file else "",
        "tested": facts.tests is not None,
        "program": json.dumps(["python", facts.script]) if facts.script and not facts.tests else "",
        "command": json.dumps(_command(facts)),
    }
    return fill_in("cicd.Dockerfile", _common(facts, buildkit=buildkit) | _tools(facts, buildkit=buildkit) | values)


def notebook(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for run-notebook: JupyterLab with jupytext at port 8888, the project mounted."""
    nothing = Requirements([], [], [], [])
    values = _common(facts, buildkit=buildkit) | _install(
        facts, nothing, [], ["jupyterlab", "jupytext"], buildkit=buildkit
    )
    return fill_in("notebook.Dockerfile", values | {"secrets": []})


def needs() -> str:
    """Return the program that lists what a package needs."""
    return fill_in("needs", {})


def entrypoint(facts: Facts, name: str) -> str:
    """Return the entrypoint of an image that has the project mounted."""
    return fill_in("entrypoint", _common(facts, buildkit=False) | {"user": USERS[name]})


def dockerignore(facts: Facts, tracked: Sequence[str] = ()) -> str:
    """Return the patterns of what builds leave out; `tracked` are paths that they get despite these patterns."""
    environments = dict.fromkeys([".venv", "venv", *facts.environments])
    exceptions = [f"!{_escaped(path)}" for path in tracked]
    return fill_in("dockerignore", {"environments": "\n".join(environments), "tracked": "\n".join(exceptions)})


def _escaped(path: str) -> str:
    """Return the pattern of .dockerignore that matches a path and nothing else."""
    return "".join(f"\\{char}" if char in "*?[]\\^" else char for char in path)


def configuration(names: Iterable[str], secrets: list[str]) -> str:
    """Return the configuration of the images with these names, whose builds get these secrets."""
    chosen: _Values = {name: name in [*names] for name in NAMES}
    return fill_in("dockerutils.cfg", chosen | {"secrets": secrets})


def sections(names: Sequence[str], secrets: list[str]) -> dict[str, list[str]]:
    """Return the lines of the sections that the images with these names need, without comments."""
    written = ini.parse(configuration(names, secrets), "").sections
    return {
        name: [f"{key} = {' '.join(value.text.split())}" for key, value in written[name].values.items()]
        for name in names
    }


def _common(facts: Facts, *, buildkit: bool) -> _Values:
    """Return the values that several templates use."""
    system = facts.system_packages
    members = facts.lock.members if facts.lock else []
    packages = [*(["."] if facts.is_package else []), *members]
    # The project itself is installed from a directory without docker/ where setuptools would package that.
    editable = [f"./{path}" if path in members else '"$project"' for path in packages]
    return {
        "buildkit": buildkit,
        # Only where Docker Hub probably answers; every version of BuildKit knows the syntax of these Dockerfiles.
        "syntax": buildkit and not facts.has_pip_conf,
        "installer": "lock" if facts.lock else "pip",
        "lock": facts.lock is not None,
        "lock_file": facts.lock.path if facts.lock else "",
        "members": members,
        "packages": packages,
        "directories": " ".join(packages),
        "copied_packages": " ".join(os.path.normpath(f"/tmp/code/{path}") for path in packages),  # noqa: S108
        "editable_packages": " ".join(f"--editable {path}" for path in editable),
        "build_system": facts.lock is not None and bool(packages),
        "metadata": " ".join(facts.metadata),
        "secrets": facts.secrets if buildkit else [],
        "secret_names": " ".join(facts.secrets),
        "project": facts.name,
        "python": facts.python.version,
        "reason": facts.python.reason,
        "has_dependencies": facts.has_dependencies,
        "is_package": facts.is_package,
        "docker_setting": facts.docker_setting,
        "scm_variables": " ".join(facts.scm_variables),
        "apt_build": " ".join(system.build),
        "apt_run": " ".join(system.run),
        "apt_reasons": ", ".join(system.reasons),
    }


def _tools(facts: Facts, *, buildkit: bool) -> _Values:
    """Return the values of the stage with the test requirements, the same for dev and cicd."""
    more = facts.tests.requirements if facts.tests else []
    if facts.lock:
        more = [name for name in more if not facts.lock.has(name)]
        is_needed = facts.lock.test is not None or bool(more)
        return _from_lock(facts.lock, facts.lock.test or facts.lock.run, more) | {"tools": is_needed}
    groups = [[*TEST_GROUPS, *facts.test_requirements.extras]] if facts.has_groups else []
    values = _install(facts, facts.test_requirements, groups, more, buildkit=buildkit)
    return values | {"tools": bool(values["requirement_files"] or values["listing"] or more)}


def _from_lock(lock: Lock, selection: Sequence[str], more: Sequence[str] = ()) -> _Values:
    """Return the values of the part that installs what a lock file lists, and `more`."""
    is_single = not lock.members and not lock.is_frozen
    return {
        "tool": lock.tool,
        "tool_requirement": shlex.quote(lock.requirement),
        "lock_files": " ".join(lock.files),
        "frozen": lock.is_frozen,
        "no_install": "--no-install-project" if is_single else "--no-install-local",
        "selection": " ".join(selection),
        "more": " ".join(more),
    }


def _install(
    facts: Facts,
    requirements: Requirements,
    groups: Sequence[Sequence[str]],
    more: Sequence[str] = (),
    *,
    buildkit: bool,
) -> _Values:
    """Return the values of the part that installs requirement files, those that the metadata list, and `more`.

    `groups` are the arguments of the calls of `needs`.
    """
    calls = [" ".join(["python3 needs", *dict.fromkeys(names)]) for names in groups if facts.has_dependencies]
    return {
        "copies": _copies(
            [*requirements.all_files, *(facts.metadata if calls else [])], listed=bool(calls), pip_conf=not buildkit
        ),
        "local": " ".join(requirements.local),
        "local_pattern": LOCAL,
        "requirement_files": requirements.files,
        "listing": calls[0] if len(calls) == 1 else f"({' && '.join(calls)})" if calls else "",
        "more": " ".join(more),
    }


def _copies(paths: Sequence[str], *, listed: bool, pip_conf: bool) -> list[str]:
    """Return the arguments of COPY for requirement files, the program that lists others (`listed`), and pip.conf."""
    lines = [
        f"{' '.join(path for path in paths if os.path.dirname(path) == directory)} {directory}/"
        for directory in sorted({os.path.dirname(path) for path in paths} - {""})
    ]
    here = [path for path in paths if not os.path.dirname(path)] + ([NEEDS] if listed else [])
    if pip_conf:
        # COPY fails unless one file exists.
        here = [*(here or ["docker/base/Dockerfile"]), "pip.con[f]"]
    return [*lines, *([f"{' '.join(here)} ./"] if here else [])]


def _command(facts: Facts) -> list[str]:
    """Return the command of cicd: the tests. Without tests it fails, so that CI does not pass by testing nothing."""
    if not facts.tests:
        return ["sh", "-c", _NO_TESTS]
    runner, arguments = facts.tests.runner, facts.tests.arguments
    if runner == DJANGO:
        directory = arguments[0]
        test = ["python", "manage.py", "test"]
        return ["sh", "-c", f"cd {shlex.quote(directory)} && exec {' '.join(test)}"] if directory != "." else test
    if runner == UNITTEST:
        return ["python", "-m", "unittest", "discover", *arguments]
    # A package is tested as it is installed, scripts where they are.
    return [*([] if facts.is_package else ["python", "-m"]), "pytest", *arguments]
