"""The difference between a service and its section, as options of `docker service update`.

An option that changes nothing has no effect. So where the two cannot be compared, the option is given.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from dockerutils.core.errors import UserError
from dockerutils.docker import options, ports
from dockerutils.docker.options import SERVICE, Option, Table
from dockerutils.swarm import service_fields as fields
from dockerutils.swarm.service_fields import Item, Spec, at
from dockerutils.swarm.service_options import option

_STAYS = {"health-start-interval"}  # docker has no way to unset it
_NONE = ["NONE"]  # the health check of a service with --no-healthcheck

_ADDED = {f"{name.partition(',')[0]}-{what}" for name in options.LISTED.split() for what in ("add", "rm")}
UPDATE = Table("service update", SERVICE.valued | _ADDED | {"args"}, SERVICE.switches, {})


class Wanted(NamedTuple):
    """A service: its options as `docker service create` takes them, its command, and its networks' ids by name."""

    options: Sequence[Option]
    command: Sequence[str]
    networks: Mapping[str, str]
    environ: Mapping[str, str]

    def values(self, name: str) -> list[str]:
        """Return the values of an option."""
        return [each.value for each in self.options if each.names == (name,) and each.value is not None]


def changes(spec: Spec, wanted: Wanted) -> list[str]:
    """Return the options of `docker service update` for everything that differs, except image and replicas."""
    found = [*_scalars(spec, wanted), *_lists(spec, wanted), *_log(spec, wanted)]
    if [*wanted.command] != (at(spec, f"{fields.CONTAINER}Args") or []):
        found += ["--args", " ".join(map(shlex.quote, wanted.command))]
    return found


def _scalars(spec: Spec, wanted: Wanted) -> Iterator[str]:
    given = {each.names[0]: each.value for each in wanted.options if each.names[0] in fields.SCALARS}
    has_none = any(each.names == ("no-healthcheck",) for each in wanted.options)
    if has_none and at(spec, f"{fields.HEALTH}Test") != _NONE:
        yield "--no-healthcheck"
    for name, scalar in fields.SCALARS.items():
        if (has_none and name.startswith("health-")) or (name in _STAYS and name not in given):
            continue
        text = "true" if name in SERVICE.switches and name in given else given.get(name) or scalar.unset
        if (scalar.read(text) or None) != (at(spec, scalar.path) or scalar.read(scalar.unset) or None):
            yield from [f"--{name}={text}"] if name in SERVICE.switches else option(name, text).words


def _lists(spec: Spec, wanted: Wanted) -> Iterator[str]:
    """Yield the options that add and remove values of repeatable options."""
    for name, each in fields.LISTS.items():
        current = [each.read(text) for text in each.texts(at(spec, each.path) or {})]
        yield from _difference(name, current, [(value, each.read(value)) for value in wanted.values(name)])
    yield from _difference("env", map(fields.assignment, at(spec, f"{fields.CONTAINER}Env") or ()), _variables(wanted))
    mounts = [
        fields.plain(each["Target"].rstrip("/"), fields.filled(each))
        for each in at(spec, f"{fields.CONTAINER}Mounts") or ()
    ]
    yield from _difference("mount", mounts, [(value, fields.mount(value)) for value in wanted.values("mount")])
    names = {identifier: name for name, identifier in wanted.networks.items()}
    joined = [each["Target"] for each in at(spec, "TaskTemplate.Networks") or ()]
    networks = [(value, fields.plain(options.fields(value).get("name", value))) for value in wanted.values("network")]
    yield from _difference("network", [fields.plain(names.get(each, each)) for each in joined], networks)
    yield from _ports(spec, wanted)
    yield from _capabilities(spec, wanted)


def _difference(name: str, current: Iterable[Item], wanted: Sequence[tuple[str, Item]]) -> Iterator[str]:
    there = {each.key: each for each in current}
    last = {item.key: (value, item) for value, item in wanted}
    for key, item in there.items():
        if key not in last:
            yield from option(f"{name}-rm", item.removal).words
    for key, (value, item) in last.items():
        if key not in there or there[key].content != item.content:
            yield from option(f"{name}-add", value).words


def _variables(wanted: Wanted) -> list[tuple[str, Item]]:
    """Return the variables. One without a value gets it from our environment, if it is set there."""
    found = []
    for value in wanted.values("env"):
        name, equals, _ = value.partition("=")
        if equals:
            found.append((value, fields.assignment(value)))
        elif name in wanted.environ:
            found.append((value, fields.plain(name, wanted.environ[name])))
    return found


def _ports(spec: Spec, wanted: Wanted) -> Iterator[str]:
    """Yield the changes of published ports: update knows one by target, protocol and mode."""
    there: dict[tuple[int, str, str], set[int]] = {}
    for each in at(spec, "EndpointSpec.Ports") or ():
        key = (each["TargetPort"], each.get("Protocol", "tcp"), each.get("PublishMode", "ingress"))
        there.setdefault(key, set()).add(each.get("PublishedPort", 0))
    given: dict[tuple[int, str, str], set[int]] = {}
    values = [(value, [*_published(value)]) for value in wanted.values("publish")]
    for key, port in (each for _, found in values for each in found):
        given.setdefault(key, set()).add(port)
    for key, published in there.items():
        if published - given.get(key, set()):
            yield from option("publish-rm", "mode={2},target={0},protocol={1}".format(*key)).words
    for value, found in values:
        if not found or any(port not in there.get(key, set()) for key, port in found):
            yield from option("publish-add", value).words


def _published(value: str) -> Iterator[tuple[tuple[int, str, str], int]]:
    """Yield the target, protocol and mode, and the published port, 0 if docker chooses it, of each port in a value.

    Several ports of the nodes can lead to one port of the containers.
    """
    given = ports.read(value)
    targets, published = ports.numbers(given.container), ports.numbers(given.host)
    is_pairwise = len(targets) > 1 and len(published) > 0
    pairs = zip(targets, published, strict=False) if is_pairwise else product(targets, published or [0])
    for target, port in pairs:
        yield (target, given.protocol, given.mode), port


def _capabilities(spec: Spec, wanted: Wanted) -> Iterator[str]:
    """Yield the changes of capabilities: dropping one that was added removes the addition, and the reverse."""
    for name, place, opposite in (("cap-add", "CapabilityAdd", "cap-drop"), ("cap-drop", "CapabilityDrop", "cap-add")):
        there = [*(at(spec, fields.CONTAINER + place) or ())]
        given = [_capability(each) for each in wanted.values(name)]
        for each in there:
            if each not in given:
                yield from option(opposite, each).words
        for each in given:
            if each not in there:
                yield from option(name, each).words


def _capability(name: str) -> str:
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


def _log(spec: Spec, wanted: Wanted) -> Iterator[str]:
    """Yield the log driver with its options, which update replaces together."""
    there = at(spec, "TaskTemplate.LogDriver") or {}
    driver = "".join(wanted.values("log-driver")[-1:])
    given = dict(each.partition("=")[::2] for each in wanted.values("log-opt"))
    if (driver, given) == (there.get("Name", ""), there.get("Options") or {}):
        return
    if not driver:
        raise UserError(
            f"docker cannot unset the log driver {there['Name']} of a running service; keep it, or remove the service "
            "first, with --replicas 0"
        )
    yield from option("log-driver", driver).words
    for value in wanted.values("log-opt"):
        yield from option("log-opt", value).words
