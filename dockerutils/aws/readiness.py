"""Waiting for a new or restarted dock: its host keys, then ssh, then docker."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Sequence

from dockerutils.aws import session_manager
from dockerutils.aws.ec2 import Ec2
from dockerutils.core import complaints, console, process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Captured
from dockerutils.docker import gpus
from dockerutils.docks import remote, ssh_config
from dockerutils.docks.records import Dock

# Seconds: the limit of an attempt to connect; how long to wait for host keys when sshd answers already; and when
# nothing answers, because the dock can be reached through another host only.
_CONNECT, KEYS_AFTER, KEYS_AT_ALL = 5, 60.0, 180.0
TICK = 1.0
SSH_PORT = 22


def host_keys(ec2: Ec2, instance: str, address: str | None, deadline: float) -> list[str]:
    """Return the host keys that an instance writes to its console, as `ssh-ed25519 AAAA…`, or none.

    `address` is where sshd can answer, if this machine can connect to it.
    """
    began, answered = time.monotonic(), 0.0
    while True:
        if keys := keys_on(ec2.console(instance)):
            return keys
        now = time.monotonic()
        if not answered and address and _answers(address):
            answered = now
        if now > min(deadline, began + KEYS_AT_ALL, answered + KEYS_AFTER if answered else deadline):
            return []
        time.sleep(TICK)


def keys_on(text: str) -> list[str]:
    """Return the keys in the last block that cloud-init wrote to the console."""
    blocks = re.findall(r"BEGIN SSH HOST KEY KEYS-+(.*?)-+END SSH HOST KEY KEYS", text, re.DOTALL)
    return re.findall(r"((?:ssh|ecdsa)-[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+=*)", blocks[-1]) if blocks else []


def await_docker(
    docks: Sequence[Dock], home: str, deadline: float, show: Callable[[str], None], *, sudo: bool
) -> list[str]:
    """Wait until docker answers over ssh on each dock; return for each why it does not, nothing if it does.

    Each attempt is a new login, because a login sees the groups from its start. With `sudo`, docker as root counts.
    """
    # Asked again, for its status and stderr.
    script = f'{remote.find_docker()}; {"$sudo " if sudo else ""}"${{docker:-docker}}" version >/dev/null'
    command = f"sh -c {shlex.quote(script)}"  # a user's shell can be another one
    probes = [ssh_config.login_argv(dock, home, command, _CONNECT) for dock in docks]

    show("waiting for ssh")
    answers = process.capture_within(probes, max(0.0, deadline - time.monotonic()), lambda answer: again(answer, show))
    return [reason(dock, answer) for dock, answer in zip(docks, answers, strict=True)]


def await_gpus(dock: Dock, home: str, seconds: float, show: Callable[[str], None]) -> str:
    """Wait until docker on a dock, where it answers already, lists NVIDIA GPUs; return why it does not, or nothing."""
    script = f"{remote.find_docker()}; $sudo \"${{docker:-docker}}\" info --format '{{{{json .}}}}'"
    probe = ssh_config.login_argv(dock, home, f"sh -c {shlex.quote(script)}", _CONNECT)
    show("docker answers; waiting until it lists the GPUs")
    [answer] = process.capture_within([probe], max(0.0, seconds), lambda answer: not lists_gpus(answer))
    if answer and lists_gpus(answer):
        return ""
    return f"docker on {dock.moniker} does not list its GPUs; {gpus.REMEDY}"


def lists_gpus(answer: Captured) -> bool:
    """Return whether docker, by the end of its `docker info`, can give GPUs to containers."""
    import json  # late: only docks with GPUs need it

    try:
        return gpus.has_nvidia(json.loads(answer.stdout.splitlines()[-1]))
    except (ValueError, IndexError, AttributeError, TypeError):  # no engine answers
        return False


def again(answer: Captured, show: Callable[[str], None]) -> bool:
    """Return whether to ask a dock again, and show the progress; a changed host key is final."""
    if answer.status == 0 or complaints.changed_host_key(answer.stderr):
        return False
    show("waiting for ssh" if answer.status == ssh_config.SSH_FAILED else "ssh answers; waiting for docker")
    return True


def reason(dock: Dock, answer: Captured | None) -> str:
    """Return why docker does not answer on a dock, nothing if it does; `answer` is None if ssh did not end in time."""
    if answer and answer.status == 0:
        return ""
    if answer and complaints.changed_host_key(answer.stderr):
        return complaints.changed_host_key(answer.stderr)
    late = f"{dock.moniker} did not answer in time"
    if session_manager.is_used_by(dock) and (answer is None or answer.status == ssh_config.SSH_FAILED):
        why = remote.of(dock).explain(answer.stderr) if answer else "no answer through Session Manager"
        return f"{late}: {why}; allow more time with -t"
    if answer is None:
        return f"{late}: no answer from ssh to {dock.ip}; check that its network admits port {dock.port or 22}"
    output = " ".join(answer.stderr.split()) or "no message"
    if answer.status == ssh_config.SSH_FAILED:
        return f"{late}: ssh: {output}; check that its network admits this machine, or allow more time with -t"
    return f"{late}: docker on the dock: {output}; allow more time with -t"


def _answers(address: str) -> bool:
    import socket  # late, for -h

    try:
        with socket.create_connection((address, SSH_PORT), _CONNECT):
            return True
    except OSError:
        return False


def warn_unverified(command: str, dock: Dock) -> None:
    """Warn that the first connection cannot be verified."""
    message = f"AWS did not return the host keys of {dock.moniker}; the keys of the first connection are trusted"
    console.warn(command, message)


def failure(reasons: Sequence[str]) -> DockerutilsError | None:
    """Return the first reason as an error, None if all are empty."""
    return next((DockerutilsError(reason) for reason in reasons if reason), None)
