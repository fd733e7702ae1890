"""`dockerutils init`: start a `docker/` tree. Files that exist stay as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from dockerutils.core import console, files, process, shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.rollback import all_or_nothing
from dockerutils.docker import builder
from dockerutils.project import config, dockerfile, dockerignore
from dockerutils.scaffold import detect, rendering
from dockerutils.scaffold.detect import Facts

_CONFIG = config.FILES[0]
_TEMPLATE = "pip.conf.template"  # stays out of builds also when git tracks it: it holds credentials


class File(NamedTuple):
    """A file to write, by its path from the root; `users` are the Dockerfiles that need it."""

    path: str
    text: str
    users: tuple[str, ...] = ()


def run(root: str, environ: Mapping[str, str], *, dry_run: bool) -> None:
    """Write the files that are missing at `root`, and print each on stdout. After a failure, nothing new is left.

    UserError if `root` is not a suitable directory.
    """
    facts = examine(root)
    tracked = tracked_but_ignored(root, facts)
    buildkit = builder.find(environ) == builder.BUILDKIT
    planned = plan(facts, tracked, buildkit=buildkit)
    kept = {each.path: existing for each in planned if (existing := _existing(root, each.path))}
    missing = [
        each for each in planned if each.path not in kept and not (each.users and kept.keys() >= set(each.users))
    ]
    _require_directories(root, missing)
    # This finds errors in existing files, before anything is written.
    secrets = facts.secrets if buildkit else []
    warnings = [*conflicts(root, facts, planned, kept, secrets), *cautions(facts, tracked, kept, buildkit=buildkit)]
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
        has_notebook = any(each.path == "docker/notebook/Dockerfile" for each in missing)
        following = "next: build-image all, then run-image dev" + " or run-notebook" * has_notebook
        console.note("dockerutils", following if missing else "nothing to do: no file is missing")


def examine(root: str) -> Facts:
    """Return what project `root` holds; UserError if it is not a project, or holds much else."""
    if os.path.realpath(root) in {os.path.realpath(os.path.expanduser("~")), "/"}:
        raise UserError(f"{root} is not a project: builds would send all of it; change to the project's directory")
    facts = detect.detect(root)
    if facts is None:
        raise UserError(
            "no Python project here: no setup.py, pyproject.toml, setup.cfg or requirements.txt, no *.py, no *.ipynb; "
            "change to the project's directory, or create one of these files"
        )
    return facts


def tracked_but_ignored(root: str, facts: Facts) -> list[str]:
    """Return the paths that git tracks and the patterns of a new .dockerignore match: files, or whole directories."""
    try:
        listing = process.capture(["git", "ls-files", "-z"], directory=root)
    except DockerutilsError:
        return []
    ignored = dockerignore.parse(rendering.dockerignore(facts))
    found: dict[str, None] = {}
    for path in listing.stdout.split("\0") if not listing.status else ():
        if path and path != _TEMPLATE and not any(path.startswith(f"{above}/") for above in found):
            highest = next((each for each in _prefixes(path) if ignored.judge_from_root(each).ignored), "")
            if highest and highest.isprintable():
                found[highest] = None
    return list(found)


def plan(facts: Facts, tracked: Sequence[str] = (), *, buildkit: bool) -> list[File]:
    """Return the files that suit a project, for builds with BuildKit or without; see `tracked_but_ignored`."""
    render = {rendering.BASE: rendering.base, rendering.DEV: rendering.dev}
    if facts.is_package or facts.has_code:
        render[rendering.CICD] = rendering.cicd
    if facts.has_notebooks:
        render[rendering.NOTEBOOK] = rendering.notebook
    planned = [
        File(_dockerfile(name), dockerfile_of(facts, buildkit=buildkit)) for name, dockerfile_of in render.items()
    ]
    if facts.has_dependencies and not (facts.lock and not facts.is_package and not facts.lock.members):
        planned.append(File(rendering.NEEDS, rendering.needs(), tuple(_dockerfile(name) for name in render)))
    planned += [
        File(f"docker/{name}/entrypoint", rendering.entrypoint(facts, name), (_dockerfile(name),))
        for name in rendering.USERS
        if name in render
    ]
    planned.append(File(_CONFIG, rendering.configuration(render, facts.secrets if buildkit else [])))
    return [*planned, File(dockerignore.NAME, rendering.dockerignore(facts, tracked))]


def write(root: str, missing: Iterable[File]) -> None:
    """Write files that do not exist, and the directories they need: all of them, or none."""
    with all_or_nothing("dockerutils") as rollback:
        for each in missing:
            for directory in _prefixes(each.path)[:-1]:
                if not os.path.isdir(os.path.join(root, directory)):
                    with rollback.making(directory, *_removal(root, directory, os.rmdir)):
                        os.mkdir(os.path.join(root, directory))
            with rollback.making(each.path, *_removal(root, each.path, os.unlink)):
                files.write(os.path.join(root, each.path), each.text)
            print(f"wrote {each.path}")


def conflicts(
    root: str, facts: Facts, planned: Iterable[File], kept: Mapping[str, str], secrets: list[str]
) -> Iterator[str]:
    """Yield a warning for each new file that does not fit to those that are kept."""
    texts = {each.path: each.text for each in planned}
    wanted = {name: texts[_dockerfile(name)] for name in rendering.NAMES if _dockerfile(name) in texts.keys() - kept}
    base = _dockerfile(rendering.BASE)
    if base in kept and wanted and _read(os.path.join(root, base)) != texts[base]:
        yield f"{base} is your own; the new images expect Python in /venv, a user app and a directory /code in it"
    if dockerignore.NAME in kept:
        ignored = dockerignore.read(root)
        for path in dict.fromkeys(path for text in wanted.values() for path in _copied(text)):
            if ignored.judge_from_root(path).ignored:
                yield f"{dockerignore.NAME} leaves out {path}, which is copied into images; add a line !{path} to it"
        hidden = [path for path in facts.tests.files if ignored.judge_from_root(path).ignored] if facts.tests else []
        if hidden and rendering.CICD in wanted:
            more = f" and {len(hidden) - 1} more" if hidden[1:] else ""
            top = hidden[0].split("/")[0]
            yield f"{dockerignore.NAME} leaves out tests, so cicd cannot run {hidden[0]}{more}; add a line !{top} to it"
    if _CONFIG in kept:
        configured = config.read(root)
        for name, lines in rendering.sections([*wanted], secrets).items():
            if name not in configured:
                yield f"{kept[_CONFIG]} has no section [{name}]; docker/{name} needs it, with {' and '.join(lines)}"


def cautions(facts: Facts, tracked: Sequence[str], kept: Mapping[str, str], *, buildkit: bool) -> Iterator[str]:
    """Yield a warning for each decision of the user, and for each thing that the images cannot have."""
    for each in facts.unsupported:
        yield f"not supported: {each}; {_instead(facts)}"
    if facts.lock and facts.lock.others:
        yield (
            f"the images install what {facts.lock.path} lists, and ignore {' and '.join(facts.lock.others)}; delete "
            "the file that is out of date, and the files of docker/, then run dockerutils init again"
        )
    if facts.secrets and not buildkit:
        yield (
            f"builds get no credentials for private package indexes ({', '.join(facts.secrets)}): that needs BuildKit; "
            "install docker's buildx plugin, delete the new files, then run dockerutils init again"
        )
    secrets = [path for path in tracked if os.path.basename(path) == ".env"]
    if secrets and dockerignore.NAME not in kept:
        yield (
            f"builds get the .env files that git tracks ({', '.join(secrets)}); "
            f"if they hold secrets, remove their lines from the end of {dockerignore.NAME}"
        )
    if facts.docker_setting:
        yield (
            "outside these images, setuptools would package docker/, or refuse to build because of it; "
            f"{facts.docker_setting}"
        )


def _instead(facts: Facts) -> str:
    """Return what the images have instead of an environment that is not supported."""
    requirements = [*facts.requirements.files, *(facts.metadata if facts.has_dependencies else [])]
    listing = [facts.lock.path] if facts.lock else requirements
    if listing:
        return f"the images install what {' and '.join(listing)} {'list' if listing[1:] else 'lists'}"
    return "list its Python packages in requirements.txt, and install others in docker/base/Dockerfile"


def _copied(text: str) -> Iterator[str]:
    """Yield the files that a Dockerfile copies out of the project by name."""
    for instruction in dockerfile.parse(text).instructions:
        if instruction.keyword == "COPY" and not instruction.flags:
            yield from (path for path in instruction.words[:-1] if path != "." and "[" not in path)


def _dockerfile(name: str) -> str:
    return f"docker/{name}/Dockerfile"


def _existing(root: str, path: str) -> str:
    """Return the path that a file already has, also by its earlier name; an empty string if it does not exist."""
    names = config.FILES if path == _CONFIG else (path,)
    return next((name for name in names if os.path.lexists(os.path.join(root, name))), "")


def _prefixes(path: str) -> list[str]:
    """Return the directories above a path, the highest first, and the path."""
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _require_directories(root: str, missing: Iterable[File]) -> None:
    for directory in dict.fromkeys(above for each in missing for above in _prefixes(each.path)[:-1]):
        path = os.path.join(root, directory)
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UserError(f"{directory} is not a directory; move it away, then run dockerutils init again")
        real, within = os.path.realpath(path), os.path.realpath(root)
        if os.path.commonpath([real, within]) != within:
            raise UserError(
                f"{directory} is a link to a place outside the project, where builds cannot copy from; "
                "replace it with a directory"
            )


def _removal(root: str, path: str, remove: Callable[[str], None]) -> tuple[Callable[[], str], Callable[[], str]]:
    """Return two functions: one for the command that removes a new file, one that removes it."""

    def removed() -> str:
        try:
            remove(os.path.join(root, path))
        except FileNotFoundError:
            return ""
        return path

    return partial(shell_words.render, ["rm", "-r", path]), removed


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
