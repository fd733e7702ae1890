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

# The keywords of ssh_config(5) that a dock can have beside those of its stanza: how to reach it and how to log in.
# OpenSSH 7.6 knows all of them: ssh refuses a file with an unknown keyword, whatever the host.
SETTINGS = (
    *(
        "ProxyJump",
        "ProxyCommand",
        "ProxyUseFdpass",
        "AddressFamily",
        "BindAddress",
        "IPQoS",
        "Compression",
        "RekeyLimit",
    ),
    *("IdentityFile", "CertificateFile", "IdentitiesOnly", "IdentityAgent", "PKCS11Provider", "AddKeysToAgent"),
    *("ForwardAgent", "PreferredAuthentications", "PubkeyAuthentication", "PasswordAuthentication"),
    *("KbdInteractiveAuthentication", "HostbasedAuthentication", "GSSAPIAuthentication", "GSSAPIDelegateCredentials"),
    *("RekeyLimit", "Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms", "PubkeyAcceptedKeyTypes"),
)

_RECORD, _KNOWN_HOSTS = "connection_config.txt", "known_hosts"
# How the names of files beside the record begin: those of sync_record, and the markers of run-notebook.
_STATE = ("sync-", "notebook-")
_SETTING = "DOCK_SSH_OPTION"  # a line for each of the settings
_LARGEST = 64 * 1024  # characters of a record that are read


class Dock(NamedTuple):
    """A host to dock to. `address` is the name of its record's directory; `ip` is what ssh connects to.

    `account` is the number of the AWS account of its instance; `run` tags everything that create-dock made for it.
    `settings` are further lines of its ssh stanza, such as `ProxyJump bastion`; SETTINGS has their keywords.
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
    settings: tuple[str, ...] = ()

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
        """The lines of its record, by name; without its settings."""
        fields = {name: value for name, value in self._asdict().items() if name not in {"address", "settings"}}
        named = {f"DOCK_{name.upper()}": value for name, value in fields.items()}
        return {name: str(value) for name, value in named.items() if value is not None}


class Destination(NamedTuple):
    """A host as the user names it, `[user@]host[:port]`; an IPv6 address has no brackets here."""

    host: str
    user: str | None = None
    port: str | None = None


def parse_destination(text: str) -> Destination | None:
    """Read `[user@]host[:port]`, also with `ssh://` before it; None for anything else."""
    user, at, place = text.removeprefix("ssh://").removesuffix("/").rpartition("@")
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::(.*))?", place)
    host, port = bracketed.groups() if bracketed else (place, None)
    if place.count(":") == 1 and not bracketed:
        host, _, port = place.partition(":")
    faults = (fault_in_address(host), fault_in_user(user) if at else "", "" if port is None else fault_in_port(port))
    return None if any(faults) or user.endswith("@") else Destination(host, user if at else None, port)


def fault_in_address(text: str) -> str:
    """Return what is wrong with the address of a dock, "" for a host name or an IP address."""
    if _is_address(text):
        return ""
    return f"{text!r} is not an address; use a host name or IP address"


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


def fault_in_setting(text: str) -> str:
    """Return what is wrong with a line of an ssh stanza, "" for one of SETTINGS with a value, such as `ProxyJump x`."""
    keyword, _, value = text.partition(" ")
    if keyword in SETTINGS and value.strip() and text.isprintable():
        return ""
    return f"{text!r} is not a setting of a dock; use one of {', '.join(SETTINGS)}, and its value"


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


def fault_in_word(text: str) -> str:
    """Return what is wrong with an id or name of AWS, "" for a valid one."""
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
    "DOCK_INSTANCE_ID": fault_in_word,
    "DOCK_REGION": fault_in_word,
    "DOCK_PROVISIONED_PRODUCT": fault_in_word,
    "DOCK_ACCOUNT": fault_in_word,
    "DOCK_RUN": fault_in_word,
    _SETTING: fault_in_setting,
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
        pairs = list(_values(stream.read(_LARGEST).split("\n"), file))
    values = dict(pairs)
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
        settings=tuple(value for name, value in pairs if name == _SETTING),
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
    lines = [*dock.variables.items(), *((_SETTING, setting) for setting in dock.settings)]
    text = "".join(f"{name}={value}\n" for name, value in lines)
    files.write(path(dock.address, home), text, mode=0o600)


def move_state(old: str, new: str, home: str) -> None:
    """Move what syncs and notebooks remember of a dock from the directory of an address to that of another one."""
    for name in _state(old, home):
        os.replace(os.path.join(home, ".docker", old, name), os.path.join(home, ".docker", new, name))


def _state(address: str, home: str) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return [name for name in os.listdir(os.path.join(home, ".docker", address)) if name.startswith(_STATE)]
    return []


def remove(address: str, home: str) -> None:
    """Remove the record at an address, the keys of its host, and what syncs and notebooks remember of it."""
    directory = os.path.dirname(path(address, home))
    for name in (_RECORD, _KNOWN_HOSTS, *_state(address, home)):
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
