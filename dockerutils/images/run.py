"""Run an image of a project: combine its section with a request, and start the container."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import engine, gpus, invocation, options
from dockerutils.docker.options import RUN, Option
from dockerutils.project.config import Fields, Settings
from dockerutils.project.project import CONFIGURED, Image, Project


class Request(NamedTuple):
    """A request for one run. None leaves a setting to the image's section.

    `command` and `args` are words. `options` are those of `docker run` in addition to the section's; their relative
    paths begin at the directory of the caller. `aws` passes the AWS variables to a container on a dock. `terminal` is
    whether stdin and stdout are one.
    """

    command: Sequence[str] | None = None
    options: Sequence[str] = ()
    args: Sequence[str] | None = None
    use_gpu: bool = False
    keep: bool = False
    aws: bool = False
    terminal: bool = False


# The options of docker run in the groups of `Run`. All others are `args`, behind which they win.
_GROUPS = {
    "environment": {"env"},
    "interactive": {"detach", "interactive", "tty"},
    "gpu": {"gpus"},
    "network": {"network", "net"},
    "volumes": {"volume", "mount", "tmpfs"},
    "ports": {"publish"},
    "name": {"name"},
    "remove": {"rm"},
}
_FILES = {"env-file", "label-file", "cidfile"}  # options whose value is a path on this machine


def configure(project: Project, image: Image, request: Request, *, by: str = "run-image") -> invocation.Run:
    """Return the options of `docker run` for an image: the section's, and the request's, which win.

    An option of the request adds to the section's. It replaces those that set the same: a variable, a path or a port of
    the container, a setting that docker takes once. UserError names the file, line and key of a wrong setting.
    `by` names the command in warnings.
    """
    settings = project.settings(image.name)
    given = _grouped(_from(project.workdir, project, request.options))
    keep = request.keep or settings.boolean("keep_container")
    args = settings.options("args") if request.args is None else request.args

    def section(words: Sequence[str]) -> list[str]:
        if project.docked:
            words = options.join(_from(project.root, project, words))
        return invocation.without_overridden(words, request.options)

    run = invocation.Run(
        reference=image.reference,
        name=next(reversed(options.values(given["name"], RUN, "name")), "") or container_name(image.name, project),
        init=settings.options("init"),
        environment=[*section(_environment(project, image, request)), *given["environment"]],
        interactive=_interactive(settings, given["interactive"], request, keep=keep),
        gpu=given["gpu"] or section(_gpu(settings, request, by)),
        network=given["network"] or _named("--network", settings.word("network")),
        platform=_platform(project, image, request),
        volumes=[
            *section(settings.options("volumes", _fields_on_dock(project) if project.docked else None)),
            *given["volumes"],
        ],
        ports=[*section(settings.options("ports")), *given["ports"]],
        args=[*section(args), *given["args"]],
        labels=_labels(project, image) if project.docked else [],
        cmd=settings.command("cmd") if request.command is None else request.command,
    )
    return run._replace(remove=_is_removed(run, given["remove"], keep=keep))


def _from(directory: str, project: Project, words: Sequence[str]) -> Iterator[Option]:
    """Yield options with their relative paths made absolute: docker runs at the root, not where the caller is.

    On a dock, a relative path to mount is one of the project's copy.
    """
    for option in options.parse(words, RUN):
        value = option.value or ""
        is_volume = option.names == ("volume",) and value.startswith(".")
        is_file = len(option.names) == 1 and option.names[0] in _FILES and not value.startswith("/")
        is_right = directory == project.root and not (is_volume and project.docked)
        if is_right or not (is_volume or is_file):
            yield option
            continue
        path, colon, inside = value.partition(":") if is_volume else (value, "", "")
        absolute = os.path.normpath(os.path.join(directory, path))
        if is_volume and project.docked:
            absolute = _in_copy(project, absolute)
        value = absolute + colon + inside
        yield option._replace(value=value, words=(f"--{option.names[0]}", value))


def _in_copy(project: Project, path: str) -> str:
    """Return a path of the project as one of its copy on a dock; other paths stay."""
    from dockerutils.docks import project_copy  # late, for the start of a run that is not docked

    if not f"{path}/".startswith(f"{project.root}/"):
        return path
    return project_copy.path(project) + path[len(project.root) :]


def _grouped(given: Iterable[Option]) -> dict[str, list[str]]:
    """Return the words of options by the groups of `Run`."""
    groups: dict[str, list[str]] = {group: [] for group in (*_GROUPS, "args")}
    for option in given:
        group = next((group for group, names in _GROUPS.items() if names.issuperset(option.names)), "args")
        groups[group] += option.words
    return groups


def _named(option: str, value: str) -> list[str]:
    return [option, value] if value else []


def _interactive(settings: Settings, given: Sequence[str], request: Request, *, keep: bool) -> Sequence[str]:
    """Return the options for the terminal and for detaching; docker rejects a terminal that is not there."""
    if keep:
        return given if options.is_on(given, RUN, "detach") else ["-d", *given]
    words = given or settings.options("interactive") or ["-it"]
    if request.terminal or options.is_on(words, RUN, "detach"):
        return words
    return invocation.without_terminal(words)


def _is_removed(run: invocation.Run, given: Sequence[str], *, keep: bool) -> bool:
    """Return whether docker removes the container when it exits; it cannot also restart it."""
    if given:
        return options.is_on(given, RUN, "rm")
    restart = options.values(run.args, RUN, "restart")[-1:]
    return not keep and restart in ([], ["no"])


def require_image(project: Project, image: Image, run: invocation.Run, *, emulation: str = "add --platform {}") -> None:
    """Raise DockerutilsError, with the command that builds the image, if the engine does not have it.

    The same if a dock could run it only with emulation, unless an option names the platform; the local docker warns by
    itself. A configuration-only image can be missing: docker pulls it.
    """
    if not project.docked or options.values(run.args, RUN, "platform"):
        has_image = engine.has_image(image.reference, project.environ)
    else:
        for_platform, of_dock = engine.platforms_of(image.reference)
        has_image = for_platform is not None
        _require_platform(project, image, for_platform or "", of_dock, emulation)
    if not has_image and image.kind != CONFIGURED:
        raise DockerutilsError(
            f"{image.reference} is not built yet; run: {project.build_command(image)}, or add --build"
        )


def _require_platform(project: Project, image: Image, for_platform: str, of_dock: str, emulation: str) -> None:
    from dockerutils.docker import platforms  # late: most runs are not docked

    if platforms.runs(of_dock, for_platform):
        return
    from dockerutils.images import build

    here, dock = platforms.normal(for_platform), project.environ.get("DOCK_MONIKER")
    command = build.command_for(project, image, platforms.normal(of_dock))
    raise DockerutilsError(
        f"{image.reference} is for {here}, and dock {dock} runs {platforms.normal(of_dock)}; run: {command}, or, if "
        f"the dock has emulation, {emulation.format(here)}"
    )


def start(project: Project, run: invocation.Run, *, dry_run: bool = False) -> None:
    """Run the container; docker replaces this process. In a docked shell, use run_docked."""
    process.replace(invocation.run(run, project.root), dry_run=dry_run)


def container_name(image: str, project: Project) -> str:
    """Return `<user>_<image>_<yy-mm-dd_HH.MM.SS>` in local time, with microseconds so that two runs differ."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    now = time.strftime("%y-%m-%d_%H.%M.%S", time.localtime(seconds))
    name = f"{project.user}_{image}_{now}.{nanoseconds // 1000:06}"
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip("_.-")


