"""Translate the section of an image for a job on AWS Batch; options that a job cannot have are errors.

The properties of a job: https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerProperties.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.shell_words import Word
from dockerutils.docker import options
from dockerutils.docker.options import RUN, Option
from dockerutils.jobs import resources
from dockerutils.jobs.resources import Amount, Resources
from dockerutils.project.config import Settings
from dockerutils.project.ini import Value
from dockerutils.project.project import Image, Project

RESERVED = "AWS_BATCH"  # how the names of the variables that Batch sets begin
_ARN = r"arn:aws[\w-]*:(?:secretsmanager:[\w-]+:\d{12}:secret:\S+|ssm:[\w-]+:\d{12}:parameter/\S+)"
_ROLE = r"(?:arn:aws[\w-]*:iam::\d{12}:role/(?:[!-~]+/)?)?[\w+=,.@-]{1,64}"
_EFS = r"fs-[0-9a-f]{8,40}"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"

# Options that change nothing in a job, which has no terminal and no container that outlives it.
_HARMLESS = frozenset(
    "attach cidfile detach detach-keys help init interactive name platform pull quiet rm sig-proxy tty".split()
)
_NETWORK = frozenset(
    "add-host dns dns-opt dns-option dns-search domainname expose hostname ip ip6 link link-local-ip mac-address net "
    "net-alias network network-alias publish publish-all".split()
)
_ADVICE = {
    **dict.fromkeys(_NETWORK, "AWS Batch sets the network of a job; remove it"),
    "workdir": "AWS Batch sets no working directory; set WORKDIR in the Dockerfile",
    "entrypoint": "AWS Batch cannot change it; set ENTRYPOINT in the Dockerfile",
    "env-file": "write -e NAME=value",
    "restart": "use --retries",
    "log-driver": "the logs go to CloudWatch; remove it",
    "log-opt": "the logs go to CloudWatch; remove it",
}
_ROLES = {"batch_execution_role": "executionRoleArn", "batch_job_role": "jobRoleArn"}
_NOT_THERE = "COPY it in the Dockerfile, or mount an EFS file system: -v fs-...:PATH"


class Section(NamedTuple):
    """The properties of a job, and an error for each property that Fargate does not support."""

    properties: dict[str, Any]
    resources: Resources
    not_on_fargate: list[str]


def read(project: Project, image: Image, given: Mapping[str, str | None]) -> Section:
    """Return the properties that the section of an image gives a job.

    `given` has the values of --cpus, --memory and --gpus, which win. UserError has the place of what a job cannot have.
    """
    # A job does not run on the dock of a docked shell.
    settings = project.settings_of(project.config.section(image.name), docked=False)
    reader = _Reader(project, settings)
    for key in ("environment", "gpu", "volumes", "ports", "args", "init"):
        if value := settings.value(key):
            reader.key = value
            for option in options.parse(settings.options(key), RUN):
                reader.read(option)
    if (network := settings.value("network")) and network.text:
        raise network.error(f"a job on AWS Batch cannot have it; {_ADVICE['network']}")
    properties = {
        "command": _command(settings),
        "environment": _environment(project, settings, reader),
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in reader.secrets.items()],
        "volumes": [{"name": f"volume{n}", **mount.volume()} for n, mount in enumerate(reader.mounts)],
        "mountPoints": [
            {"sourceVolume": f"volume{n}", "containerPath": mount.path, "readOnly": mount.read_only}
            for n, mount in enumerate(reader.mounts)
        ],
        **reader.properties,
    }
    if options.is_on(settings.options("init"), RUN, "init"):
        properties.setdefault("linuxParameters", {})["initProcessEnabled"] = True
    properties |= {name: _role(key, settings) for key, name in _ROLES.items()}
    needs = resources.read(given, settings, reader.amounts)
    return Section({name: value for name, value in properties.items() if value}, needs, reader.not_on_fargate)


def _command(settings: Settings) -> list[str]:
    words, value = settings.command("cmd"), settings.value("cmd")
    if value and "" in words:
        raise value.error("AWS Batch takes no empty argument; remove it")
    return words


class _Mount(NamedTuple):
    """A file system of EFS, or a path of the machine, at a path of the container."""

    source: str
    path: str
    read_only: bool
    directory: str = ""

    def volume(self) -> dict[str, Any]:
        """Return its entry in `volumes`."""
        if not re.fullmatch(_EFS, self.source):
            return {"host": {"sourcePath": self.source}}
        root = {"rootDirectory": f"/{self.directory.lstrip('/')}"} if self.directory else {}
        return {
            "efsVolumeConfiguration": {"fileSystemId": self.source, "transitEncryption": "ENABLED", **root},
        }


class _Reader:
    """Reads the options of docker run in the keys of a section, one key after the other."""

    key: Value

    def __init__(self, project: Project, settings: Settings) -> None:
        self._project = project
        self.properties: dict[str, Any] = {}
        self.variables: list[tuple[str, str, Value]] = []
        self.mounts: list[_Mount] = []
        self.amounts: dict[str, Amount] = {}
        self.not_on_fargate: list[str] = []
        self.secrets = _secrets(settings)
        # The options that a job can have.
        self._readers: Mapping[str, Callable[[str], None]] = {
            "cpus": partial(self._amount, "cpus"),
            "env": self._env,
            "gpus": partial(self._amount, "gpus"),
            "memory": partial(self._amount, "memory"),
            "mount": self._mount,
            "privileged": self._privileged,
            "read-only": self._read_only,
            "shm-size": self._shm_size,
            "ulimit": self._ulimit,
            "user": self._user,
            "volume": self._volume,
        }

    def read(self, option: Option) -> None:
        """Read one option; UserError if a job cannot have it."""
        for name in option.names:
            if name in _HARMLESS:
                continue
            if self.key.key == "gpu" and (name == "runtime" or _sets_gpus(name, option.value)):
                # These are for engines that have only the runtime of NVIDIA; AWS Batch takes the number.
                self.amounts.setdefault("gpus", resources.of_docker("gpus", resources.ALL, self.key.error))
            elif name in self._readers:
                self._readers[name](option.value or "")
            else:
                advice = _ADVICE.get(name, "remove it")
                raise self.key.error(f"{_spelled(name)} is not possible in a job on AWS Batch; {advice}")

    def _env(self, value: str) -> None:
        assigned = value.partition_assignment() if isinstance(value, Word) else None
        name, equals, text = value.partition("=")
        if assigned:
            name, text = assigned
        elif isinstance(value, Word) and equals:
            raise self.key.error(f"the name in -e {value.template} is a variable; write -e NAME=$VARIABLE")
        elif not equals:
            if name not in self._project.environ:
                return  # docker does not set it either
            text = Word(self._project.environ[name], f"${{{name}}}")
        self.variables.append((name, text, self.key))

    def _volume(self, value: str) -> None:
        source, colon, rest = value.partition(":")
        path, _, mode = rest.partition(":")
        if not colon:
            source, path = "", value
        self._add(_Mount(source, path, "ro" in mode.split(",")))

    def _mount(self, value: str) -> None:
        fields = options.fields(value)
        kind = fields.get("type", "volume")
        source = fields.get("source", fields.get("src", ""))
        path = fields.get("target", fields.get("destination", fields.get("dst", "")))
        if kind not in ("bind", "volume") or not path:
            raise self.key.error(f"--mount {value} is not possible in a job on AWS Batch; {_NOT_THERE}")
        read_only = fields.get("readonly", fields.get("ro", "false")) in ("", "1", "true")
        self._add(_Mount(source, path, read_only, fields.get("volume-subpath", "")))

    def _add(self, mount: _Mount) -> None:
        """Add a mount if Batch supports it."""
        source = mount.source
        if source.startswith("/"):
            for directory, whose in ((self._project.root, "this project"), (os.path.expanduser("~"), "your home")):
                if f"{os.path.normpath(source)}/".startswith(f"{directory}/"):
                    raise self.key.error(f"the machines of AWS Batch do not have {source} of {whose}; {_NOT_THERE}")
            fault = f"Fargate cannot mount host paths such as {source}; use a queue on EC2, or EFS"
            self.not_on_fargate.append(self.key.describe(fault))
        elif not re.fullmatch(_EFS, source):
            what = f"the volume {source}" if source else f"a volume for {mount.path}"
            what = f"{source} of this project" if source.startswith(".") else what
            raise self.key.error(f"the machines of AWS Batch do not have {what}; {_NOT_THERE}")
        self.mounts.append(mount)

    def _amount(self, name: str, value: str) -> None:
        self.amounts[name] = resources.of_docker(name, value, self.key.error)

    def _user(self, value: str) -> None:
        self.properties["user"] = value

    def _read_only(self, value: str) -> None:
        self.properties["readonlyRootFilesystem"] = value not in options.FALSE

    def _privileged(self, value: str) -> None:
        if value not in options.FALSE:
            self._only_on_ec2("--privileged")
            self.properties["privileged"] = True

    def _shm_size(self, value: str) -> None:
        self._only_on_ec2("--shm-size")
        size = resources.of_size(value, self.key.error)
        self.properties.setdefault("linuxParameters", {})["sharedMemorySize"] = int(size.number)

    def _ulimit(self, value: str) -> None:
        self._only_on_ec2("--ulimit")
        limit = re.fullmatch(r"(\w+)=(\d+)(?::(\d+))?", value)
        if not limit:
            raise self.key.error(f"--ulimit {value} is not NAME=SOFT[:HARD]; correct it")
        soft, hard = int(limit[2]), int(limit[3] or limit[2])
        self.properties.setdefault("ulimits", []).append({"name": limit[1], "softLimit": soft, "hardLimit": hard})

    def _only_on_ec2(self, option: str) -> None:
        self.not_on_fargate.append(self.key.describe(f"Fargate has no {option}; use a queue on EC2, or remove it"))


def _sets_gpus(name: str, value: str | None) -> bool:
    return name == "env" and (value or "").startswith("NVIDIA_")


def _role(key: str, settings: Settings) -> str:
    """Return the role that a key names, by its ARN or its name; an empty string for none."""
    value, role = settings.value(key), settings.word(key)
    if value and role and not re.fullmatch(_ROLE, role, re.ASCII):
        raise value.error(f"{role!r} is not a role; write its ARN, such as arn:aws:iam::123456789012:role/NAME")
    return role


def _secrets(settings: Settings) -> dict[str, str]:
    """Return the ARNs in batch_secrets, by the names of their variables."""
    found = {}
    value = settings.value("batch_secrets")
    for word in settings.tags("batch_secrets", {}):
        name, _, arn = word.partition("=")
        if not re.fullmatch(_NAME, name) or not re.fullmatch(_ARN, arn):
            assert value
            name = name if re.fullmatch(_NAME, name) else "NAME"
            # The word itself is not shown: it can be the secret.
            advice = f"write {name}=arn:aws:secretsmanager:REGION:ACCOUNT:secret:SECRET"
            raise value.error(f"not NAME=ARN, with the full ARN of a secret; {advice}")
        found[name] = arn
    return found


# Each of them reads one of the keys that only jobs have; UserError has its place. For `dockerutils check`.
READERS: tuple[Callable[[Settings], object], ...] = (
    *(partial(resources.of_key, name) for name in resources.NAMES),
    *(partial(_role, key) for key in _ROLES),
    _secrets,
)


def _environment(project: Project, settings: Settings, reader: _Reader) -> list[dict[str, str]]:
    """Return the variables of a section, without those that are in batch_secrets."""
    from dockerutils.project.check import dockerfiles  # late, for -h: it brings the reader of Dockerfiles along

    section = settings.value("env")
    named = project.variables(section) if section else {}
    values = [*((name, value, section) for name, value in named.items() if section), *reader.variables]
    found: dict[str, str] = {}
    for name, value, place in values:
        if name in reader.secrets:
            continue
        if name.startswith(RESERVED):
            raise place.error(f"{name} is reserved: AWS Batch sets {RESERVED}...; use another name")
        used = [text for is_name, text in shell_words.parts(value) if is_name]
        if secret := next(filter(dockerfiles.is_secret, [name, *used]), ""):
            raise place.error(
                f"AWS shows the variables of a job, and {secret} looks like a secret; keep it in AWS Secrets Manager "
                f"and write batch_secrets = {name}=ARN"
            )
        found[name] = value
    return [{"name": name, "value": value} for name, value in found.items() if value]


def _spelled(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"
