"""Compose the command lines of docker from facts. Nothing here starts a process or reads the environment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from dockerutils.core.process import Command
from dockerutils.core.shell_words import Word
from dockerutils.docker import options, ports
from dockerutils.docker.options import BUILD, RUN, Table

AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
)

# A variable goes to docker by name only if `sh` can assign it, and if it changes neither docker itself nor how docker
# is found: these stay arguments. bash refuses to assign UID and the others of that line.
_ASSIGNABLE = (
    r"(?a)(?!(?:PATH|HOME|LD_\w*|DOCKER_\w*|SSH_\w*|DISPLAY|TMPDIR"
    r"|UID|EUID|PPID|SHELLOPTS|BASHOPTS|BASH_VERSINFO)$)[A-Za-z_]\w*"
)


class Port(NamedTuple):
    """A published port of the engine's host: its address, empty for all addresses, and its number."""

    address: str
    number: int


class Run(NamedTuple):
    """A container to run. The sequences hold words; `environment` holds `-e` options, `cmd` the container's command."""

    reference: str
    name: str
    init: Sequence[str] = ()
    labels: Sequence[str] = ()
    environment: Sequence[str] = ()
    interactive: Sequence[str] = ()
    gpu: Sequence[str] = ()
    network: Sequence[str] = ()
    platform: Sequence[str] = ()
    volumes: Sequence[str] = ()
    ports: Sequence[str] = ()
    args: Sequence[str] = ()
    cmd: Sequence[str] = ()
    remove: bool = True

    @property
    def options(self) -> list[str]:
        """The options of `docker run`, in their order."""
        return [
            *self.init,
            *("--name", self.name),
            *self.labels,
            *self.environment,
            *(("--rm",) if self.remove else ()),
            *self.interactive,
            *self.gpu,
            *self.network,
            *self.platform,
            *self.volumes,
            *self.ports,
            *self.args,
        ]


class Build(NamedTuple):
    """An image to build, of a stage or of the whole Dockerfile, with further options of `docker build`."""

    reference: str
    dockerfile: str
    options: Sequence[str] = ()
    stage: str | None = None


def run(facts: Run, directory: str) -> Command:
    """Compose `docker run`; values that refer to the environment are passed by name, in docker's environment."""
    words, env = by_name(facts.options, RUN, "env")
    return Command(["docker", "run", *words, facts.reference, *facts.cmd], env, directory)


def build(facts: Build, directory: str) -> Command:
    """Compose `docker build` with the context `directory`.

    Build arguments that refer to the environment are passed by name, as in `run`.
    """
    stage = ["--target", facts.stage] if facts.stage else []
    words, env = by_name(facts.options, BUILD, "build-arg")
    argv = ["docker", "build", "-t", facts.reference, "-f", facts.dockerfile, *stage, *words, "."]
    return Command(argv, env, directory)


def by_name(words: Sequence[str], table: Table, option: str) -> tuple[list[str], dict[str, str]]:
    """Replace each `-e NAME=value` whose value refers to the environment by `-e NAME`; return the values too.

    So no secret gets into the arguments of a process, where every user of the machine can read it. `option` is the
    long name of the option that sets a variable. Of several for one variable only the last one stays: docker too lets
    the last one win.
    """
    given = options.parse(words, table)
    last = {_variable(each.value): index for index, each in enumerate(given) if each.names == (option,) and each.value}
    kept: list[str] = []
    env: dict[str, str] = {}
    for index, each in enumerate(given):
        is_variable = each.names == (option,) and each.value
        if is_variable and last[_variable(each.value)] != index:
            continue
        assignment = each.value.partition_assignment() if is_variable and isinstance(each.value, Word) else None
        if assignment and re.fullmatch(_ASSIGNABLE, assignment[0]):
            name, value = assignment
            kept += [_spelling(option, table), name]
            if value.template not in {f"${name}", f"${{{name}}}"}:
                env[name] = value
        else:
            kept += each.words
    return kept, env


def assign(name: str, value: str) -> str:
    """Return `name=value` as one word."""
    if isinstance(value, Word):
        return Word(f"{name}={value}", f"{name}={value.template}")
    return f"{name}={value}"


def without_terminal(interactive: Sequence[str]) -> list[str]:
    """Return options of `docker run` without the request for a terminal: docker rejects it without one."""
    kept: list[str] = []
    for option in options.parse(interactive, RUN):
        if "tty" not in option.names:
            kept += option.words
        elif len(option.names) > 1:
            kept.append(option.words[0].replace("t", ""))
    return kept


def is_detached(facts: Run) -> bool:
    """Return whether docker returns while the container runs."""
    return options.is_on(facts.options, RUN, "detach")


def published(words: Sequence[str]) -> list[Port]:
    """Return the TCP ports that options of `docker run` publish, without those that the engine chooses."""
    given = [ports.read(value) for value in options.values(words, RUN, "publish")]
    return [
        Port(each.address, number) for each in given if each.protocol == "tcp" for number in ports.numbers(each.host)
    ]


def without_overridden(words: Sequence[str], by: Sequence[str]) -> list[str]:
    """Return options of `docker run` without those that others override, which are on the command line, for example.

    Both set the same variable, path in the container, published port of the container, or GPUs. Of other options that
    docker takes once, the last one wins.
    """
    overriding = {each for option in options.parse(by, RUN) for each in _set(option)}
    return options.join(
        option for option in options.parse(words, RUN) if not (what := _set(option)) or not what <= overriding
    )


def _set(option: options.Option) -> set[tuple[str, str]]:
    """Return what an option of `docker run` sets that can be set once: its kind and name."""
    value = option.value
    if value is None or len(option.names) != 1:
        return set()
    name = option.names[0]
    if name == "env":
        return {(name, _variable(value))}
    if name in {"volume", "tmpfs", "mount"}:
        return {("path", path.rstrip("/")) for path in _paths(name, value)}
    if name == "publish":
        return {("port", port) for port in _container_ports(value)}
    return {(name, "")} if name == "gpus" else set()


def _paths(name: str, value: str) -> list[str]:
    """Return the path in the container that an option mounts, if it is there."""
    if name == "mount":
        return [path for key, path in options.fields(value).items() if key in {"target", "destination", "dst"}]
    first, colon, more = value.partition(":")
    return [more.partition(":")[0] if colon and name == "volume" else first]


def _container_ports(value: str) -> set[str]:
    """Return the ports of the container, with protocol, that a value of `-p` publishes."""
    given = ports.read(value)
    return {f"{port}/{given.protocol}" for port in ports.numbers(given.container) or (given.container,)}


def bound(words: Sequence[str]) -> list[str]:
    """Return the paths of the engine's host that options of `docker run` mount."""
    mounts = [options.fields(value) for value in options.values(words, RUN, "mount")]
    binds = [each.get("source", each.get("src", "")) for each in mounts if each.get("type") == "bind"]
    return [*bound_by_volume(words), *(path for path in binds if path.startswith("/"))]


def bound_by_volume(words: Sequence[str]) -> list[str]:
    """Return those of the paths that `-v` mounts: the engine creates a directory, as root, where there is none."""
    volumes = [value.partition(":")[0] for value in options.values(words, RUN, "volume") if ":" in value]
    return [path for path in volumes if path.startswith("/")]


def _spelling(option: str, table: Table) -> str:
    """Return an option's usual spelling: its letter if it has one."""
    return next((f"-{letter}" for letter, name in table.letters.items() if name == option), f"--{option}")


def _variable(value: str | None) -> str:
    return (value or "").partition("=")[0]
