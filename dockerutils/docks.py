"""Docks: hosts with a Docker Engine, reached over ssh. Their records, and the ssh stanzas made of these.

A record is `~/.docker/<address>/connection_config.txt`, lines of `DOCK_…=value`, and the only truth. What ssh reads is
made of all the records: `~/.docker/dock_ssh_config`, a stanza for each dock (its keys: man 5 ssh_config), which one
line at the top of `~/.ssh/config` includes. So ssh, docker, rsync and git know a dock as `dock-<moniker>`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

from dockerutils import console, files, words
from dockerutils.errors import UserError

INCLUDE = "Include ~/.docker/dock_ssh_config"
DEFAULT_USER = "ubuntu"

# What `source dock` changes, and castoff puts back. A variable that was set before is kept under its name with BEFORE
# in front of it: the sourced script has the same names.
CHANGED = (
    *("DOCKER_HOST", "DOCKER_IP", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
    *("DOCK_MONIKER", "DOCK_ADDRESS", "DOCK_USER", "DOCK_HOSTNAME", "DOCK_IP", "DOCK_PORT", "DOCK_IDENTITY"),
    *("DOCK_INSTANCE_ID", "DOCK_REGION", "DOCK_PROVISIONED_PRODUCT"),
)
BEFORE = "DOCKERUTILS_BEFORE_"

_RECORD, _KNOWN_HOSTS, _STANZAS, _LOCK = "connection_config.txt", "known_hosts", "dock_ssh_config", "dock.lock"
SSH_FAILED = 255  # ssh's own status, when it is not that of what it ran

_HEADER = "# Made by dockerutils of the records beside it: register-dock and unregister-dock write it anew.\n"
_LARGEST = 64 * 1024  # bytes of a record that are read
# A path of a socket ends before that many bytes, and ssh makes it under a longer name first: 17 characters more.
_LONGEST_SOCKET = (104 if sys.platform == "darwin" else 108) - 1 - 17


class Dock(NamedTuple):
    """A host to dock to. `address` is the name of its record's directory; `ip` is what ssh connects to."""

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

    @property
    def host(self) -> str:
        """The name of its stanza: the host that ssh, rsync and git are told."""
        return f"dock-{self.moniker}"

    @property
    def docker_host(self) -> str:
        """Its engine, as DOCKER_HOST has it."""
        return f"ssh://{self.host}"

    @property
    def variables(self) -> dict[str, str]:
        """The lines of its record, by name."""
        named = {f"DOCK_{field.upper()}": value for field, value in self._asdict().items() if field != "address"}
        return {name: str(value) for name, value in named.items() if value is not None}


def known(home: str) -> list[Dock]:
    """Return the docks registered in a home directory, by moniker; a record that is no good draws a warning."""
    docks, faults = _survey(home)
    for fault in faults:
        console.warn("dock", fault)
    return docks


def find(name: str, home: str) -> Dock:
    """Return the dock with that moniker or address, known to ssh; UserError has the known ones when there is none."""
    docks = known(home)
    if dock := _chosen(name, docks, home):
        return dock
    raise UserError(f"{name!r} is no dock; {_those(docks)}")


def lookup(name: str, home: str) -> Dock | None:
    """Return the dock with that moniker or address, known to ssh, None when there is none."""
    return _chosen(name, known(home), home)


def choose(name: str | None, environ: Mapping[str, str], home: str) -> Dock:
    """Return the dock called `name`, for None the one that the shell is docked to; UserError if there is none such."""
    if name is None and not environ.get("DOCK_MONIKER"):
        raise UserError(f"this shell is not docked; name a dock, or run: source dock NAME; {_those(known(home))}")
    return find(environ["DOCK_MONIKER"] if name is None else name, home)


def undocked(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as it was before `source dock`; a copy of it when the shell is not docked."""
    if not environ.get("DOCK_MONIKER"):
        return dict(environ)
    of_now = {*CHANGED, *(BEFORE + name for name in CHANGED)}
    kept = {name: value for name, value in environ.items() if name not in of_now}
    return kept | {name: environ[BEFORE + name] for name in CHANGED if BEFORE + name in environ}


def docked(dock: Dock) -> dict[str, str]:
    """Return the variables of CHANGED that are set in a shell that is docked to `dock`."""
    return {
        "DOCKER_HOST": dock.docker_host,
        "DOCKER_IP": dock.ip,
        "DOCK_ADDRESS": dock.address,
        **dock.variables,
    }


def fault_in_address(text: str) -> str:
    """Return what is wrong with the address of a dock, nothing when it is a host's name or an IP address."""
    if _is_address(text):
        return ""
    return f"{text!r} is no address; write a host's name or IP address, its user with -u and its port with -P"


def fault_in_moniker(text: str) -> str:
    """Return what is wrong with a moniker, nothing when ssh, docker and a shell's prompt take it as it stands."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", text):
        return ""
    return f"{text!r} is no moniker; use up to 100 letters, digits, '_', '.', '+' and '-', a letter or digit first"


def fault_in_user(text: str) -> str:
    """Return what is wrong with the name of a user, nothing when ssh takes it."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}", text):
        return ""
    return f"{text!r} is no user; use letters, digits, '_', '.', '@', '+' and '-', a letter, digit or '_' first"


