"""The NVIDIA GPUs of a dock: their model, their memory, and who uses them.

nvidia-smi lists them (https://docs.nvidia.com/deploy/nvidia-smi/index.html: --query-gpu, --query-compute-apps), as
lines of comma-separated values, memory in MiB. What it cannot tell is in brackets, such as [N/A]. Its exit statuses are
those of NVML (https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dockerutils.docker import engine

_FORMAT = "--format=csv,noheader,nounits"
# WSL has nvidia-smi here, and not on the PATH of an ssh command.
_PLACE = "/usr/lib/wsl/lib"
# The container of a process is the long number in the name of its control group, with each cgroup driver of docker:
# https://docs.docker.com/engine/containers/runmetrics/#control-groups
_CONTAINER = "[0-9a-f]{64}"
_TIMED_OUT, _NONE = 124, 6  # the status of timeout(1), and NVML's if there is no GPU
# Limits of what is read: GPUs, processes, containers; a dock is not trusted.
_GPUS, _PROCESSES = 32, 200
_MIB = 1 << 20


class Usage(NamedTuple):
    """Who uses `memory` bytes of a GPU: a container, and the user who started it; or a user without a container."""

    container: str | None
    user: str | None
    memory: int | None


class Gpu(NamedTuple):
    """A GPU, in the order of nvidia-smi; memory in bytes, None where nvidia-smi does not tell."""

    model: str
    memory_used: int | None
    memory_total: int | None
    used_by: tuple[Usage, ...] = ()


def probe(seconds: float) -> str:
    """Return a line of sh that prints the GPUs and who uses them; each of its two calls can take `seconds`.

    It follows the line of `remote.find_docker`, whose variables it uses, and like that has no `!` and no line end.
    A slow nvidia-smi costs its time limit and not the rest of the answer.
    """
    run = "$limit nvidia-smi"
    name = f'{{{{.Id}}}} {{{{.Name}}}} {{{{index .Config.Labels \\"{engine.USER}\\"}}}}'
    return (
        f"PATH=$PATH:{_PLACE}; if command -v nvidia-smi >/dev/null; then "
        f'limit="timeout {max(seconds, 0.1):.1f}"; command -v timeout >/dev/null || limit=; '
        f"gpus=$({run} --query-gpu=uuid,memory.used,memory.total,name {_FORMAT} 2>&1); status=$?; "
        f'printf "gpus=%s\\n" $status; printf "%s\\n" "$gpus" | head -n {_GPUS} | sed "s/^/gpu=/"; '
        f"test $status -gt 0 || {{ used=$({run} --query-compute-apps=gpu_uuid,pid,used_memory {_FORMAT} 2>/dev/null | "
        f'head -n {_PROCESSES} | while IFS=", " read -r gpu pid memory; do printf "gpu-process=%s %s %s %s\\n" "$gpu" '
        f'"$(grep -Eo "{_CONTAINER}" "/proc/$pid/cgroup" 2>/dev/null | head -n 1)" '
        '"$(stat -c %U "/proc/$pid" 2>/dev/null)" "$memory"; done); printf "%s\\n" "$used"; '
        f'containers=$(printf "%s\\n" "$used" | grep -Eo " {_CONTAINER} " | sort -u); test -z "$containers" || '
        f'$sudo "$docker" inspect -f "gpu-container={name}" $containers 2>/dev/null; }}; fi; true'
    )


def read(output: str, dock: str) -> tuple[list[Gpu], str | None]:
    """Return the GPUs of a dock from the output of `probe`, and why they are not listed: what is wrong; what to do."""
    status = re.search(r"(?am)^gpus=(\d{1,3})$", output)
    lines = re.findall(r"(?m)^gpu=(.*)$", output)
    if not status or int(status[1]) == _NONE:
        return [], None
    if int(status[1]) == _TIMED_OUT:
        return [], f"nvidia-smi on dock {dock} did not answer in time; see why: ssh-dock {dock} nvidia-smi"
    if int(status[1]):
        said = next(filter(str.strip, lines), "nothing").strip()[:200]
        return [], f"nvidia-smi on dock {dock} failed: {said}; see why: ssh-dock {dock} nvidia-smi"
    usages = _usages(output)
    fields = [re.fullmatch(r"([\w-]{1,60}), ([^,]{1,40}), ([^,]{1,40}), ([ -~]{1,80})", line) for line in lines[:_GPUS]]
    return [Gpu(each[4], _bytes(each[2]), _bytes(each[3]), usages.get(each[1], ())) for each in fields if each], None


def _usages(output: str) -> dict[str, tuple[Usage, ...]]:
    """Return who uses each GPU, by its UUID, the largest use first; the processes of a container count together."""
    containers = {
        number: (name, user or None)
        for number, name, user in re.findall(
            rf"(?am)^gpu-container=({_CONTAINER}) /?([\w.-]{{1,128}}) ([\w.@+-]{{0,100}})$", output
        )
    }
    processes = rf"(?am)^gpu-process=([\w-]{{1,60}}) ({_CONTAINER}|) ([\w.@+-]{{0,100}}) (.{{0,40}})$"
    memory: dict[str, dict[tuple[str | None, str | None], list[int]]] = {}
    for gpu, number, owner, used in re.findall(processes, output)[:_PROCESSES]:
        # The owner of a process in a container is one of the container's own users.
        who = containers.get(number, (number[:12], None)) if number else (None, owner or None)
        known = _bytes(used)
        memory.setdefault(gpu, {}).setdefault(who, []).extend([] if known is None else [known])
    return {
        gpu: tuple(sorted((Usage(*who, sum(used) or None) for who, used in users.items()), key=_by_memory))
        for gpu, users in memory.items()
    }


def _by_memory(usage: Usage) -> int:
    return -(usage.memory or 0)


def _bytes(text: str) -> int | None:
    """Return a number of MiB in bytes, None for anything else."""
    return int(text) * _MIB if re.fullmatch(r"[0-9]{1,9}", text) else None
