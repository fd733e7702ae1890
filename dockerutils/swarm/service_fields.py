"""The fields that the options of `docker service create` set in a service, and how to read the values of options.

The description: https://docs.docker.com/reference/api/engine/, ServiceSpec.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dockerutils.docker import options, sizes

Spec = Mapping[str, Any]


def at(spec: Spec, path: str) -> Any:
    """Return the value at a path in a description, None if there is none."""
    value: Any = spec
    for name in path.split("."):
        value = (value or {}).get(name)
    return value


_SECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class Scalar(NamedTuple):
    """An option that is given once: its place in the spec, how its text is converted, and which value unsets it."""

    path: str
    read: Callable[[str], Any] = str
    unset: str = ""


def duration(text: str) -> int:
    """Return the nanoseconds of a duration in Go's notation, such as 1m30s."""
    found = re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", text)
    return sum(round(float(number) * _SECONDS[unit]) for number, unit in found)


def _bytes(text: str) -> int:
    """Return the bytes of a size such as 512m, -1 for another text."""
    size = sizes.parse(text)
    return -1 if size is None else int(size)


def count(text: str) -> int:
    """Return a whole number, -1 for another text."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else -1


def _nano(text: str) -> int:
    return round(_ratio(text) * 10**9)


def _ratio(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _shell_command(text: str) -> list[str]:
    return ["CMD-SHELL", text] if text else []


def _boolean(text: str) -> bool:
    return text not in options.FALSE


CONTAINER, RESOURCES = "TaskTemplate.ContainerSpec.", "TaskTemplate.Resources."
HEALTH, _RESTART = f"{CONTAINER}Healthcheck.", "TaskTemplate.RestartPolicy."
SCALARS = {
    "user": Scalar(f"{CONTAINER}User"),
    "workdir": Scalar(f"{CONTAINER}Dir"),
    "hostname": Scalar(f"{CONTAINER}Hostname"),
    "entrypoint": Scalar(f"{CONTAINER}Command", shlex.split),
    "stop-signal": Scalar(f"{CONTAINER}StopSignal"),
    "stop-grace-period": Scalar(f"{CONTAINER}StopGracePeriod", duration, "10s"),
    "oom-score-adj": Scalar(f"{CONTAINER}OomScoreAdj", count, "0"),
    "init": Scalar(f"{CONTAINER}Init", _boolean, "false"),
    "read-only": Scalar(f"{CONTAINER}ReadOnly", _boolean, "false"),
    "tty": Scalar(f"{CONTAINER}TTY", _boolean, "false"),
    "health-cmd": Scalar(f"{HEALTH}Test", _shell_command),
    "health-interval": Scalar(f"{HEALTH}Interval", duration, "0s"),
    "health-timeout": Scalar(f"{HEALTH}Timeout", duration, "0s"),
    "health-retries": Scalar(f"{HEALTH}Retries", count, "0"),
    "health-start-period": Scalar(f"{HEALTH}StartPeriod", duration, "0s"),
    "health-start-interval": Scalar(f"{HEALTH}StartInterval", duration, "0s"),
    "limit-cpu": Scalar(f"{RESOURCES}Limits.NanoCPUs", _nano, "0"),
    "limit-memory": Scalar(f"{RESOURCES}Limits.MemoryBytes", _bytes, "0"),
    "limit-pids": Scalar(f"{RESOURCES}Limits.Pids", count, "0"),
    "reserve-cpu": Scalar(f"{RESOURCES}Reservations.NanoCPUs", _nano, "0"),
    "reserve-memory": Scalar(f"{RESOURCES}Reservations.MemoryBytes", _bytes, "0"),
    "restart-condition": Scalar(f"{_RESTART}Condition", str, "any"),
    "restart-delay": Scalar(f"{_RESTART}Delay", duration, "5s"),
    "restart-max-attempts": Scalar(f"{_RESTART}MaxAttempts", count, "0"),
    "restart-window": Scalar(f"{_RESTART}Window", duration, "0s"),
    "replicas-max-per-node": Scalar("TaskTemplate.Placement.MaxReplicas", count, "0"),
    "endpoint-mode": Scalar("EndpointSpec.Mode", str, "vip"),
    **{
        f"{prefix}-{name}": Scalar(f"{prefix.title()}Config.{place}", read, unset)
        for prefix in ("update", "rollback")
        for name, place, read, unset in (
            ("delay", "Delay", duration, "0s"),
            ("failure-action", "FailureAction", str, "pause"),
            ("max-failure-ratio", "MaxFailureRatio", _ratio, "0"),
            ("monitor", "Monitor", duration, "5s"),
            ("order", "Order", str, "stop-first"),
            ("parallelism", "Parallelism", count, "1"),
        )
    },
}


class Item(NamedTuple):
    """An item of an option that lists several: its key for docker, its content, and the text that removes it."""

    key: str
    content: object
    removal: str


def plain(text: str, content: object = None) -> Item:
    """Return an item whose key is its text."""
    return Item(text, content, text)


def assignment(text: str) -> Item:
    """Read NAME=VALUE."""
    name, _, value = text.partition("=")
    return plain(name, value)


def _constraint(text: str) -> Item:
    return Item("".join(text.split()), None, text)


def _source(text: str) -> Item:
    return plain(options.fields(text).get("source", text))


def _ulimit(text: str) -> Item:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    return plain(name, (count(soft), count(hard or soft)))


def _host(text: str) -> Item:
    name, _, address = text.replace("=", ":", 1).partition(":")
    return plain(f"{name}:{address.strip('[]')}")


def mount(text: str) -> Item:
    """Read the value of --mount; its content is that of the spec if all of its fields are known here."""
    entry: dict[str, Any] = {"Type": "volume"}
    for name, value in options.fields(text.replace('"', "")).items():
        path, read = _MOUNT_FIELDS.get(name, (name, str))
        group, _, last = path.rpartition(".")
        (entry.setdefault(group, {}) if group else entry)[last] = read(value)
    return plain(str(entry.get("Target", "")).rstrip("/"), filled(entry))


def filled(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a description without empty values, which some engines leave out."""
    found = {name: filled(value) if isinstance(value, Mapping) else value for name, value in entry.items()}
    return {name: value for name, value in found.items() if value}


