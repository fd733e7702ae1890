"""The options of `docker service create`, and those of `docker run` as options of a service.

https://docs.docker.com/reference/cli/docker/service/create/ has the options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dockerutils.core import shell_words
from dockerutils.core.errors import UserError
from dockerutils.docker import options, ports
from dockerutils.docker.options import RUN, SERVICE, Option
from dockerutils.project.config import Settings
from dockerutils.project.ini import Value

GPU = "NVIDIA-GPU"  # the generic resource that a node with GPUs offers

Refuse = Callable[[Option, str], UserError]

_SAME = """
    cap-add cap-drop dns dns-search health-cmd health-interval health-retries health-start-interval
    health-start-period health-timeout hostname log-driver log-opt oom-score-adj stop-signal sysctl ulimit user workdir
    mount network init no-healthcheck read-only
""".split()
_RENAMED = {
    "add-host": "host", "dns-opt": "dns-option", "dns-option": "dns-option", "group-add": "group",
    "label": "container-label", "cpus": "limit-cpu", "memory": "limit-memory", "memory-reservation": "reserve-memory",
    "pids-limit": "limit-pids", "net": "network",
}  # fmt: skip
# These are about the client, or about one container: they make no difference to a service.
_DROPPED = set("attach detach detach-keys disable-content-trust interactive name pull quiet rm sig-proxy tty".split())
_ADVICE = {
    "env-file": "write the variables in a section, and name it with the key env",
    "label-file": "write --label NAME=VALUE",
    "privileged": "name what it needs: --cap-add",
    "publish-all": "name each port: -p PORT:PORT",
    "runtime": "set the default runtime of the nodes, in /etc/docker/daemon.json",
    "shm-size": "write a size such as 1g",
}
_ARCHITECTURES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}  # as nodes report them
_CONDITIONS = {"no": "none", "on-failure": "on-failure", "always": "any", "unless-stopped": "any"}
_PROPAGATIONS = {"shared", "slave", "private", "rshared", "rslave", "rprivate"}
_WITHOUT_EFFECT = {"", "rw", "cached", "consistent", "delegated"}
_TMPFS = {"size": "tmpfs-size", "mode": "tmpfs-mode"}


def from_run(words: Iterable[str], refuse: Refuse) -> list[Option]:
    """Translate options of `docker run` into options of `docker service create`.

    `refuse` makes the error for an option that services do not support, from the option and what to do.
    """
    given = options.parse([*words], RUN)
    if not any(each.names == ("log-driver",) for each in given):
        for each in given:
            if each.names == ("log-opt",):
                raise refuse(each, "name its driver too, such as --log-driver json-file")
    return [made for each in given for made in _translated(each, refuse)]


def of_section(settings: Settings) -> list[Option]:
    """Return the options of the key `service`; UserError for those that docker does not have or run-image sets."""
    value = settings.value("service")
    given = options.parse(settings.options("service"), SERVICE)
    for each in given:
        for name in each.names or each.words[:1]:
            if name not in SERVICE.valued | SERVICE.switches:
                near = dict(options.unknown(each.words, SERVICE)).get(f"--{name}")
                advice = "remove it; docker service create --help lists the options"
                raise fault(value, each, f"did you mean {near}?" if near else advice)
    return [made for each in given for made in _separate(each)]


def fault(value: Value | None, each: Option, advice: str) -> UserError:
    """Return the error for an option that services do not support: its `value`, and what to do."""
    message = f"{shell_words.render(each.words)} is not possible for a service; {advice}"
    return value.error(message) if value else UserError(message)


def option(name: str, value: str | None = None) -> Option:
    """Return a long option."""
    return Option((name,), value, (f"--{name}",) if value is None else (f"--{name}", value))


def _separate(given: Option) -> Iterator[Option]:
    """Yield each switch of a cluster such as -it, and the long form of other options."""
    if len(given.names) > 1:
        yield from map(option, given.names)
    elif given.value in options.FALSE and given.names[0] in SERVICE.switches:
        return
    else:
        yield option(given.names[0], None if given.names[0] in SERVICE.switches else given.value)


def _translated(given: Option, refuse: Refuse) -> Iterator[Option]:
    """Yield the options of a service for an option of `docker run`."""
    [name, *others] = given.names or (given.words[0],)
    if others:
        for each in given.names:
            yield from _translated(Option((each,), None, (f"--{each}",)), refuse)
    elif name in _DROPPED or (given.value in options.FALSE and name in RUN.switches):
        return
    elif name == "env":
        yield given
    elif name in _SAME or name in _RENAMED:
        yield option(_RENAMED.get(name, name), None if name in RUN.switches else given.value)
    elif name in _SPECIAL and given.value is not None:
        try:
            yield from _SPECIAL[name](given.value)
        except ValueError as error:
            raise refuse(given, str(error)) from None
    else:
        raise refuse(given, _ADVICE.get(name, "remove it, or run the image without --replicas"))


def _volume(value: str) -> Iterator[Option]:
    """Read the value of `-v`: https://docs.docker.com/reference/cli/docker/container/run/#volume."""
    parts = shell_words.divide(value, ":")
    if len(parts) == 1:
        yield _mount("volume", {"target": value})
        return
    source, target, modes, *more = [*parts, ""] if len(parts) == 2 else parts  # noqa: PLR2004 - SOURCE:TARGET
    if more:
        raise ValueError("write it as --mount type=bind,source=PATH,target=PATH")
    fields: dict[str, str] = {"source": source, "target": target}
    for mode in modes.split(","):
        if mode == "ro":
            fields["readonly"] = ""
        elif mode == "nocopy":
            fields["volume-nocopy"] = ""
        elif mode in _PROPAGATIONS:
            fields["bind-propagation"] = mode
        elif mode not in _WITHOUT_EFFECT:
            raise ValueError(f"leave out {mode}, which services do not support")
    yield _mount("bind" if source.startswith("/") else "volume", fields)


