"""Stand-ins for NVIDIA's programs: a container runtime that records its calls and executes runc, and nvidia-smi."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import program

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


def write_smi(path: Path, gpus: str, processes: str = "", status: int = 0) -> None:
    """Write an nvidia-smi that lists these GPUs and processes as the real one does, and exits with `status`.

    It knows the two queries of ls-dock, and refuses all others, in the words of the real one.
    """
    form = "--format=csv,noheader,nounits"
    script = f"""\
case "$*" in
    "--query-gpu=uuid,memory.used,memory.total,name {form}") cat <<'END'
{gpus}
END
    ;;
    "--query-compute-apps=gpu_uuid,pid,used_memory {form}") cat <<'END'
{processes}
END
    ;;
    *) echo 'Invalid combination of input arguments. Please run `nvidia-smi -h` for help.'; exit 2 ;;
esac
exit {status}"""
    program(path, script)