_MOUNT_FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "type": ("Type", str),
    **dict.fromkeys(("source", "src"), ("Source", str)),
    **dict.fromkeys(("target", "dst", "destination"), ("Target", str)),
    **dict.fromkeys(("readonly", "ro"), ("ReadOnly", lambda text: text in {"", "1", "true"})),
    "tmpfs-size": ("TmpfsOptions.SizeBytes", _bytes),
    "tmpfs-mode": ("TmpfsOptions.Mode", lambda text: int(text, 8) if re.fullmatch("[0-7]+", text) else -1),
    "bind-propagation": ("BindOptions.Propagation", str),
    "volume-nocopy": ("VolumeOptions.NoCopy", lambda text: text in {"", "1", "true"}),
}


class List(NamedTuple):
    """A repeatable option: its place in the spec, how its values there become texts, and how a text is read."""

    path: str
    texts: Callable[[Any], Iterable[str]] = list
    read: Callable[[str], Item] = plain


def _assignments(found: Mapping[str, str]) -> Iterator[str]:
    return (f"{name}={value}" for name, value in found.items())


LISTS = {
    "container-label": List(f"{CONTAINER}Labels", _assignments, assignment),
    "label": List("Labels", _assignments, assignment),
    "sysctl": List(f"{CONTAINER}Sysctls", _assignments, assignment),
    "dns": List(f"{CONTAINER}DNSConfig.Nameservers"),
    "dns-option": List(f"{CONTAINER}DNSConfig.Options"),
    "dns-search": List(f"{CONTAINER}DNSConfig.Search"),
    "group": List(f"{CONTAINER}Groups"),
    "constraint": List("TaskTemplate.Placement.Constraints", list, _constraint),
    "placement-pref": List(
        "TaskTemplate.Placement.Preferences",
        lambda found: [f"spread={each['Spread']['SpreadDescriptor']}" for each in found],
    ),
    "host": List(
        f"{CONTAINER}Hosts", lambda found: [":".join(reversed(each.split(maxsplit=1))) for each in found], _host
    ),
    "ulimit": List(
        f"{CONTAINER}Ulimits",
        lambda found: [f"{each['Name']}={each['Soft']}:{each['Hard']}" for each in found],
        _ulimit,
    ),
    "generic-resource": List(
        f"{RESOURCES}Reservations.GenericResources",
        lambda found: [f"{kind['Kind']}={kind['Value']}" for each in found for kind in each.values()],
        assignment,
    ),
    "secret": List(f"{CONTAINER}Secrets", lambda found: [each["SecretName"] for each in found], _source),
    "config": List(f"{CONTAINER}Configs", lambda found: [each["ConfigName"] for each in found], _source),
}