def _tmpfs(value: str) -> Iterator[Option]:
    target, *more = shell_words.divide(value, ":")
    fields = {"target": target}
    for name, _, text in (each.partition("=") for each in ",".join(more).split(",") if each != "rw"):
        if name and name not in _TMPFS:
            raise ValueError(f"leave out {name}, which services do not support")
        fields |= {_TMPFS[name]: text} if name else {}
    yield _mount("tmpfs", fields)


def _shared_memory(value: str) -> Iterator[Option]:
    yield _mount("tmpfs", {"target": "/dev/shm", "tmpfs-size": value})  # noqa: S108 - in the container


def _mount(kind: str, fields: dict[str, str]) -> Option:
    """Return `--mount` in the form of a line of CSV."""
    parts = [f"type={kind}"]
    for name, value in fields.items():
        is_quoted = "," in value or '"' in value
        literal = value.replace('"', '""') if is_quoted and not isinstance(value, shell_words.Word) else value
        quote = '"' if is_quoted else ""
        parts += [",", quote, name, *(("=", literal) if value else ()), quote]
    return option("mount", shell_words.concatenate(parts))


def _publish(value: str) -> Iterator[Option]:
    if ports.read(value).address:
        raise ValueError("leave out the address: a service publishes its ports on all addresses of its nodes")
    yield option("publish", value)


def _gpus(value: str) -> Iterator[Option]:
    count = value.removeprefix("count=")
    if not (count.isascii() and count.isdecimal() and int(count)):
        raise ValueError("write how many GPUs each replica gets, such as --gpus 1")
    yield option("generic-resource", f"{GPU}={count}")


def _restart(value: str) -> Iterator[Option]:
    policy, _, attempts = value.partition(":")
    if policy not in _CONDITIONS:
        raise ValueError(f"write one of {', '.join(_CONDITIONS)}")
    yield option("restart-condition", _CONDITIONS[policy])
    if attempts:
        yield option("restart-max-attempts", attempts)


def _stop_timeout(value: str) -> Iterator[Option]:
    yield option("stop-grace-period", f"{value}s")


def _platform(value: str) -> Iterator[Option]:
    architecture = _ARCHITECTURES.get(value)
    if architecture is None:
        raise ValueError("remove it, and choose nodes with the key service: --constraint node.platform.arch==NAME")
    yield option("constraint", f"node.platform.arch=={architecture}")


def _entrypoint(value: str) -> Iterator[Option]:
    # A service splits the value into words as a shell does; docker run takes it as one program.
    yield option("entrypoint", value if isinstance(value, shell_words.Word) else shell_words.quote(value))


_SPECIAL: dict[str, Callable[[str], Iterator[Option]]] = {
    "volume": _volume,
    "tmpfs": _tmpfs,
    "shm-size": _shared_memory,
    "publish": _publish,
    "gpus": _gpus,
    "restart": _restart,
    "stop-timeout": _stop_timeout,
    "platform": _platform,
    "entrypoint": _entrypoint,
}
