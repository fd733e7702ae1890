"""Argument vectors of docker, composed from facts passed in. Nothing here starts a process or looks around."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dockerutils.core.process import Command
from dockerutils.core.shell_words import Word

# Passed to every container when set, by name.
AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
)

# The options that set a variable, mount something and publish a port, in their spellings.
ENVIRONMENT, BUILD_ARGUMENT = ("-e", "--env"), ("--build-arg",)
_VOLUME, _MOUNT, _PUBLISH = ("-v", "--volume"), ("--mount",), ("-p", "--publish")

# Variables that steer the docker command itself, or how it is found: the container's value must not stand in its
# environment, so it is passed as an argument.
_STEERS_DOCKER = r"PATH|HOME|LD_\w*|DOCKER_\w*|SSH_\w*|DISPLAY|TMPDIR"


class Port(NamedTuple):
    """A published port: the address of the engine's host that it is published at, nothing for all, and its number."""

    address: str
    number: int


class Run(NamedTuple):
    """What `docker run` is told. Options are words; `environment` holds `-e` options, `network` a name or nothing."""

    reference: str
    name: str
    init: Sequence[str] = ()
    environment: Sequence[str] = ()
    interactive: Sequence[str] = ()
    gpu: Sequence[str] = ()
    network: str = ""
    volumes: Sequence[str] = ()
    ports: Sequence[str] = ()
    args: Sequence[str] = ()
    cmd: Sequence[str] = ()
    keep: bool = False

    @property
    def options(self) -> list[str]:
        """The options of `docker run`, in their order."""
        return [
            *self.init,
            *("--name", self.name),
            *self.environment,
            *(() if self.keep else ("--rm",)),
            *(("-d",) if self.keep else self.interactive),
            *self.gpu,
            *(("--network", self.network) if self.network else ()),
            *self.volumes,
            *self.ports,
            *self.args,
        ]


def run(facts: Run, directory: str) -> Command:
    """Compose `docker run`; values that refer to the environment are passed by name, in the child's environment."""
    options, env = by_name(facts.options, ENVIRONMENT)
    return Command(["docker", "run", *options, facts.reference, *facts.cmd], env, directory)


def build(
    reference: str, dockerfile: str, options: Sequence[str], directory: str, *, target: str | None = None
) -> Command:
    """Compose `docker build` of the context `directory`, of the stage `target` or of the whole Dockerfile.

    Build arguments that refer to the environment are passed by name, as in `run`.
    """
    stage = ["--target", target] if target else []
    options, env = by_name(options, BUILD_ARGUMENT)
    return Command(["docker", "build", "-t", reference, "-f", dockerfile, *stage, *options, "."], env, directory)


def without_terminal(interactive: Iterable[str]) -> list[str]:
    """Return the options without the request for a terminal, which docker refuses where there is none."""
    kept = ("-i" if word in {"-it", "-ti"} else word for word in interactive)
    return [word for word in kept if word not in ("-t", "--tty")]


def is_detached(facts: Run) -> bool:
    """Tell whether docker returns while the container runs."""
    return not {"-d", "--detach"}.isdisjoint(facts.options)


def environment(options: Sequence[str]) -> list[str]:
    """Return the options with the last one alone of those that set the same variable."""
    pairs = _pairs(options, ENVIRONMENT)
    last = {_name(word): index for index, (option, word) in enumerate(pairs) if option}
    kept = (pair for index, pair in enumerate(pairs) if not pair[0] or last[_name(pair[1])] == index)
    return [word for pair in kept for word in pair if word]


def published(options: Sequence[str]) -> list[Port]:
    """Return the ports of TCP that options of `docker run` publish, but for those that the engine is to choose.

    The forms: https://docs.docker.com/reference/cli/docker/container/run/#publish.
    """
    found = []
    for value in (word for option, word in _pairs(options, _PUBLISH) if option):
        ports, _, protocol = value.partition("/")
        address, colon, host = ports.rpartition(":")[0].rpartition(":")
        first, _, last = host.partition("-")
        if first.isdecimal() and protocol in ("", "tcp"):
            numbers = range(int(first), int(last if last.isdecimal() else first) + 1)
            found += [Port(address.strip("[]") if colon else "", number) for number in numbers]
    return found


def without_port(options: Sequence[str], number: int) -> list[str]:
    """Return options of `docker run` without those that publish that port of the container."""
    pairs = _pairs(options, _PUBLISH)
    kept = (pair for pair in pairs if not pair[0] or pair[1].partition("/")[0].rpartition(":")[2] != str(number))
    return [word for pair in kept for word in pair if word]


def bound(options: Sequence[str]) -> list[str]:
    """Return the paths of the engine's host that options of `docker run` mount."""
    volumes = [word.partition(":")[0] for option, word in _pairs(options, _VOLUME) if option and ":" in word]
    mounts = [dict(_fields(word)) for option, word in _pairs(options, _MOUNT) if option]
    binds = [each.get("source", each.get("src", "")) for each in mounts if each.get("type") == "bind"]
    return [path for path in (*volumes, *binds) if path.startswith("/")]


def _fields(mount: str) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, _, value in (field.partition("=") for field in mount.split(","))]


def assign(name: str, value: str) -> str:
    """Return `name=value` as one word."""
    if isinstance(value, Word):
        return Word(f"{name}={value}", f"{name}={value.template}")
    return f"{name}={value}"


def by_name(options: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Replace each `-e NAME=value` whose value refers to the environment by `-e NAME`, and return the values too.

    So no secret stands in the arguments of a process, where every user of the machine can read it. `names` are the
    spellings of the option.
    """
    kept: list[str] = []
    env: dict[str, str] = {}
    for option, word in _pairs(options, names):
        assignment = word.partition_assignment() if option and isinstance(word, Word) else None
        if assignment and not re.fullmatch(_STEERS_DOCKER, assignment[0]):
            name, value = assignment
            kept += [option, name]
            if value.template not in {f"${name}", f"${{{name}}}"}:
                env[name] = value
        else:
            kept += [option, word] if option else [word]
    return kept, env


def _pairs(options: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each variable with its option, the first of `names`, in whichever way it was written.

    Other words have no option before them.
    """
    attached = tuple(f"{name}=" if name.startswith("--") else name for name in names)
    pairs: list[tuple[str, str]] = []
    rest = iter(options)
    for word in rest:
        prefix = next((each for each in attached if word.startswith(each)), None)
        if word in names:
            pairs.append((names[0], next(rest, "")))
        elif prefix:
            pairs.append((names[0], _without_prefix(word, prefix)))
        else:
            pairs.append(("", word))
    return pairs


def _name(variable: str) -> str:
    return variable.partition("=")[0]


def _without_prefix(word: str, prefix: str) -> str:
    if isinstance(word, Word):
        return Word(word.removeprefix(prefix), word.template.removeprefix(prefix))
    return word.removeprefix(prefix)
