"""What register-dock learns of a host when it first logs in there: its keys, and what docker has there."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from dockerutils.core import complaints, process, shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.docks import records, remote, ssh_config, user_ssh
from dockerutils.docks.records import Destination, Dock
from dockerutils.docks.user_ssh import Login

# Seconds: for an answer, and for one when ssh can ask the user.
_ANSWER, _PATIENT = 60.0, 300.0
_LONGEST = 300  # characters of an answer that are quoted

# A script for `sh`, behind a line `workspace=PATH`. docker info succeeds without an engine: it does not find docker.
_SURVEY = f"""\
echo has=shell
{remote.find_docker()}
if [ -n "$answer" ]; then printf 'info=%s\\n' "$($sudo "$docker" info -f '{{{{json .}}}}')"; fi
if command -v nvidia-smi >/dev/null; then nvidia-smi --query-gpu=name --format=csv,noheader | sed s/^/gpu=/; fi
while [ ! -e "$workspace" ]; do workspace=$(dirname "$workspace"); done 2>/dev/null
if [ -d "$workspace" ] && [ -w "$workspace" ]; then echo has=access; fi
"""
# The host itself has answered: it is up.
_IS_UP = r"IDENTIFICATION HAS CHANGED|Host key verification failed|Permission denied|authentication failures"


class Found(NamedTuple):
    """What a host has: its docker, or why it is not usable, a part of `docker info`, and the names of its GPUs.

    `keys` are the keys of the host, if the user's known_hosts or the host itself have supplied them.
    """

    docker: remote.Docker | None
    fault: str
    info: Mapping[str, Any]
    gpus: Sequence[str]
    is_writable: bool
    keys: Sequence[str]


class Request(NamedTuple):
    """A dock to register, how ssh logs in there, what the user has called it, and the dock that had its address."""

    dock: Dock
    login: Login
    named: Destination
    old: Dock | None


def request(named: Destination, moniker: str, identity: str | None, old: Dock | None, user: str | None) -> Request:
    """Return how to register a host; `old` is the dock at its address, `user` the value of DOCK_USER.

    UserError if the ssh configuration has values that a dock cannot have; CommandFailed if ssh rejects it.
    """
    default = user or (old.user if old and old.instance_id else None)
    if fault := records.fault_in_user(default) if default else "":
        raise UserError(fault)
    login = user_ssh.ask(named, f"dock-{moniker}", identity, default)
    if fault := records.fault_in_address(login.hostname) or records.fault_in_user(login.user):
        raise UserError(f"{named.host} in your ssh configuration: {fault}")
    dock = Dock(moniker, named.host, login.user, login.hostname, login.hostname, login.port, identity)
    dock = dock._replace(settings=login.settings)
    if old:
        product = old.provisioned_product
        dock = dock._replace(instance_id=old.instance_id, region=old.region, provisioned_product=product)
        dock = dock._replace(account=old.account, run=old.run)
    return Request(dock, login, named, old)


def connect(request: Request, workspace: str, home: str, *, ask: bool) -> Found:
    """Log in to a host that is not registered yet, as its stanza will, and look at it; `ask`: ssh can ask the user.

    The key of the host is checked against the keys of the dock that had its address, else against the user's own
    known_hosts; a new one is accepted, unless the user's ssh is strict. CommandFailed says why ssh failed.
    """
    import tempfile  # late, for -h

    with tempfile.TemporaryDirectory(prefix="dockerutils-") as directory:
        learned = os.path.join(directory, "known_hosts")
        other = {**_checked_keys(request, learned, home), **({"BatchMode": "no"} if ask else {})}
        argv = ssh_config.login_argv(request.dock, home, "sh -s", remote.CONNECT, other)
        script = f"workspace={shlex.quote(workspace)}\n{_SURVEY}"
        answer = process.capture(argv, stdin=script, seconds=_PATIENT if ask else _ANSWER)
        if answer.status in {ssh_config.SSH_FAILED, process.TIMED_OUT, process.TOO_LONG}:
            raise CommandFailed(answer.status, _explained(request, answer.stderr))
        if "has=shell" not in answer.stdout.split("\n"):
            said = (answer.stdout.strip() or answer.stderr.strip()).rpartition("\n")[2].strip(" .")[:_LONGEST]
            place = f"{request.dock.user} on {request.named.host}"
            raise CommandFailed(answer.status or 1, f"no shell runs for {place}: {said}; name another user (-u)")
        keys = ssh_config.keys_in(ssh_config.text_of(learned) or "")
    return _read(request, answer.stdout, keys or user_ssh.known_keys(request.login))


def _checked_keys(request: Request, learned: str, home: str) -> dict[str, str | None]:
    """Return the settings that decide which keys ssh accepts; it adds a new one to the file `learned`."""
    old, login = request.old, request.login
    if old and ssh_config.text_of(ssh_config.known_hosts(old, home)):
        known_hosts = f"~/.docker/{ssh_config.literal(old.address)}/known_hosts"
        return {"UserKnownHostsFile": known_hosts, "HostKeyAlias": ssh_config.alias(old)}
    known_hosts = "" if login.known_hosts == "none" else login.known_hosts  # ssh allows none on its own only
    return {
        "UserKnownHostsFile": f'"{ssh_config.literal(learned)}" {known_hosts}',
        "GlobalKnownHostsFile": login.global_known_hosts,
        "HostKeyAlias": login.alias or None,
        "StrictHostKeyChecking": "yes" if login.strict else "accept-new",
    }


def _explained(request: Request, stderr: str) -> str:
    """Return why ssh failed, and what to do."""
    named = request.named
    place = f"{named.user}@{named.host}" if named.user else named.host
    login = shell_words.render(["ssh", *(["-p", named.port] if named.port else []), place])
    text = complaints.explain_ssh(stderr, complaints.Host(named.host, login, is_dock=True))
    if re.search(_IS_UP, stderr):
        return text
    return f"{text}; to register it anyway, add --no-connect"


def _read(request: Request, output: str, keys: Sequence[str]) -> Found:
    """Read what the script has printed. It is not trusted."""
    import json  # late, for -h

    docker, fault = None, ""
    try:
        docker = remote.of(request.dock).docker_in(output)
    except DockerutilsError as error:
        fault = str(error)
    gpus = re.findall(r"(?m)^gpu=(.{1,100})$", output)
    info = {}
    with suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
        record = json.loads(re.findall(r"(?m)^info=(.*)", output)[-1])
        devices = [{"ID": str(each["ID"])} for each in record.get("DiscoveredDevices") or ()]
        named = {name: str(record[name]) for name in ("ServerVersion", "OSType", "Architecture")}
        info = {**named, "Runtimes": [*(record.get("Runtimes") or ())], "DiscoveredDevices": devices}
    return Found(docker, fault, info, gpus, "has=access" in output.split("\n"), keys)
