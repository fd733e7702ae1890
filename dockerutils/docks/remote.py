"""Hosts reached over ssh: how they are named, the ssh command that leads to one, and what ssh's refusals mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.errors import UserError
from dockerutils.docks import inventory, records, ssh_config
from dockerutils.docks.records import Dock

_DESTINATION = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@/]+)@)?(?P<host>\[[^\]]+\]|[^:/\[\]]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)"
    r"(?::(?P<port>\d+))?/?"
)
# ssh's own status, when it is not that of what it ran.
# An answer of a host that does not come in this time, in seconds, does not come.
_PATIENCE = 15


class Destination(NamedTuple):
    """A host: its name as the user wrote it, the ssh command that leads to it, and options to share a connection."""

    name: str
    options: tuple[str, ...]
    host: str
    sharing: tuple[str, ...] = ()
    dock: Dock | None = None

    def shown(self, command: str) -> list[str]:
        """Return the words that run `command`, a line for the host's shell, as a user would write them."""
        return ["ssh", *self.options, self.host, command]

    def argv(self, command: str) -> list[str]:
        """Return the words that run `command` over the shared connection."""
        return ["ssh", *self.sharing, *self.options, self.host, command]

    def farewell(self) -> list[str]:
        """Return the words that end the shared connection."""
        return ["ssh", *self.sharing, "-O", "exit", *self.options, self.host]


def destination(name: str, environ: Mapping[str, str], home: str, *, sockets: str, ask: bool) -> Destination:
    """Return the host that `name` means: a dock's moniker or address, or `[user@]host[:port]`.

    UserError when it can be none of these. SSH_KEY in `environ` is the identity file. The connection is shared through
    a socket in the directory `sockets`, a dock's as its stanza has it; `ask`: ssh may ask for a passphrase, say.
    """
    key = environ.get("SSH_KEY")
    if key and not os.path.isfile(key):
        raise UserError(f"SSH_KEY: there is no file {key}; set it to a private key, or unset it")
    options = ["-i", os.path.abspath(key)] if key else []
    asking = () if ask else ("-o", "BatchMode=yes")
    if dock := inventory.lookup(name, home):
        return Destination(name, tuple(options), dock.host, asking, dock)
    match = _DESTINATION.fullmatch(name)
    user, host = (match["user"], match["host"].strip("[]")) if match else (None, "")
    fault = records.fault_in_address(host) or (records.fault_in_user(user) if user else "")
    fault = fault or (records.fault_in_port(match["port"]) if match and match["port"] else "")
    if fault or not match:
        raise UserError(f"{name!r} is no destination; write the moniker of a dock, or [user@]host[:port]")
    if match["port"]:
        options += ["-p", match["port"]]
    shared = ("ControlMaster=auto", f"ControlPath={sockets}/%C", "ControlPersist=60", f"ConnectTimeout={_PATIENCE}")
    sharing = [word for option in shared for word in ("-o", option)]
    return Destination(name, tuple(options), f"{user}@{host}" if user else host, (*asking, *sharing))


def explain(where: Destination, stderr: str) -> str:
    """Return what ssh's refusal means: what is wrong; what to do."""
    if where.dock:
        return ssh_config.explain(where.dock, stderr)
    remedy = next((remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, stderr)), _SEE)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = next((line for line in lines if re.search("|".join(_REMEDIES), line)), lines[-1] if lines else "nothing")
    line = shell_words.render(["ssh", *where.options, where.host])
    return f"{where.name}: ssh said: {said.removeprefix('ssh: ').strip('@ .')}; {remedy.format(line=line)}"


_SEE = "see what this says: {line}"
_REMEDIES = {
    r"IDENTIFICATION HAS CHANGED": "if the host was set up anew, remove its old key as ssh says: {line}",
    r"Host key verification failed|key is known for": "compare its host key and accept it, once, with: {line}",
    r"Permission denied|Too many auth": "set SSH_KEY to the key that the host knows, or name the user: USER@HOST",
    r"Could not resolve|service not known": "correct the name, or register it as a dock",
    r"refused|timed out|No route|unreachable": "see whether the host runs, and sshd there: {line}",
    r"Connection .*(?:closed|reset)|Broken pipe|mux_client": "the connection was cut; run the command again",
}
