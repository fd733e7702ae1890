"""What cloud-init does at the first start of an instance: it installs docker, and then does what the user wants.

https://cloudinit.readthedocs.io/en/latest/explanation/format/index.html
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from dockerutils.aws import autostop
from dockerutils.core.errors import UserError
from dockerutils.core.shell_words import Word
from dockerutils.docks.jupyter import INSTALL

_LARGEST = 16384  # bytes that EC2 takes
_SCRIPT = "/var/lib/dockerutils/user-data"
# Ubuntu updates itself after its first start: apt waits for that.
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 install -y"
# An image that has docker can have Docker's own packages, with which docker.io conflicts. Some releases have no buildx.
_DOCKER = f"command -v docker >/dev/null || {{ {_APT} docker.io; {_APT} docker-buildx; }}"
# Where the toolkit is installed, docker lists the GPUs: as a runtime, if it does not find them as CDI devices itself.
_NVIDIA = (
    "if command -v nvidia-ctk >/dev/null && ! docker info 2>/dev/null | grep -q nvidia; "
    "then nvidia-ctk runtime configure --runtime=docker && systemctl restart docker; fi"
)
# The defaults are 10 sessions on one connection, and logins refused at random beyond 10 at once. Over ssh://, docker
# takes three sessions for each container that is attached. See sshd_config(5).
_SSHD = {
    "path": "/etc/ssh/sshd_config.d/10-dockerutils.conf",
    "content": "MaxSessions 100\nMaxStartups 100:30:200\n",
}
# Lists are appended to ours; of other values ours stay.
_MERGE = "list(append)+dict(no_replace,recurse_list)+str()"


def user_data(login: str, autostop_hours: float = 0.0, extra: str = "", *, jupyter: bool = False) -> Word:
    """Return the user data for an instance.

    It installs Docker Engine and what sync-up and transfer-image use, raises the limits of sshd, installs autostop
    unless 0 hours, with `jupyter` JupyterLab, and lets the user use docker. Then it does what `extra` says, a script or
    a cloud-config; UserError if that is neither, or too long.
    """
    install = f"{autostop.encoded(autostop.installation(autostop_hours))} | sh" if autostop_hours else ""
    config: dict[str, Any] = {
        "package_update": True,
        "packages": ["rsync", "zstd"],
        "write_files": [_SSHD],
        "runcmd": [
            ["systemctl", "try-reload-or-restart", "ssh"],
            ["sh", "-c", _DOCKER],
            ["sh", "-c", _NVIDIA],
            ["install", "-d", "-o", login, "/data/workspaces"],
            *([["sh", "-c", install]] if install else []),
            *([["sh", "-c", f"{_APT} python3-venv"], ["runuser", "-l", login, "-c", INSTALL]] if jupyter else []),
            ["usermod", "-aG", "docker", login],
        ],
    }
    if extra.startswith("#!"):
        run = f"{autostop.encoded(extra)} | install -D -m 700 /dev/stdin {_SCRIPT} && exec {_SCRIPT}"
        config["runcmd"].append(["sh", "-c", run])
    # JSON is YAML.
    text = json.dumps(config, separators=(",", ":"))
    # Two lines, written as one word of a command line.
    ours = Word(f"#cloud-config\n{text}", f"$(printf '#cloud-config\\n%s' '{text}')")
    if not extra or extra.startswith("#!"):
        whole = ours
    elif re.match(r"#cloud-config\s*\n", extra):
        whole = _with_config(ours, extra)
    else:
        raise UserError(
            "--user-data: the file is neither a script nor a cloud-config; begin it with #! or #cloud-config"
        )
    if len(whole.encode()) > _LARGEST:
        raise UserError(
            f"--user-data: with ours it has {len(whole.encode())} bytes, EC2 takes {_LARGEST}; let it download the rest"
        )
    return whole


def _with_config(ours: str, theirs: str) -> Word:
    """Return both as a MIME message, of which cloud-init merges the parts."""
    parts: list[tuple[str, dict[str, str]]] = [(ours, {}), (theirs, {"Merge-Type": _MERGE})]
    lines = ['Content-Type: multipart/mixed; boundary="=dockerutils="', "MIME-Version: 1.0", ""]
    for text, headers in parts:
        encoding = {"Content-Type": 'text/cloud-config; charset="utf-8"', "Content-Transfer-Encoding": "base64"}
        lines += ["--=dockerutils=", *(f"{name}: {value}" for name, value in (encoding | headers).items()), ""]
        lines += [base64.b64encode(text.encode()).decode()]
    text = "\n".join([*lines, "--=dockerutils=--"])
    return Word(text, f"$({autostop.encoded(text)})")