def fault_in_port(text: str) -> str:
    """Return what is wrong with a port, nothing when it is a number that ports have."""
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 1 << 16:
        return ""
    return f"{text!r} is no port; use a number from 1 to 65535"


def fault_in_identity(text: str) -> str:
    """Return what is wrong with the path of a private key, nothing when it can stand in a stanza."""
    if text.startswith("/") and text.isprintable() and not set(text) & set('"\\$'):
        return ""
    return f"{text!r} is no path of a key; use an absolute one without quotes, backslashes and dollar signs"


def moniker_of(address: str) -> str:
    """Return the moniker of a dock that is given none: its address, as far as a moniker can be one."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", address).strip("-_.+")[:100] or "dock"


def clash(dock: Dock, docks: Iterable[Dock]) -> str:
    """Return why `dock` cannot be registered beside the others, nothing when it can; one of its address it replaces."""
    for other in docks:
        if other.address != dock.address and {dock.moniker, dock.address} & {other.moniker, other.address}:
            return (
                f"{dock.moniker!r} means {other.moniker} at {other.address} already; choose another moniker, "
                f"or run: unregister-dock {other.moniker}"
            )
    return ""


def register(dock: Dock, home: str) -> None:
    """Write the record of a dock, in the place of one of the same address, and make ssh know it.

    UserError when another dock has its moniker; OSError when a file cannot be written.
    """
    with _locked(home):
        others = [other for other in _survey(home)[0] if other.address != dock.address]
        if fault := clash(dock, others):
            raise UserError(fault)
        os.makedirs(os.path.dirname(_record(dock.address, home)), 0o700, exist_ok=True)
        # Without the record a stanza is of no consequence; the other way round a dock would be there that ssh lacks.
        _tell_ssh([*others, dock], home)
        _write(dock, home)


def change(old: Dock, new: Dock, home: str) -> None:
    """Write what has changed of a dock, its address included; the keys of its host stay known. OSError as ever."""
    with _locked(home):
        keys = _text(known_hosts(old, home)) or ""
        others = [other for other in _survey(home)[0] if other.address not in {old.address, new.address}]
        _tell_ssh([*others, new], home)
        if keys:
            know_keys(new, re.findall(r"(?m)^[^\s#@]\S*\s+(\S.*)$", keys), home)
        _write(new, home)
        if old.address != new.address:
            _remove(old.address, home)


def vacate(address: str, home: str) -> None:
    """See that no record stands at an address that AWS has given to an instance just now.

    An instance that is stopped has none any more: the dock is kept under the instance's id. UserError for another one.
    """
    for dock in known(home):
        if dock.address == address:
            if not dock.instance_id or dock.instance_id == address:
                raise UserError(f"{dock.moniker} is registered at {address}; run: unregister-dock {dock.moniker}")
            change(dock, dock._replace(address=dock.instance_id), home)


def know_keys(dock: Dock, keys: Iterable[str], home: str) -> None:
    """Note the keys of a dock's host, each as `ssh-ed25519 AAAA…`: from then on no other is taken."""
    path = known_hosts(dock, home)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    files.write(path, "".join(f"{_alias(dock)} {key}\n" for key in keys), mode=0o600)


def known_hosts(dock: Dock, home: str) -> str:
    """Return the path of the file with the keys of a dock's host."""
    return os.path.join(os.path.dirname(_record(dock.address, home)), _KNOWN_HOSTS)


def login(dock: Dock, home: str, command: str, seconds: int) -> list[str]:
    """Return the words that run a line of shell on a dock over a connection of its own, which asks nothing.

    The dock need not be registered: all that its stanza would say stands there. `seconds` is how long it may take to
    connect.
    """
    own = ["ControlMaster no", "ControlPath none", "BatchMode yes", f"ConnectTimeout {seconds}"]
    options = [word for line in [*own, *_settings(dock, home)] for word in ("-o", line)]
    return ["ssh", *options, dock.host, "--", command]


def tell_ssh(docks: list[Dock], home: str) -> None:
    """See that ssh knows the docks that are known; those whose record an earlier version wrote have no stanza yet."""
    if docks and not _is_told(docks, home):
        with _locked(home):
            _tell_ssh(_survey(home)[0], home)


