"""A stand-in for NVIDIA's container runtime: it records what it is asked for, and has runc do it."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any, NamedTuple

# Called as an OCI runtime is: the bundle of a container that is created has its configuration.
_SCRIPT = """\
#!/bin/sh
bundle= previous= created=
for word; do
    [ "$previous" != --bundle ] || bundle=$word
    [ "$word" != create ] || created=yes
    previous=$word
done
[ -z "$created" ] || {{ tr -d '\\n' <"$bundle/config.json" && echo; }} >>'{log}'
exec '{runc}' "$@"
"""


class Runtime(NamedTuple):
    """A runtime: its program, and the file where it keeps what it was asked for."""

    program: str
    log: str

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of dockerd's daemon.json that register it as `nvidia`."""
        return {"runtimes": {"nvidia": {"path": self.program}}}

    def environments(self) -> list[dict[str, str]]:
        """Return the variables of each container that it has created; what a program finds out about GPUs by."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            return [dict(word.split("=", 1) for word in json.loads(line)["process"]["env"]) for line in file]


def runtime(directory: str) -> Runtime:
    """Write the program into a directory."""
    made = Runtime(f"{directory}/nvidia-container-runtime", f"{directory}/nvidia.log")
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin") or "runc"
    with open(made.program, "w", encoding="utf-8") as file:
        file.write(_SCRIPT.format(log=made.log, runc=runc))
    os.chmod(made.program, 0o755)
    return made
