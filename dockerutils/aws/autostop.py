"""Autostop: a dock that stops itself after some hours without use.

A systemd timer (man 5 systemd.timer) on the dock runs `shell/autostop`, with `busy_kernels.py`, every minute.
"""

from __future__ import annotations

import argparse
import base64
import os
import re

from dockerutils.core.process import Command, Input
from dockerutils.docks.records import Dock

_NAME = "dockerutils-autostop"
_SCRIPT, _UNIT = f"/usr/local/sbin/{_NAME}", f"/etc/systemd/system/{_NAME}"
_KERNELS = f"/usr/local/lib/{_NAME}-kernels.py"
_TIMER = """\
[Unit]
Description=Check every minute whether this dock is used

[Timer]
OnActiveSec=1min
OnUnitActiveSec=1min
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
_LARGEST = 8760.0  # a year


def hours(text: str) -> float:
    """Return the value of `--autostop HOURS`, where 0 means never; an argparse type."""
    if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})?", text) and (number := float(text)) <= _LARGEST:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours; write for example 1.5, or 0 for never")


def positive_hours(text: str) -> float:
    """Return the value of `--autostop HOURS` above 0; an argparse type."""
    if number := hours(text):
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0; write for example 1.5")


def installation(after: float, port: int = 22) -> str:
    """Return the shell script that root runs on a dock to install autostop, or with 0 hours to remove it."""
    if not after:
        return (
            f"if [ -e {_UNIT}.timer ]; then systemctl disable --now {_NAME}.timer; fi && "
            f"rm -f {_SCRIPT} {_KERNELS} {_UNIT}.service {_UNIT}.timer && systemctl daemon-reload\n"
        )
    # /run is empty after a restart.
    service = f"""\
[Unit]
Description=Stop this dock after {after:g} h without use

[Service]
Type=oneshot
ExecStart=/bin/sh -c '! {_SCRIPT} {after:g} {port} /run/{_NAME} {_KERNELS} || systemctl poweroff'
"""
    files = {
        _SCRIPT: _text("autostop"),
        _KERNELS: _text("busy_kernels.py"),
        f"{_UNIT}.service": service,
        f"{_UNIT}.timer": _TIMER,
    }
    written = "".join(f"cat >{path} <<'END_OF_FILE'\n{text}END_OF_FILE\n" for path, text in files.items())
    begun = f"systemctl daemon-reload\nsystemctl enable {_NAME}.timer\nsystemctl restart {_NAME}.timer\n"
    return f"set -e\numask 022\n{written}chmod 755 {_SCRIPT}\nrm -f /run/{_NAME}\n{begun}"


def _text(name: str) -> str:
    with open(os.path.join(os.path.dirname(os.path.dirname(__file__)), "shell", name), encoding="utf-8") as file:
        return file.read()


def encoded(script: str) -> str:
    """Return the shell command that prints a script; it needs no quoting."""
    return f"echo {base64.b64encode(script.encode()).decode()} | base64 -d"


def command(dock: Dock, after: float) -> Command:
    """Return the command that sets autostop on a dock to a number of hours, 0 for never."""
    script = installation(after, dock.port or 22)
    return Command(["ssh", dock.host, "--", "sudo -n sh"], stdin=Input(encoded(script), lambda: script))