def unregister(address: str, home: str) -> None:
    """Remove the record of a dock, one that is no good too, and what ssh knows of it; OSError when that cannot be."""
    with _locked(home):
        _tell_ssh([other for other in _survey(home)[0] if other.address != address], home)
        _remove(address, home)


def address_of(name: str, docks: Iterable[Dock], home: str) -> str:
    """Return the address of the dock called `name`, or having that address though its record may be no good."""
    if found := _matching(name, docks):
        return found.address
    if name in _addresses(home):
        return name
    raise UserError(f"{name!r} is no dock; {_those(docks)}")


def explain(dock: Dock, stderr: str) -> str:
    """Return what ssh's refusal means: what is wrong; what to do."""
    if changed := changed_host_key(stderr):
        return changed
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = lines[-1] if lines else "nothing"
    if "Permission denied" in said:
        return f"{dock.user} is not let in at {dock.ip}; register it again with the user (-u) and key (-i) that are"
    return f"ssh said: {said}; see whether the host runs, and what ssh {dock.host} says"


def changed_host_key(stderr: str) -> str:
    """Return what to do when ssh tells that a host has another key than before, nothing when it does not tell that."""
    if "IDENTIFICATION HAS CHANGED" not in stderr:
        return ""
    host = re.search(r"(?i)host key for (\S+) has changed", stderr)
    file = re.search(r"Offending .*? key in (\S.*):\d+\s*$", stderr, re.MULTILINE)
    name, known_hosts = (host[1] if host else "HOST"), (file[1] if file else "~/.ssh/known_hosts")
    return (
        f"the host key of {name} has changed; if the machine was set up anew, run: "
        f"{words.render(['ssh-keygen', '-R', name, '-f', known_hosts])}; if not, somebody may stand between you and it"
    )


def render(docks: Iterable[Dock], home: str) -> str:
    """Return the file of ssh's with a stanza for each dock."""
    return _HEADER + "".join(f"\n{stanza(dock, home)}" for dock in sorted(docks))


def stanza(dock: Dock, home: str) -> str:
    """Return what ssh is to know of a dock.

    Its key is kept in a file of the dock's own, under a name that stays when its address changes, and is checked.
    What stands in double quotes may hold blanks; ~ is the home directory that ssh knows, `%%` a per cent sign.
    """
    return "\n    ".join([f"Host {dock.host}", *_settings(dock, home)]) + "\n"


def _settings(dock: Dock, home: str) -> list[str]:
    return [
        f"HostName {_literal(dock.ip)}",
        f"User {dock.user}",
        *([f"Port {dock.port}"] if dock.port else []),
        *([f'IdentityFile "{_literal(dock.identity)}"', "IdentitiesOnly yes"] if dock.identity else []),
        f"HostKeyAlias {_alias(dock)}",
        f"UserKnownHostsFile ~/.docker/{_literal(dock.address)}/{_KNOWN_HOSTS}",
        "StrictHostKeyChecking accept-new",
        *(["ControlMaster auto", f"ControlPath ~/.docker/{_socket(dock)}"] if shares(dock, home) else []),
        "ControlPersist 10m",
        "ConnectTimeout 10",
        "ServerAliveInterval 5",
        "ServerAliveCountMax 3",
    ]


def is_connected(dock: Dock, home: str) -> bool:
    """Tell whether there is a shared connection, though it may be a dead one."""
    return os.path.exists(os.path.join(home, ".docker", _socket(dock)))


def shares(dock: Dock, home: str) -> bool:
    """Tell whether ssh can share one connection: not if the path of its socket is too long in that home directory."""
    return len(os.fsencode(os.path.join(home, ".docker", _socket(dock)))) <= _LONGEST_SOCKET


def _alias(dock: Dock) -> str:
    return dock.instance_id or dock.moniker


def _socket(dock: Dock) -> str:
    """Return the name of the shared connection's socket: another one for another place, and no longer for any."""
    import zlib

    place = "\0".join([dock.moniker, dock.user, dock.ip, str(dock.port), dock.identity or ""])
    return f"dock-{zlib.crc32(place.encode()):08x}"


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _is_address(text: str) -> bool:
    if ":" in text:
        import socket

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
    return f"{text!r} is not valid; use letters, digits, '_', '.' and '-', a letter or digit first"


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
}
_LINE = re.compile(r"(?:(?:export|declare(?: -x)?) )?(\w+)=(.*)", re.ASCII)
_QUOTED = re.compile(r"""(["'])(.*)\1""")


def _read(address: str, home: str) -> Dock:
    """Read a record as data; UserError has the place of what is wrong in it.

    Earlier versions of the tool wrote user, moniker, host's name and IP address, in lines that bash could declare.
    """
    path = _record(address, home)
    if fault := fault_in_address(address):
        raise UserError(f"{path}: {fault}")
    with open(path, encoding="utf-8", errors="replace", newline="") as stream:
        values = dict(_values(stream.read(_LARGEST).split("\n"), path))
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
    )


