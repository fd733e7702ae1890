"""The options of `docker run` that give a container all GPUs; which ones work depends on the engine.

`--gpus` needs the hook of NVIDIA's container toolkit on the engine's PATH, which no answer of the engine shows. From
version 29 on, it also works with the devices of CDI specifications (https://github.com/cncf-tags/container-device-interface).
Engines report these devices since 28.2, and all of them report the runtime `nvidia`.
"""

from __future__ import annotations

from typing import Any

from dockerutils.core import process

DEFAULT = ("--gpus", "all")
RUNTIME = ("--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=all")
_ALL_NVIDIA = "nvidia.com/gpu=all"
_MAPS_DEVICES = 29  # the first version whose --gpus uses CDI

REMEDY = (
    "install the NVIDIA Container Toolkit on the engine's host and run there: sudo nvidia-ctk runtime configure && "
    "sudo systemctl restart docker"
)
MISSING = f"the engine reports neither a runtime nvidia nor GPUs as CDI devices; if docker refuses, {REMEDY}"


def ask() -> tuple[list[str], str]:
    """Ask the engine; return the options for all its GPUs, and a warning if it seems to have none, else ""."""
    import json  # late: only -g needs it

    answer = process.capture(["docker", "info", "--format", "{{json .}}"])
    try:
        record = json.loads(answer.stdout)
        return choose(record) if record["ServerVersion"] else ([*DEFAULT], "")
    except (ValueError, KeyError, TypeError, RecursionError):  # no engine answers, or it is not one
        return [*DEFAULT], ""


def choose(info: dict[str, Any]) -> tuple[list[str], str]:
    """Return the same from what `docker info` prints as JSON; KeyError if that is not an answer of an engine."""
    devices = [str(device["ID"]) for device in info.get("DiscoveredDevices") or ()]
    has_gpus = any(device.partition("=")[0].endswith("/gpu") for device in devices)
    major = str(info["ServerVersion"]).partition(".")[0]
    if has_gpus and major.isdecimal() and int(major) >= _MAPS_DEVICES:
        return [*DEFAULT], ""
    if "nvidia" in (info.get("Runtimes") or ()):
        return [*RUNTIME], ""
    if _ALL_NVIDIA in devices:
        return ["--device", _ALL_NVIDIA], ""
    return [*DEFAULT], "" if has_gpus else MISSING


def has_nvidia(info: dict[str, Any]) -> bool:
    """Return whether an engine, by its answer of `docker info`, can give NVIDIA GPUs to containers."""
    devices = [str(device["ID"]) for device in info.get("DiscoveredDevices") or ()]
    return "nvidia" in (info.get("Runtimes") or ()) or any(each.startswith("nvidia.com/gpu=") for each in devices)
