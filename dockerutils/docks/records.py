"""The record of a dock, `~/.docker/<address>/connection_config.txt`: lines `DOCK_…=value`, and which values are valid.

A record is read as data, never evaluated, and written whole or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from dockerutils.core import files
from dockerutils.core.errors import UserError

DEFAULT_USER = "ubuntu"

_RECORD, _KNOWN_HOSTS = "connection_config.txt", "known_hosts"
_LARGEST = 64 * 1024  # characters of a record that are read


class Dock(NamedTuple):
    """A host to dock to. `address` is the name of its record's directory; `ip` is what ssh connects to.

    `account` is the number of the AWS account of its instance; `run` tags everything that create-dock made for it.
    """

    moniker: str
    address: str
    user: str
    hostname: str
    ip: str
    port: int | None = None
    identity: str | None = None
    instance_id: str | None = None
    region: str | None = None
    provisioned_product: str | None = None
    account: str | None = None
    run: str | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether create-dock has not finished: resources in AWS can have its tag, but no address is known."""
        return self.run is not None and self.instance_id is None

    @property
    def host(self) -> str:
        """The name of its ssh stanza, for ssh, rsync and git."""
        return f"dock-{self.moniker}"

    @property
    def docker_host(self) -> str:
        """Its engine, as a value of DOCKER_HOST."""
        return f"ssh://{self.host}"

    @property
    def variables(self) -> dict[str, str]:
        """The lines of its record, by name."""
        named = {f"DOCK_{field.upper()}": value for field, value in self._asdict().items() if field != "address"}
        return {name: str(value) for name, value in named.items() if value is not None}


def fault_in_address(text: str) -> str:
    """Return what is wrong with the address of a dock, "" for a host name or an IP address."""
    if _is_address(text):
        return ""
    return f"{text!r} is not an address; use a host name or IP address, with the user in -u and the port in -P"


def fault_in_moniker(text: str) -> str:
    """Return what is wrong with a moniker, "" for one that ssh, docker and a prompt accept."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", text):
        return ""
    allowed = "up to 100 letters, digits, '_', '.', '+' and '-', starting with a letter or digit"
    return f"{text!r} is not a moniker; use {allowed}"


def fault_in_user(text: str) -> str:
    """Return what is wrong with a user name, "" for one that ssh accepts."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}", text):
        return ""
    allowed = "letters, digits, '_', '.', '@', '+' and '-', starting with a letter, digit or '_'"
    return f"{text!r} is not a user name; use {allowed}"


def fault_in_port(text: str) -> str:
    """Return what is wrong with a port, "" for a number from 1 to 65535."""
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 1 << 16:
        return ""
    return f"{text!r} is not a port; use a number from 1 to 65535"


def fault_in_identity(text: str) -> str:
    """Return what is wrong with the path of a private key, "" for one that an ssh stanza can contain."""
    if text.startswith("/") and text.isprintable() and not set(text) & set('"\\$'):
        return ""
    return f"{text!r} is not a key file; use an absolute path without quotes, backslashes and dollar signs"


def moniker_of(address: str) -> str:
    """Return the default moniker: the address, without the characters that a moniker cannot have."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", address).strip("-_.+")[:100] or "dock"


def _is_address(text: str) -> bool:
    if ":" in text:
        import socket  # late: only IPv6 addresses need it

        address, _, zone = text.partition("%")
        try:
            socket.inet_pton(socket.AF_INET6, address)
        except (OSError, ValueError):
            return False
        return zone == "" or re.fullmatch(r"[A-Za-z0-9_.-]+", zone) is not None
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", text) is not None


def _fault_in_word(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", text):
        return ""
    return f"{text!r} is not valid; use letters, digits, '_', '.' and '-', starting with a letter or digit"


_CHECKS: dict[str, Callable[[str], str]] = {
    "DOCK_MONIKER": fault_in_moniker,
    "DOCK_USER": fault_in_user,
    "DOCK_HOSTNAME": fault_in_address,
    "DOCK_IP": fault_in_address,
    "DOCK_PORT": fault_in_port,
    "DOCK_IDENTITY": fault_in_identity,
    "DOCK_INSTANCE_ID": _fault_in_word,
    "DOCK_REGION": _fault_in_word,
    "DOCK_PROVISIONED_PRODUCT": _fault_in_word,
    "DOCK_ACCOUNT": _fault_in_word,
    "DOCK_RUN": _fault_in_word,
}
_LINE = re.compile(r"(?:(?:export|declare(?: -x)?) )?(\w+)=(.*)", re.ASCII)
_QUOTED = re.compile(r"""(["'])(.*)\1""")


def read(address: str, home: str) -> Dock:
    """Read the record at an address; UserError names file and line of a fault.

    Earlier versions of the tool wrote user, moniker, host name and IP address, in lines for bash's `source`.
    """
    file = path(address, home)
    if fault := fault_in_address(address):
        raise UserError(f"{file}: {fault}")
    with open(file, encoding="utf-8", errors="replace", newline="") as stream:
        values = dict(_values(stream.read(_LARGEST).split("\n"), file))
    hostname = values.get("DOCK_HOSTNAME") or values.get("DOCK_IP") or address
    return Dock(
        moniker=values.get("DOCK_MONIKER") or moniker_of(address),
        address=address,
        user=values.get("DOCK_USER") or DEFAULT_USER,
        hostname=hostname,
        ip=values.get("DOCK_IP") or hostname,
        port=int(values["DOCK_PORT"]) if values.get("DOCK_PORT") else None,
        identity=values.get("DOCK_IDENTITY") or None,
        instance_id=values.get("DOCK_INSTANCE_ID") or None,
        region=values.get("DOCK_REGION") or None,
        provisioned_product=values.get("DOCK_PROVISIONED_PRODUCT") or None,
        account=values.get("DOCK_ACCOUNT") or None,
        run=values.get("DOCK_RUN") or None,
    )


def _values(lines: Iterable[str], file: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line about a dock."""
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise UserError(f"{file}:{number}: {line!r} is not NAME=value; correct or remove the line")
        name, value = match[1], match[2]
        quoted = _QUOTED.fullmatch(value)
        value = quoted[2] if quoted else value
        check = _CHECKS.get(name)
        if check and value:
            if fault := check(value):
                raise UserError(f"{file}:{number}: {name}: {fault}")
            yield name, value


def write(dock: Dock, home: str) -> None:
    """Write the record of a dock; OSError if that fails."""
    os.makedirs(os.path.dirname(path(dock.address, home)), 0o700, exist_ok=True)
    text = "".join(f"{name}={value}\n" for name, value in dock.variables.items())
    files.write(path(dock.address, home), text, mode=0o600)


def remove(address: str, home: str) -> None:
    """Remove the record at an address and the keys of its host."""
    directory = os.path.dirname(path(address, home))
    for name in (_RECORD, _KNOWN_HOSTS):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))
    with suppress(OSError):  # the directory has other files
        os.rmdir(directory)


def addresses(home: str) -> list[str]:
    """Return the addresses that have a record."""
    try:
        with os.scandir(os.path.join(home, ".docker")) as entries:
            return sorted(each.name for each in entries if os.path.isfile(os.path.join(each.path, _RECORD)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def path(address: str, home: str) -> str:
    """Return the path of the record at an address."""
    return os.path.join(home, ".docker", address, _RECORD)


def known_hosts(address: str, home: str) -> str:
    """Return the path of the file with the keys of the dock's host, beside the record."""
    return os.path.join(os.path.dirname(path(address, home)), _KNOWN_HOSTS)
