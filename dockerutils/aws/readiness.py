"""Docks that come up: their host keys, and the time until ssh and docker answer."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Sequence

from dockerutils.aws.ec2 import Ec2
from dockerutils.core import complaints, console, process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Captured
from dockerutils.docks import remote, ssh_config
from dockerutils.docks.records import Dock

# Seconds that an attempt to connect may take, and that host keys are waited for when sshd answers already, or when
# nothing answers at all: it may be reached by way of another host only.
_CONNECT, KEYS_AFTER, KEYS_AT_ALL = 5, 60.0, 180.0
TICK = 1.0

_ENGINE = "version -f {{.Server.Version}}"


def host_keys(ec2: Ec2, instance: str, address: str, deadline: float) -> list[str]:
    """Return the host keys that an instance has written on its console, as `ssh-ed25519 AAAA…`; none if none come."""
    began, answered = time.monotonic(), 0.0
    while True:
        if keys := keys_on(ec2.console(instance)):
            return keys
        now = time.monotonic()
        if not answered and _answers(address):
            answered = now
        if now > min(deadline, began + KEYS_AT_ALL, answered + KEYS_AFTER if answered else deadline):
            return []
        time.sleep(TICK)


def keys_on(text: str) -> list[str]:
    """Return the keys between the marks that cloud-init puts around them on the console, the last time."""
    blocks = re.findall(r"BEGIN SSH HOST KEY KEYS-+(.*?)-+END SSH HOST KEY KEYS", text, re.DOTALL)
    return re.findall(r"((?:ssh|ecdsa)-[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+=*)", blocks[-1]) if blocks else []


def await_docker(
    those: Sequence[Dock], home: str, deadline: float, show: Callable[[str], None], *, sudo: bool
) -> list[str]:
    """Wait until docker answers over ssh at each of the docks; return for each why it does not, nothing if it does.

    Each attempt logs in anew: who has just been let use docker is so only then. `sudo`: as root will do as well.
    """
    ask = f"docker {_ENGINE}" + (f" 2>/dev/null || sudo -n docker {_ENGINE}" if sudo else "")
    script = f"sh -c {shlex.quote(f'{remote.USUAL_PLACES}; {ask}')}"  # sh's own: a user's shell may be another one
    probes = [ssh_config.login(dock, home, script, _CONNECT) for dock in those]

    show("waiting for ssh")
    answers = process.capture_within(probes, max(0.0, deadline - time.monotonic()), lambda answer: again(answer, show))
    return [_reason(dock, answer) for dock, answer in zip(those, answers, strict=True)]


def again(answer: Captured, show: Callable[[str], None]) -> bool:
    """Tell whether to ask a dock again, and show what is waited for; a host that is another one is asked once."""
    if answer.status == 0 or complaints.changed_host_key(answer.stderr):
        return False
    show("waiting for ssh" if answer.status == ssh_config.SSH_FAILED else "ssh answers; waiting for docker")
    return True


def _reason(dock: Dock, answer: Captured | None) -> str:
    if answer and answer.status == 0:
        return ""
    if answer and complaints.changed_host_key(answer.stderr):
        return complaints.changed_host_key(answer.stderr)
    late = f"{dock.moniker} has not answered in time"
    if answer is None:
        return f"{late}: ssh to {dock.ip} said nothing; see whether its network lets port {dock.port or 22} in"
    said = " ".join(answer.stderr.split()) or "nothing"
    if answer.status == ssh_config.SSH_FAILED:
        return f"{late}: ssh said: {said}; see whether its network lets it in, or allow more time with -t"
    return f"{late}: docker there said: {said}; allow more time with -t"


def _answers(address: str) -> bool:
    import socket

    try:
        with socket.create_connection((address, 22), _CONNECT):
            return True
    except OSError:
        return False


def warn_unverified(command: str, dock: Dock) -> None:
    """Tell that the first connection cannot be verified."""
    message = f"AWS does not tell the host keys of {dock.moniker}; those of the first connection are taken for its own"
    console.warn(command, message)


def failure(reasons: Sequence[str]) -> DockerutilsError | None:
    """Return the first of the reasons as an error, None when there is none."""
    return next((DockerutilsError(reason) for reason in reasons if reason), None)
