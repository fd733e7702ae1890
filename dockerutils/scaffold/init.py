"""`dockerutils init`: the start of a `docker/` tree. What is there already stays as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from dockerutils.core import console, files, process
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.project import config, dockerfile, dockerignore
from dockerutils.scaffold import detect, rendering
from dockerutils.scaffold.detect import Facts

_CONFIG = config.FILES[0]
_BUILDS_BY_DEFAULT = 23  # the version of the client from which on docker build means BuildKit


class File(NamedTuple):
    """A file to write, by its path from the root; `of` names the Dockerfiles that it is there for."""

    path: str
    text: str
    of: tuple[str, ...] = ()


def run(root: str, environ: Mapping[str, str], *, dry_run: bool) -> None:
    """Write what is missing at `root`, and tell on stdout what became of each file.

    UserError when that is no place for it. When something fails, what was written until then is taken away again.
    """
    facts = examined(root)
    planned = plan(facts, buildkit=has_buildkit(environ))
    kept = {each.path: there for each in planned if (there := _there(root, each.path))}
    missing = [each for each in planned if each.path not in kept and not (each.of and kept.keys() >= set(each.of))]
    _require_directories(root, missing)
    # Read before anything is written: what is wrong in a file that is there is told then.
    warnings = list(misfits(root, planned, kept))
    for path in kept.values():
        print(f"kept {path}: it exists")
    if dry_run:
        for each in missing:
            print(f"would write {each.path}")
    else:
        write(root, missing)
    for warning in warnings:
        console.warn("dockerutils", warning)
    if not dry_run:
        console.note("dockerutils", "next: build-image all, then run-image dev" if missing else "nothing was missing")


def examined(root: str) -> Facts:
    """Return what project `root` holds; UserError when it is none, or a directory of much else."""
    if os.path.realpath(root) in {os.path.realpath(os.path.expanduser("~")), "/"}:
        raise UserError(f"{root} is no project: builds would be sent all of it; change to the project's directory")
    facts = detect.detect(root)
    if facts is None:
        raise UserError(
            "there is no Python project here: no setup.py, pyproject.toml, setup.cfg or requirements.txt, no *.py and "
            "no *.ipynb; change to the project's directory, or begin with one of these files"
        )
    return facts


def has_buildkit(environ: Mapping[str, str]) -> bool:
    """Tell whether `docker build` uses BuildKit here: as the client chooses, if an engine answers.

    https://docs.docker.com/build/buildkit/#getting-started: as DOCKER_BUILDKIT says; without it from version 23 on,
    with the plugin that this takes.
    """
    ask = [
        ["docker", "version", "--format", "{{.Client.Version}} {{.Server.Version}}"],
        ["docker", "buildx", "version"],
    ]
    try:
        versions, plugin = process.capture_all(ask)
    except DockerutilsError:
        return False
    if versions.status:
        return False
    if chosen := environ.get("DOCKER_BUILDKIT"):
        return chosen.lower() not in {"0", "f", "false"}
    major = versions.stdout.partition(".")[0]
    return major.isdigit() and int(major) >= _BUILDS_BY_DEFAULT and not plugin.status


def plan(facts: Facts, *, buildkit: bool) -> list[File]:
    """Return the files that suit a project; `buildkit` says what it is built with."""
    dockerfiles = {rendering.BASE: rendering.base, rendering.DEV: rendering.dev}
    if facts.is_package or facts.has_code:
        dockerfiles[rendering.CICD] = rendering.cicd
    if facts.has_notebooks:
        dockerfiles[rendering.NOTEBOOK] = rendering.notebook
    planned = [File(_dockerfile(name), recipe(facts, buildkit=buildkit)) for name, recipe in dockerfiles.items()]
    if facts.names_needs:
        planned.append(File(rendering.NEEDS, rendering.needs(), tuple(_dockerfile(name) for name in dockerfiles)))
    for name, user in ((rendering.DEV, "app"), (rendering.NOTEBOOK, "jovyan")):
        if name in dockerfiles:
            planned.append(File(f"docker/{name}/entrypoint", rendering.entrypoint(facts, user), (_dockerfile(name),)))
    planned.append(File(_CONFIG, rendering.configuration(list(dockerfiles))))
    return [*planned, File(".dockerignore", rendering.dockerignore(facts))]


def write(root: str, missing: Iterable[File]) -> None:
    """Write files that are not there, and the directories that they need; all of them, or none."""
    from dockerutils.core.rollback import all_or_nothing

    with all_or_nothing("dockerutils") as undo:
        for each in missing:
            for directory in _directories(each.path):
                if not os.path.isdir(os.path.join(root, directory)):
                    with undo.making(directory, *_removal(root, directory, os.rmdir)):
                        os.mkdir(os.path.join(root, directory))
            with undo.making(each.path, *_removal(root, each.path, os.unlink)):
                files.write(os.path.join(root, each.path), each.text)
            print(f"wrote {each.path}")


def misfits(root: str, planned: Iterable[File], kept: Mapping[str, str]) -> Iterator[str]:
    """Yield what there is to be said where what is to be written will stand beside what is there."""
    texts = {each.path: each.text for each in planned}
    wanted = {name: texts[_dockerfile(name)] for name in rendering.NAMES if _dockerfile(name) in texts.keys() - kept}
    base = _dockerfile(rendering.BASE)
    if base in kept and wanted and _read(os.path.join(root, base)) != texts[base]:
        yield f"{base} is your own; what is built on it here is to find Python in /venv, a user app, and /code in it"
    if dockerignore.NAME in kept:
        ignored = dockerignore.read(root)
        for path in dict.fromkeys(path for text in wanted.values() for path in _copied(text)):
            if ignored.judge_from_root(path).ignored:
                yield f"{dockerignore.NAME} leaves out {path}, which is copied into images; add a line !{path} to it"
    if _CONFIG in kept:
        configured = config.read(root)
        for name, section in rendering.sections(wanted).items():
            if name not in configured:
                lines = " and ".join(section.splitlines())
                yield f"{kept[_CONFIG]} has no section [{name}], which docker/{name} needs; add it, with {lines}"


def _copied(text: str) -> Iterator[str]:
    """Yield the files that the Dockerfile of that text copies out of the project."""
    for instruction in dockerfile.parse(text).instructions:
        if instruction.keyword == "COPY" and not instruction.rest.startswith("--"):
            yield from (path for path in instruction.rest.split()[:-1] if path != "." and "[" not in path)


def _dockerfile(name: str) -> str:
    return f"docker/{name}/Dockerfile"


def _there(root: str, path: str) -> str:
    """Return what stands for a file already, nothing when nothing does: of the configuration, also its earlier name."""
    names = config.FILES if path == _CONFIG else (path,)
    return next((name for name in names if os.path.lexists(os.path.join(root, name))), "")


def _directories(path: str) -> list[str]:
    """Return the directories above a file, the highest first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _require_directories(root: str, missing: Iterable[File]) -> None:
    for directory in dict.fromkeys(directory for each in missing for directory in _directories(each.path)):
        path = os.path.join(root, directory)
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UserError(f"{directory} is no directory; move it away, and run dockerutils init again")
        real, within = os.path.realpath(path), os.path.realpath(root)
        if os.path.commonpath([real, within]) != within:
            raise UserError(
                f"{directory} leads out of the project, where no build can copy from; make it a directory here"
            )


def _removal(root: str, path: str, remove: Callable[[str], None]) -> tuple[Callable[[], str], Callable[[], str]]:
    """Return the line that takes away what was made, and what does it."""
    from dockerutils.core import shell_words

    def taken_away() -> str:
        try:
            remove(os.path.join(root, path))
        except FileNotFoundError:
            return ""
        return path

    return partial(shell_words.render, ["rm", "-r", path]), taken_away


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
