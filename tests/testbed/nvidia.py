"""A stand-in for NVIDIA's container runtime: it records its calls and executes runc."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any, NamedTuple

# Called as an OCI runtime: the bundle of a new container contains its configuration.
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
    """A runtime: its program and the file of recorded calls."""

    program: str
    log: str

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of dockerd's daemon.json that register it as `nvidia`."""
        return {"runtimes": {"nvidia": {"path": self.program}}}

    def environments(self) -> list[dict[str, str]]:
        """Return the environment of each container that it created, where programs look for GPUs."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            return [dict(word.split("=", 1) for word in json.loads(line)["process"]["env"]) for line in file]


def runtime(directory: str) -> Runtime:
    """Write the program to a directory."""
    made = Runtime(f"{directory}/nvidia-container-runtime", f"{directory}/nvidia.log")
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin") or "runc"
    with open(made.program, "w", encoding="utf-8") as file:
        file.write(_SCRIPT.format(log=made.log, runc=runc))
    os.chmod(made.program, 0o755)
    return made
