"""What the user's ssh configuration says of a host, as `ssh -G` prints it, and what of that a dock must have itself.

To ssh, a dock is a host of its own, `dock-<moniker>`. The user's settings for the name of the real host do not apply to
it, and ssh cannot include them by that name. So those that differ from what the dock would get are copied. Settings for
all hosts are not copied: the user can change them later. See ssh(1) and ssh_config(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import CommandFailed, UserError
from dockerutils.core.process import Captured
from dockerutils.docks import records, ssh_config
from dockerutils.docks.records import Destination

Values = Mapping[str, Sequence[str]]  # those of each keyword, in lower case

_PORT = 22
# Newer versions of ssh print these keywords by other names, and read both.
_NEWER = {"pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms"}
_LISTS = {"Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms", "PubkeyAcceptedKeyTypes"}
_PATHS = {"IdentityFile", "CertificateFile", "IdentityAgent", "PKCS11Provider"}
_WITH_TOKENS = {"ProxyCommand", *_PATHS}
_OWN_KEY = {"IdentityFile", "IdentitiesOnly"}
_ROUTES = {"ProxyJump", "ProxyCommand"}


class Login(NamedTuple):
    """How ssh logs in to a host: its real name, the user, the port if it is not 22, and further lines for a stanza.

    `alias` is the name that the user's known_hosts have its keys under if that is set, `known_hosts` are these files as
    ssh takes them. `strict`: the user's ssh accepts no unknown key.
    """

    hostname: str
    user: str
    port: int | None
    settings: tuple[str, ...]
    alias: str
    known_hosts: str
    global_known_hosts: str
    strict: bool

    @property
    def name(self) -> str:
        """The name of the host in the user's known_hosts."""
        return self.alias or (f"[{self.hostname}]:{self.port}" if self.port not in {None, _PORT} else self.hostname)


def ask(host: Destination, dock_host: str, identity: str | None, default_user: str | None) -> Login:
    """Ask ssh how it logs in to a host that becomes the dock `dock_host`.

    `default_user` takes the place of the name of this machine's user, if neither `host` nor the configuration names
    one. CommandFailed if ssh does not accept the configuration.
    """
    given = [
        *(["-l", host.user] if host.user else []),
        *(["-p", host.port] if host.port else []),
        *(["-i", identity] if identity else []),
    ]
    found, defaults = (_values(each) for each in process.capture_all([_argv(*given, host.host), _none(host.host)]))
    user = host.user or _user(host, found, defaults, default_user)
    hostname = found["hostname"][0]
    # The dock under a name that has no stanza yet. Settings can depend on the address and the user (Match).
    there = ["-o", f"HostName={hostname.replace('%', '%%')}", "-l", user]
    [other] = map(_values, process.capture_all([_argv(*there, f"{dock_host}-new")]))
    port = int(found["port"][0])
    is_usual = port == _PORT == int(other["port"][0])
    return Login(
        hostname,
        user,
        None if is_usual else port,
        tuple(_settings(host.host, found, other, defaults, _OWN_KEY if identity else set())),
        next(iter(found.get("hostkeyalias", ())), ""),
        found["userknownhostsfile"][0],
        found["globalknownhostsfile"][0],
        found["stricthostkeychecking"][0] in {"yes", "true"},
    )


def known_keys(login: Login) -> list[str]:
    """Return the keys that the user's known_hosts have for a host, each as `ssh-ed25519 AAAA…`."""
    files = [*login.known_hosts.split(), *login.global_known_hosts.split()]
    argvs = [["ssh-keygen", "-F", login.name, "-f", each] for each in files if os.path.isfile(each)]
    found = "".join(answer.stdout for answer in process.capture_all(argvs))
    return list(dict.fromkeys(ssh_config.keys_in(found)))


def _argv(*words: str) -> list[str]:
    return ["ssh", "-G", *words]


def _none(host: str) -> list[str]:
    """Return the command that asks for the values of ssh itself."""
    return _argv("-F", "none", host)


def _values(answer: Captured) -> Values:
    if answer.status:
        lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
        problem = next((line for line in lines if " line " in line), lines[-1] if lines else "no message")
        raise CommandFailed(answer.status, f"ssh rejects its configuration: {problem}; correct it")
    values: dict[str, list[str]] = {}
    for keyword, _, value in (line.partition(" ") for line in answer.stdout.split("\n")):
        values.setdefault(keyword.lower(), []).append(value)
    return values


def _user(host: Destination, found: Values, defaults: Values, default: str | None) -> str:
    """Return the user that the configuration names, else the default one, else that of this machine."""
    user = found["user"][0]
    if default is None or user != defaults["user"][0]:
        return user
    # The configuration can name this machine's user, or nobody. A last line tells: the first value applies.
    last = f"Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\nMatch all\nUser {default}\n"
    port = ["-p", host.port] if host.port else []
    return _values(process.capture(_argv("-F", "/dev/stdin", *port, host.host), stdin=last))["user"][0]


def _settings(host: str, found: Values, other: Values, defaults: Values, without: set[str]) -> list[str]:
    """Return the lines that give a dock what `found` has and `other` does not."""
    lines = []
    for keyword in records.SETTINGS:
        wanted, present = _of(keyword, found), _of(keyword, other)
        if wanted != present and keyword not in without:
            lines += [f"{keyword} {_rendered(keyword, each, host, found, defaults)}" for each in wanted]
    if _has_route(other) and not _has_route(found):
        lines.append("ProxyCommand none")
    for line in lines:
        if fault := records.fault_in_setting(line):
            raise UserError(f"{host} in your ssh configuration: {fault}")
    return lines


def _has_route(values: Values) -> bool:
    return any(keyword.lower() in values for keyword in _ROUTES)


def _of(keyword: str, values: Values) -> Sequence[str]:
    name = keyword.lower()
    return values.get(_NEWER.get(name, name)) or values.get(name) or ()


def _rendered(keyword: str, value: str, host: str, found: Values, defaults: Values) -> str:
    """Return a value as a stanza has it."""
    if keyword in _LISTS:
        return relative(value, next(iter(_of(keyword, defaults)), ""))
    if keyword in _WITH_TOKENS:
        # Here the names are those of the host, there they would be those of the dock.
        names = {"%n": host, "%k": next(iter(found.get("hostkeyalias", ())), host)}
        value = re.sub("%.", lambda match: names.get(match[0], match[0]), value)
    if keyword in _PATHS:
        if '"' in value:
            raise UserError(f"{host} in your ssh configuration: {value!r} has quotes; rename the file")
        return f'"{value}"'
    return value


def relative(wanted: str, default: str) -> str:
    """Return a list of algorithms as a change to the default one, if it is one: other versions have other defaults."""
    new, old = wanted.split(","), default.split(",")
    added, removed = [each for each in new if each not in old], [each for each in old if each not in new]
    if not removed and new == [*old, *added]:
        return f"+{','.join(added)}" if added else wanted
    if not added and len(removed) < len(new) and new == [each for each in old if each in new]:
        return f"-{','.join(removed)}"
    first = next((n for n in range(len(new)) if new[n:] == [each for each in old if each not in new[:n]]), 0)
    return f"^{','.join(new[:first])}" if first else wanted
