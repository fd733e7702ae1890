"""A dock that stops by itself when nobody has used it for some hours: what is put there for that, and taken away.

`shell/autostop` decides, with `busy_kernels.py`; a timer of systemd (man 5 systemd.timer) asks it each minute.
"""

from __future__ import annotations

import os

from dockerutils.core.errors import UserError
from dockerutils.core.process import Command, Input
from dockerutils.docks.records import Dock

_NAME = "dockerutils-autostop"
_SCRIPT, _UNIT = f"/usr/local/sbin/{_NAME}", f"/etc/systemd/system/{_NAME}"
_KERNELS = f"/usr/local/lib/{_NAME}-kernels.py"
_TIMER = """\
[Unit]
Description=Look each minute whether this dock is in use

[Timer]
OnActiveSec=1min
OnUnitActiveSec=1min
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
_LARGEST = 8760.0  # a year


def hours(text: str, *, least: float) -> float:
    """Return the number that `--autostop` was given; UserError for one that is none, or not above `least`."""
    import re

    if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})?", text) and least <= (number := float(text)) <= _LARGEST:
        return number
    off = ", or 0 for never" if not least else ""
    raise UserError(f"--autostop: {text!r} is no number of hours; write one above 0, 1.5 for example{off}")


def installation(after: float, port: int = 22) -> str:
    """Return the lines of sh that root runs on a dock: it stops after so many hours, for 0 never by itself."""
    if not after:
        return (
            f"if [ -e {_UNIT}.timer ]; then systemctl disable --now {_NAME}.timer; fi && "
            f"rm -f {_SCRIPT} {_KERNELS} {_UNIT}.service {_UNIT}.timer && systemctl daemon-reload\n"
        )
    # What /run has is gone when a dock starts anew.
    service = f"""\
[Unit]
Description=Stop this dock when it was not in use for {after:g} h

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
    """Return the line of shell that writes a script, without anything that would have to be quoted."""
    import base64

    return f"echo {base64.b64encode(script.encode()).decode()} | base64 -d"


def command(dock: Dock, after: float) -> Command:
    """Return what makes a dock stop after so many hours, or never by itself."""
    script = installation(after, dock.port or 22)
    return Command(["ssh", dock.host, "--", "sudo -n sh"], stdin=Input(encoded(script), lambda: script))
