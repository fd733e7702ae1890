"""Published ports: the values of `--publish`, as `docker run` and `docker service create` read them.

The short form is `[[ADDRESS:]PORTS:]PORTS[/PROTOCOL]`, the long one `published=[ADDRESS:]PORTS,target=PORTS` with
`protocol` and `mode`: https://docs.docker.com/reference/cli/docker/container/run/#publish and
https://docs.docker.com/reference/cli/docker/service/create/#publish. `docker run` ignores the mode.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dockerutils.docker import options

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


class Published(NamedTuple):
    """A value of `--publish`: an address and ports of the host, ports of the container, the protocol and the mode.

    The ports are as written: a number or a range. Those of the host are empty if the engine chooses them.
    """

    address: str
    host: str
    container: str
    protocol: str = "tcp"
    mode: str = "ingress"


def read(value: str) -> Published:
    """Return what a value of `--publish` says, in either form."""
    if "=" not in value:
        ports, _, protocol = value.partition("/")
        outside, _, container = ports.rpartition(":")
        return Published(*_host(outside), container, protocol.lower() or "tcp")
    fields = options.fields(value)
    protocol = fields.get("protocol", "").lower() or "tcp"
    return Published(
        *_host(fields.get("published", "")), fields.get("target", ""), protocol, fields.get("mode", "ingress").lower()
    )


def numbers(ports: str) -> range:
    """Return the numbers of `80` or `80-82`; none for another text."""
    found = _PORTS.fullmatch(ports)
    return range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)


def _host(text: str) -> tuple[str, str]:
    """Split `[ADDRESS:]PORTS`; port 0 is the engine's choice."""
    address, _, ports = text.rpartition(":")
    return address.strip("[]"), "" if numbers(ports) == range(1) else ports