def _platform(project: Project, image: Image, request: Request) -> list[str]:
    """Return the `--platform` of the section; of several platforms, which are for publishing, docker chooses one."""
    found = project.platforms(image)
    is_given = bool(options.values(request.options, RUN, "platform"))
    return ["--platform", *found] if len(found) == 1 and not is_given else []


def _fields_on_dock(project: Project) -> Fields:
    """Return the fields of local paths as paths of the project's copy on a dock."""
    root, workdir = (_in_copy(project, path) for path in (project.root, project.workdir))
    return {"project_root": lambda: root, "root": lambda: root, "workdir": lambda: workdir}


def _labels(project: Project, image: Image) -> list[str]:
    from dockerutils.docks import runs  # late, as above

    return runs.labels(project, image.name)


def _environment(project: Project, image: Image, request: Request) -> list[str]:
    """Return the `-e` options but for the request's: the AWS variables by name, then the section's.

    Other users of a dock's engine can read what a container is given, so AWS variables go there on request only.
    """
    settings = project.settings(image.name)
    section = settings.value("env")
    aws = invocation.AWS_VARIABLES if request.aws or not project.docked else ()
    variables = [
        *(name for name in aws if project.environ.get(name)),
        *(invocation.assign(name, value) for name, value in (project.variables(section) if section else {}).items()),
    ]
    return [*_each(variables), *settings.options("environment")]


def _gpu(settings: Settings, request: Request, by: str) -> list[str]:
    """Return the section's options for GPUs; without these and with -g, those that the engine needs."""
    if settings.value("gpu") is not None or not request.use_gpu:
        return settings.options("gpu")
    words, warning = gpus.ask()
    if warning:
        console.warn(by, warning)
    return words


def _each(variables: Sequence[str]) -> list[str]:
    return [word for variable in variables for word in ("-e", variable)]
