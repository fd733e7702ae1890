"""Write the files of a new docker/ tree for the project that was detected, from the files in templates/."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence

from dockerutils.project import ini
from dockerutils.scaffold.detect import LOCAL, Facts, Requirements
from dockerutils.scaffold.template import fill_in
from dockerutils.scaffold.testing import DJANGO, UNITTEST

NAMES = BASE, DEV, CICD, NOTEBOOK = "base", "dev", "cicd", "notebook"
USERS = {DEV: "app", NOTEBOOK: "jovyan"}  # who runs the images that mount the project
NEEDS = "docker/base/needs"  # the program that lists the requirements of a package

_TEST_GROUPS = ("test", "tests", "testing", "dev")  # extras and dependency groups with test requirements
_NO_TESTS = "echo 'no tests were found; write some, then set CMD in docker/cicd/Dockerfile' >&2; exit 1"

_Values = dict[str, str | bool]


def base(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile of the image that the others are built on: Python and the dependencies."""
    groups = [[], facts.requirements.extras] if facts.requirements.extras else [[]]
    installs = bool(facts.requirements.files) or facts.has_dependencies
    values = _common(facts) | _install(facts, facts.requirements, groups, buildkit=buildkit)
    return fill_in("base.Dockerfile", values | {"installs": installs})


def dev(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for development: everything but the project, which is mounted."""
    return fill_in("dev.Dockerfile", _common(facts) | _tools(facts, buildkit=buildkit))


def cicd(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for tests and delivery: the project as a user gets it, nothing mounted, no history."""
    values: _Values = {
        "version_file": shlex.quote(facts.version_file) if facts.version_file else "",
        "tested": facts.tests is not None,
        "program": json.dumps(["python", facts.script]) if facts.script and not facts.tests else "",
        "command": json.dumps(_command(facts)),
    }
    return fill_in("cicd.Dockerfile", _common(facts) | _tools(facts, buildkit=buildkit) | values)


def notebook(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for run-notebook: JupyterLab at port 8888, with the project mounted."""
    values: _Values = {
        "copies": "COPY docker/notebook/entrypoint pip.con[f] ./",
        "local": "",
        "steps": f"{_pip(buildkit=buildkit)} jupyterlab",
        "buildkit": buildkit,
    }
    return fill_in("notebook.Dockerfile", _common(facts) | values)


def needs() -> str:
    """Return the program that lists what a package needs."""
    return fill_in("needs", {})


def entrypoint(facts: Facts, name: str) -> str:
    """Return the entrypoint of an image that has the project mounted."""
    return fill_in("entrypoint", _common(facts) | {"user": USERS[name]})


def dockerignore(facts: Facts, tracked: Sequence[str] = ()) -> str:
    """Return the patterns of what builds leave out; `tracked` are paths that they get despite these patterns."""
    environments = dict.fromkeys([".venv", "venv", *facts.environments])
    exceptions = [f"!{_escaped(path)}" for path in tracked]
    return fill_in("dockerignore", {"environments": "\n".join(environments), "tracked": "\n".join(exceptions)})


def _escaped(path: str) -> str:
    """Return the pattern of .dockerignore that matches a path and nothing else."""
    return "".join(f"\\{char}" if char in "*?[]\\^" else char for char in path)


def configuration(names: Iterable[str]) -> str:
    """Return the configuration of the images with these names."""
    return fill_in("dockerutils.cfg", {name: name in [*names] for name in NAMES})


def sections(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the lines of the sections that the images with these names need, without comments."""
    written = ini.parse(configuration(names), "").sections
    return {name: [f"{key} = {value.text}" for key, value in written[name].values.items()] for name in names}


def _common(facts: Facts) -> _Values:
    """Return the values that several templates use."""
    system = facts.system_packages
    return {
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
    groups = [[*_TEST_GROUPS, *facts.test_requirements.extras]] if facts.has_groups else []
    requirements = facts.tests.requirements if facts.tests else []
    values = _install(facts, facts.test_requirements, groups, requirements, buildkit=buildkit)
    return values | {"tools": bool(values["steps"])}


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
    pip = _pip(buildkit=buildkit)
    calls = [" ".join(["python3 needs", *dict.fromkeys(names)]) for names in groups if facts.has_dependencies]
    steps = [f"{pip} -r {path}" for path in requirements.files]
    if calls:
        listing = calls[0] if len(calls) == 1 else f"({' && '.join(calls)})"
        steps += [f"{listing} >needed.txt", f"{pip} -r needed.txt"]
    if more:
        steps.append(f"{pip} {' '.join(more)}")
    return {
        "copies": "\n".join(_copies([*requirements.all_files, *(facts.metadata if calls else [])], listed=bool(calls))),
        "local": " ".join(requirements.local),
        "local_pattern": LOCAL,
        "steps": " && \\\n    ".join(steps),
        "buildkit": buildkit,
    }


def _copies(paths: Sequence[str], *, listed: bool) -> list[str]:
    """Return the instructions that copy requirement files and what they include, and the program that lists others."""
    lines = [
        f"COPY {' '.join(path for path in paths if os.path.dirname(path) == directory)} {directory}/"
        for directory in sorted({os.path.dirname(path) for path in paths} - {""})
    ]
    here = [path for path in paths if not os.path.dirname(path)] + ([NEEDS] if listed else [])
    # COPY fails unless one file exists.
    return [*lines, f"COPY {' '.join(here or ['docker/base/Dockerfile'])} pip.con[f] ./"]


def _pip(*, buildkit: bool) -> str:
    return "pip install" if buildkit else "pip install --no-cache-dir"


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
