"""Docks as ssh knows them: their stanzas and the keys of their hosts.

`~/.docker/dock_ssh_config` has a stanza for each dock (its keys: man 5 ssh_config), and one line at the top of
`~/.ssh/config` includes it. So ssh, docker, rsync and git know a dock as `dock-<moniker>`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress

from dockerutils.core import files
from dockerutils.docks import records
from dockerutils.docks.records import Dock

INCLUDE = "Include ~/.docker/dock_ssh_config"
SSH_FAILED = 255  # ssh's own status, when it is not that of what it ran

_STANZAS = "dock_ssh_config"
_HEADER = "# Made by dockerutils of the records beside it: register-dock and unregister-dock write it anew.\n"
# A path of a socket ends before that many bytes, and ssh makes it under a longer name first: 17 characters more.
_LONGEST_SOCKET = (104 if sys.platform == "darwin" else 108) - 1 - 17


def tell(docks: list[Dock], home: str) -> None:
    """Make ssh know these docks, and no others."""
    _include(home, wanted=bool(docks))
    if docks:
        files.write(_stanzas(home), render(docks, home), mode=0o600)
    else:
        with suppress(FileNotFoundError):
            os.unlink(_stanzas(home))


def is_told(docks: Iterable[Dock], home: str) -> bool:
    """Tell whether ssh knows these docks, and no others."""
    return text_of(_stanzas(home)) == render(docks, home) and _is_included(text_of(_ssh_config(home)) or "")


def render(docks: Iterable[Dock], home: str) -> str:
    """Return the file of ssh's with a stanza for each dock."""
    return _HEADER + "".join(f"\n{stanza(dock, home)}" for dock in sorted(docks) if not dock.is_incomplete)


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
        f"UserKnownHostsFile ~/.docker/{_literal(dock.address)}/known_hosts",
        "StrictHostKeyChecking accept-new",
        *(["ControlMaster auto", f"ControlPath ~/.docker/{_socket(dock)}"] if socket(dock, home) else []),
        "ControlPersist 10m",
        "ConnectTimeout 10",
        "ServerAliveInterval 5",
        "ServerAliveCountMax 3",
    ]


def login(dock: Dock, home: str, command: str, seconds: int) -> list[str]:
    """Return the words that run a line of shell on a dock over a connection of its own, which asks nothing.

    The dock need not be registered: all that its stanza would say stands there. `seconds` is how long it may take to
    connect.
    """
    own = ["ControlMaster no", "ControlPath none", "BatchMode yes", f"ConnectTimeout {seconds}"]
    options = [word for line in [*own, *_settings(dock, home)] for word in ("-o", line)]
    return ["ssh", *options, dock.host, "--", command]


def socket(dock: Dock, home: str) -> str | None:
    """Return the path of the shared connection's socket; None if ssh cannot share it, because the path is too long."""
    path = os.path.join(home, ".docker", _socket(dock))
    return path if len(os.fsencode(path)) <= _LONGEST_SOCKET else None


def know_keys(dock: Dock, keys: Iterable[str], home: str) -> None:
    """Note the keys of a dock's host, each as `ssh-ed25519 AAAA…`: from then on no other is taken."""
    path = known_hosts(dock, home)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    files.write(path, "".join(f"{_alias(dock)} {key}\n" for key in keys), mode=0o600)


def known_hosts(dock: Dock, home: str) -> str:
    """Return the path of the file with the keys of a dock's host."""
    return records.known_hosts(dock.address, home)


def _alias(dock: Dock) -> str:
    return dock.instance_id or dock.moniker


def _socket(dock: Dock) -> str:
    """Return the name of the shared connection's socket: another one for another place, and no longer for any."""
    import zlib

    place = "\0".join([dock.moniker, dock.user, dock.ip, str(dock.port), dock.identity or ""])
    return f"dock-{zlib.crc32(place.encode()):08x}"


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _include(home: str, *, wanted: bool) -> None:
    """Put our line at the top of the user's file, or take it away; all else in it stays as it is, byte for byte.

    It counts wherever it stands: whoever has moved it had a reason.
    """
    path = _ssh_config(home)
    text = text_of(path)
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


def text_of(path: str) -> str | None:
    """Return a file's text, whatever bytes and line ends it has; None when there is no file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