def _values(lines: Iterable[str], path: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line that says something of a dock."""
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise UserError(f"{path}:{number}: {line!r} is no NAME=value; correct the line, or remove it")
        name, value = match[1], match[2]
        quoted = _QUOTED.fullmatch(value)
        value = quoted[2] if quoted else value
        check = _CHECKS.get(name)
        if check and value:
            if fault := check(value):
                raise UserError(f"{path}:{number}: {name}: {fault}")
            yield name, value


def _chosen(name: str, docks: list[Dock], home: str) -> Dock | None:
    found = _matching(name, docks)
    if found:
        tell_ssh(docks, home)
    return found


def _survey(home: str) -> tuple[list[Dock], list[str]]:
    """Return the docks by moniker, and what is wrong with the records that make none."""
    docks: dict[str, Dock] = {}
    faults = []
    for address in _addresses(home):
        try:
            dock = _read(address, home)
        except UserError as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{_record(address, home)}: {error.strerror}; mend its permissions")
        else:
            other = docks.setdefault(dock.moniker, dock)
            if other != dock:
                faults.append(
                    f"{_record(address, home)}: {dock.moniker!r} is the moniker of {other.address} already; "
                    f"give it another: register-dock {address} MONIKER"
                )
    return [docks[moniker] for moniker in sorted(docks)], faults


def _matching(name: str, docks: Iterable[Dock]) -> Dock | None:
    return next((dock for dock in docks if name in {dock.moniker, dock.address}), None)


def _those(docks: Iterable[Dock]) -> str:
    monikers = ", ".join(dock.moniker for dock in docks)
    return f"known: {monikers}" if monikers else "none is known yet; run: register-dock ADDRESS MONIKER"


def _addresses(home: str) -> list[str]:
    try:
        with os.scandir(os.path.join(home, ".docker")) as entries:
            return sorted(each.name for each in entries if os.path.isfile(os.path.join(each.path, _RECORD)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _record(address: str, home: str) -> str:
    return os.path.join(home, ".docker", address, _RECORD)


def _write(dock: Dock, home: str) -> None:
    os.makedirs(os.path.dirname(_record(dock.address, home)), 0o700, exist_ok=True)
    text = "".join(f"{name}={value}\n" for name, value in dock.variables.items())
    files.write(_record(dock.address, home), text, mode=0o600)


def _remove(address: str, home: str) -> None:
    directory = os.path.dirname(_record(address, home))
    for name in (_RECORD, _KNOWN_HOSTS):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))
    with suppress(OSError):  # it holds something else
        os.rmdir(directory)


def _is_told(docks: Iterable[Dock], home: str) -> bool:
    return _text(_stanzas(home)) == render(docks, home) and _is_included(_text(_ssh_config(home)) or "")


def _tell_ssh(docks: list[Dock], home: str) -> None:
    """Make ssh know these docks, and no others."""
    _include(home, wanted=bool(docks))
    if docks:
        files.write(_stanzas(home), render(docks, home), mode=0o600)
    else:
        with suppress(FileNotFoundError):
            os.unlink(_stanzas(home))


def _include(home: str, *, wanted: bool) -> None:
    """Put our line at the top of the user's file, or take it away; all else in it stays as it is, byte for byte.

    It counts wherever it stands: whoever has moved it had a reason.
    """
    path = _ssh_config(home)
    text = _text(path)
    if wanted == _is_included(text or ""):
        return
    if wanted:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        changed = f"{INCLUDE}\n{text or ''}"
    else:
        changed = re.sub(rf"(?m)^{re.escape(INCLUDE)}\r?\n?", "", text or "", count=1)
    if changed == "" and not os.path.islink(os.path.join(home, ".ssh", "config")):
        os.unlink(path)  # as it was before the first dock
    elif changed != text:
        before = os.stat(path) if text is not None else None
        files.write(path, changed, mode=before.st_mode & 0o7777 if before else 0o600, owner=before)


def _is_included(text: str) -> bool:
    return re.search(rf"(?m)^\s*{re.escape(INCLUDE)}\s*$", text) is not None


def _ssh_config(home: str) -> str:
    """Return the path of the file that ssh reads, where a symbolic link leads to."""
    return os.path.realpath(os.path.join(home, ".ssh", "config"))


def _stanzas(home: str) -> str:
    return os.path.join(home, ".docker", _STANZAS)


def _text(path: str) -> str | None:
    """Return a file's text, whatever bytes and line ends it has; None when there is no file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


@contextmanager
def _locked(home: str) -> Iterator[None]:
    """Let one process at a time change what stands here."""
    import fcntl

    directory = os.path.join(home, ".docker")
    os.makedirs(directory, 0o700, exist_ok=True)
    with open(os.path.join(directory, _LOCK), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
